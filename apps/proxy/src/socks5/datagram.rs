//! The header in front of every datagram of a UDP association (RFC 1928 §7).

use super::{DecodeError, decode_address, encode_address};
use crate::target::Target;

/// A datagram with its header taken off. The payload is a part of what was decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it goes.
    pub target: Target,
    /// What it carries; may be empty.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads reserved bytes, fragment number, address, port; the rest is payload.
    ///
    /// # Errors
    /// [`DecodeError::Fragment`] for any fragment: reassembly is optional in the RFC and used by nobody.
    /// Other [`DecodeError`]s for a header that is wrong or cut short.
    pub fn decode(input: &'a [u8]) -> Result<Datagram<'a>, DecodeError> {
        let Some(([r1, r2, fragment], rest)) = input.split_first_chunk::<3>() else {
            return Err(DecodeError::Short);
        };
        if (*r1, *r2) != (0, 0) {
            return Err(DecodeError::Reserved);
        }
        if *fragment != 0 {
            return Err(DecodeError::Fragment);
        }
        let parsed = decode_address(rest)?.ok_or(DecodeError::Short)?;
        Ok(Datagram { target: parsed.value, payload: &rest[parsed.used..] })
    }
}

/// A datagram from `source` for the client, written into `out`, which is emptied first.
pub fn encode_datagram(source: &Target, payload: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0, 0, 0]);
    encode_address(&source.host, source.port, out);
    out.extend_from_slice(payload);
}

//! The outside of a link datagram: lengths and the 16-byte header.
//!
//! ```text
//! type u8 ‖ suite u8 ‖ 0 ‖ 0 ‖ index u32 ‖ counter u64          all big-endian
//! ```
//!
//! Bytes that carry no meaning are zero and checked, so that no bit of a header can be altered unnoticed: type, suite
//! and the zero bytes by this decoder and the session's own suite, the index because it selects the key, the counter
//! because it is the nonce.

/// Bytes of the header before every datagram.
pub const HEADER_LEN: usize = 16;
/// Bytes of an authenticator.
pub const TAG_LEN: usize = 16;
/// Length of a short datagram: one cell, or one set-up packet, and a feedback frame.
pub const S_LEN: usize = 576;
/// Length of a long datagram: two cells and spare bytes. Handshake messages have this length too.
pub const L_LEN: usize = 1200;
/// Bytes of frames in a short datagram.
pub const S_PLAIN: usize = S_LEN - HEADER_LEN - TAG_LEN;
/// Bytes of frames in a long datagram.
pub const L_PLAIN: usize = L_LEN - HEADER_LEN - TAG_LEN;
/// Length of a cookie reply: header, nonce 32, sealed cookie 16, authenticator 16.
pub const COOKIE_REPLY_LEN: usize = HEADER_LEN + 32 + 16 + 16;

/// Length of a probe: header, relay 16, authenticator 16.
pub const PROBE_LEN: usize = HEADER_LEN + 16 + TAG_LEN;
/// What a relayed datagram has in front of the one that it carries.
pub const RELAYED_LEN: usize = HEADER_LEN;

/// What a datagram is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// First handshake message, from the initiator.
    Init = 1,
    /// Second handshake message, from the responder.
    Response = 2,
    /// The responder is loaded: prove your address with this cookie.
    Cookie = 3,
    /// Frames under a session's keys.
    Data = 4,
    /// A probe of the path between two addresses (see `nat`).
    Probe = 5,
    /// A datagram of a link between two other nodes, or a probe, which this one passes on (see `nat`).
    Relayed = 6,
}

/// The header of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// The cipher suite and handshake pattern (see `link`); what a probe asks; zero in a cookie reply and around a relayed
    /// datagram.
    pub suite: u8,
    /// The receiver's index of the session or handshake; in `Init` the sender's own index; in a probe the receiver's tag;
    /// around a relayed datagram the flow's number between these two nodes.
    pub index: u32,
    /// The datagram's counter under this session's key; a probe's transaction; zero in all others.
    pub counter: u64,
}

/// Why a datagram's outside is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The length is none that its type has.
    #[error("length does not fit the datagram's type")]
    Length,
    /// The type is unknown.
    #[error("unknown datagram type")]
    Kind,
    /// A byte that must be zero is not.
    #[error("reserved byte is not zero")]
    Reserved,
}

impl Header {
    /// Reads the header of `datagram` and checks the datagram's length against its type.
    ///
    /// # Errors
    /// [`HeaderError`] when the length, the type or a reserved byte is wrong.
    pub fn read(datagram: &[u8]) -> Result<Self, HeaderError> {
        let Some((&[kind, suite, z0, z1, i0, i1, i2, i3, counter @ ..], _)) =
            datagram.split_first_chunk::<HEADER_LEN>()
        else {
            return Err(HeaderError::Length);
        };
        let kind = match kind {
            1 => Kind::Init,
            2 => Kind::Response,
            3 => Kind::Cookie,
            4 => Kind::Data,
            5 => Kind::Probe,
            6 => Kind::Relayed,
            _ => return Err(HeaderError::Kind),
        };
        let fits = match kind {
            Kind::Init | Kind::Response => datagram.len() == L_LEN,
            Kind::Cookie => datagram.len() == COOKIE_REPLY_LEN,
            Kind::Probe => datagram.len() == PROBE_LEN,
            Kind::Relayed => {
                let plain = |len: usize| [S_LEN, L_LEN, COOKIE_REPLY_LEN, PROBE_LEN].contains(&len);
                let inner = datagram.len() - RELAYED_LEN.min(datagram.len());
                plain(inner) || inner.checked_sub(RELAYED_LEN).is_some_and(plain)
            }
            Kind::Data => datagram.len() == S_LEN || datagram.len() == L_LEN,
        };
        if !fits {
            return Err(HeaderError::Length);
        }
        let counter = u64::from_be_bytes(counter);
        let counts = matches!(kind, Kind::Data | Kind::Probe);
        let empty = (counts || counter == 0) && (!matches!(kind, Kind::Cookie | Kind::Relayed) || suite == 0);
        if z0 != 0 || z1 != 0 || !empty {
            return Err(HeaderError::Reserved);
        }
        Ok(Self { kind, suite, index: u32::from_be_bytes([i0, i1, i2, i3]), counter })
    }

    /// The header's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0] = self.kind as u8;
        out[1] = self.suite;
        out[4..8].copy_from_slice(&self.index.to_be_bytes());
        out[8..].copy_from_slice(&self.counter.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_header_reads_back(suite: u8, index: u32, counter: u64, long: bool) {
            let header = Header { kind: Kind::Data, suite, index, counter };
            let mut datagram = vec![0; if long { L_LEN } else { S_LEN }];
            datagram[..HEADER_LEN].copy_from_slice(&header.to_bytes());
            prop_assert_eq!(Header::read(&datagram), Ok(header));
        }

        #[test]
        fn any_bytes_give_a_header_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            if let Ok(header) = Header::read(&bytes) {
                prop_assert_eq!(&header.to_bytes()[..], &bytes[..HEADER_LEN]);
            }
        }
    }

    #[test]
    fn wrong_lengths_types_and_reserved_bytes_are_refused() {
        let good = Header { kind: Kind::Data, suite: 0x11, index: 7, counter: 9 }.to_bytes();
        let with = |len: usize, at: usize, byte: u8| {
            let mut datagram = vec![0; len];
            datagram[..HEADER_LEN].copy_from_slice(&good);
            datagram[at] = byte;
            Header::read(&datagram)
        };
        assert_eq!(with(S_LEN + 1, 1, 0x11), Err(HeaderError::Length));
        assert_eq!(with(S_LEN, 0, 9), Err(HeaderError::Kind));
        assert_eq!(with(S_LEN, 2, 1), Err(HeaderError::Reserved));
        assert_eq!(with(L_LEN, 0, 1), Err(HeaderError::Reserved), "a handshake message has no counter");
        assert_eq!(Header::read(&good[..15]), Err(HeaderError::Length));
    }
}

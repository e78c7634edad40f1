//! What a cell says at the hop that it is for: authenticator 16 (zeros), kind 1, length 2, payload, zeros.

use subtle::ConstantTimeEq;

use crate::{BODY_LEN, PAYLOAD_MAX, error::CellError};

const AUTHENTICATOR_LEN: usize = 16;
const KIND_AT: usize = AUTHENTICATOR_LEN;
const LENGTH_AT: usize = KIND_AT + 1;
const PAYLOAD_AT: usize = LENGTH_AT + 2;

/// The head of an authentic cell; its payload is still in the cell's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// What kind of message it is; the meaning is the caller's.
    pub kind: u8,
    /// Length of the payload in bytes, at most [`PAYLOAD_MAX`].
    pub len: usize,
}

impl Plain {
    /// The payload in the body that this head came from.
    #[must_use]
    pub fn payload<'a>(&self, body: &'a [u8; BODY_LEN]) -> &'a [u8] {
        &body[PAYLOAD_AT..PAYLOAD_AT + self.len.min(PAYLOAD_MAX)]
    }

    /// Writes a cell before it is encrypted.
    pub(crate) fn write(kind: u8, payload: &[u8], body: &mut [u8; BODY_LEN]) -> Result<(), CellError> {
        let length = u16::try_from(payload.len()).map_err(|_| CellError::PayloadTooLong)?;
        if payload.len() > PAYLOAD_MAX {
            return Err(CellError::PayloadTooLong);
        }
        let end = PAYLOAD_AT + payload.len();
        body[..AUTHENTICATOR_LEN].fill(0);
        body[KIND_AT] = kind;
        body[LENGTH_AT..PAYLOAD_AT].copy_from_slice(&length.to_be_bytes());
        body[PAYLOAD_AT..end].copy_from_slice(payload);
        body[end..].fill(0);
        Ok(())
    }

    /// Whether a decrypted cell is for the one who decrypted it.
    pub(crate) fn is_authentic(body: &[u8; BODY_LEN]) -> bool {
        body[..AUTHENTICATOR_LEN].ct_eq(&[0; AUTHENTICATOR_LEN]).into()
    }

    /// Reads an authentic cell. A length that does not fit can only come from a broken peer and counts as a forgery.
    pub(crate) fn read(body: &[u8; BODY_LEN]) -> Result<Self, CellError> {
        let len = usize::from(u16::from_be_bytes([body[LENGTH_AT], body[LENGTH_AT + 1]]));
        if len > PAYLOAD_MAX {
            return Err(CellError::Forged);
        }
        Ok(Self { kind: body[KIND_AT], len })
    }
}

//! RFC 1929: user name and password. Whatever they are, they are accepted: they choose circuits, they open nothing.

use super::{DecodeError, Incremental, Parsed};
use crate::isolation::Credentials;

const SUBVERSION: u8 = 1;

/// Reads the client's user name and password. Empty fields are accepted, as clients send them.
///
/// # Errors
/// [`DecodeError::Version`] if the first byte is not 1.
pub fn decode_password(input: &[u8]) -> Incremental<Credentials> {
    let Some((&version, rest)) = input.split_first() else {
        return Ok(None);
    };
    if version != SUBVERSION {
        return Err(DecodeError::Version);
    }
    let Some((user, rest)) = take_field(rest) else {
        return Ok(None);
    };
    let Some((password, _)) = take_field(rest) else {
        return Ok(None);
    };
    let used = 3 + user.len() + password.len();
    Ok(Some(Parsed { value: Credentials::new(user, password), used }))
}

/// The answer: accepted.
#[must_use]
pub fn encode_password_accepted() -> [u8; 2] {
    [SUBVERSION, 0]
}

fn take_field(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = input.split_first()?;
    rest.split_at_checked(usize::from(length))
}

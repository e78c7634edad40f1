//! The address of a service: its public key in a form that people can hand on.
//!
//! ```text
//! ‹base32 of: key (32) ‖ check (2) ‖ version (1), lower case, no padding›.zmesh
//! ```

use std::fmt;
use std::str::FromStr;

use curve25519_dalek::edwards::CompressedEdwardsY;
use data_encoding::BASE32_NOPAD;

use super::digest;

/// How every address ends.
pub const SUFFIX: &str = ".zmesh";
/// Characters of an address before [`SUFFIX`].
pub const NAME_LEN: usize = 56;

const VERSION: u8 = 1;
const CHECK_CONTEXT: &str = "zmesh service address check v1";
const CHECK_LEN: usize = 2;
/// The longest text that is looked at: a host name.
const TEXT_MAX: usize = 255;

/// Why a text is no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not end like one, or has another length.
    #[error("this is no address of a service: one is {NAME_LEN} letters and digits and ends with {SUFFIX}")]
    NotAnAddress,
    /// A newer kind.
    #[error("the address has version {0}; this program knows version {VERSION}")]
    WrongVersion(u8),
    /// Mistyped.
    #[error("the address is mistyped: its check does not fit")]
    Damaged,
    /// No honest service has such a key.
    #[error("the address holds no key that a service can have")]
    BadKey,
}

/// A service's public key, which is its address. Whoever has it can find and reach the service, so it does not print in logs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceAddress([u8; 32]);

impl ServiceAddress {
    /// The address of a public key.
    ///
    /// # Errors
    /// [`AddressError::BadKey`]: not the one encoding of a point of the large prime order. Other keys would give several addresses
    /// to one service, or blinded keys that do not depend on the whole of the key.
    pub fn from_key(key: [u8; 32]) -> Result<Self, AddressError> {
        let point = CompressedEdwardsY(key).decompress().ok_or(AddressError::BadKey)?;
        if point.compress().0 != key || point.is_small_order() || !point.is_torsion_free() {
            return Err(AddressError::BadKey);
        }
        Ok(Self(key))
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The address that a host name means: `NAME.zmesh`, or any name below it. `None` for a name that does not end with
    /// [`SUFFIX`], which is for others to look up.
    #[must_use]
    pub fn from_host(host: &str) -> Option<Result<Self, AddressError>> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let at = host.len().checked_sub(SUFFIX.len())?;
        let (name, suffix) = (host.get(..at)?, host.get(at..)?);
        if !suffix.eq_ignore_ascii_case(SUFFIX) {
            return None;
        }
        Some(Self::from_name(name.rsplit('.').next().unwrap_or(name)))
    }

    fn from_name(name: &str) -> Result<Self, AddressError> {
        if name.len() != NAME_LEN {
            return Err(AddressError::NotAnAddress);
        }
        let bytes =
            BASE32_NOPAD.decode(name.to_ascii_uppercase().as_bytes()).map_err(|_| AddressError::NotAnAddress)?;
        let (key, rest) = bytes.split_first_chunk::<32>().ok_or(AddressError::NotAnAddress)?;
        let (check, version) = rest.split_first_chunk::<CHECK_LEN>().ok_or(AddressError::NotAnAddress)?;
        let [version] = version else { return Err(AddressError::NotAnAddress) };
        if *version != VERSION {
            return Err(AddressError::WrongVersion(*version));
        }
        if *check != self::check(key) {
            return Err(AddressError::Damaged);
        }
        Self::from_key(*key)
    }
}

impl FromStr for ServiceAddress {
    type Err = AddressError;

    /// Reads `NAME.zmesh`. White space around it and capitals do no harm; names below it are refused.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > TEXT_MAX {
            return Err(AddressError::NotAnAddress);
        }
        if text.len() != NAME_LEN + SUFFIX.len() {
            return Err(AddressError::NotAnAddress);
        }
        Self::from_host(text).ok_or(AddressError::NotAnAddress)?
    }
}

/// For people who asked for it: the address in clear. Logs use `Debug`, which redacts.
impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 32 + CHECK_LEN + 1];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..32 + CHECK_LEN].copy_from_slice(&check(&self.0));
        bytes[32 + CHECK_LEN] = VERSION;
        f.write_str(&BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())?;
        f.write_str(SUFFIX)
    }
}

impl fmt::Debug for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAddress([redacted])")
    }
}

/// Finds typing errors, nothing else.
fn check(key: &[u8; 32]) -> [u8; CHECK_LEN] {
    let hash = digest(CHECK_CONTEXT, &[key, &[VERSION]]);
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash[..CHECK_LEN]);
    check
}

//! The address of a file: all that a reader needs, and a secret.
//!
//! ```text
//! zmesh:chunk/1/‹base32 of: class (1) ‖ name of the root (32) ‖ key (32) ‖ check (4), lower case, no padding›
//! ```

use std::fmt;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use super::seal::FileKey;
use super::{ChunkId, ChunkRef, Class};

const HEAD: &str = "zmesh:chunk/";
const VERSION: &str = "1";
const CHECK_CONTEXT: &str = "zmesh chunk address check v1";
const CHECK_LEN: usize = 4;
const BODY_LEN: usize = 1 + 32 + 32;
/// The longest text that is looked at.
const TEXT_MAX: usize = 256;

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not begin like one.
    #[error("this is no address of a file: one begins with {HEAD}")]
    NotAnAddress,
    /// A newer kind.
    #[error("the address has version {found:?}; this program knows version {VERSION}")]
    WrongVersion {
        /// The version that it names.
        found: String,
    },
    /// Cut off or mistyped.
    #[error("the address is damaged: a part is missing or mistyped")]
    Damaged,
}

/// Name and key of a file. Whoever has it can fetch and read the file, so it is handed on like a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The root chunk's name.
    pub(crate) root: ChunkId,
    /// The root chunk's length.
    pub(crate) class: Class,
    /// What the file is encrypted under.
    pub(crate) key: FileKey,
}

impl Address {
    /// The address of a file whose root is this chunk.
    #[must_use]
    pub fn new(root: ChunkId, class: Class, key: FileKey) -> Self {
        Self { root, class, key }
    }

    /// The root chunk, as relays know it.
    #[must_use]
    pub fn root(&self) -> ChunkRef {
        ChunkRef { id: self.root, shelf: self.root.shelf(), class: self.class }
    }

    /// What the file is encrypted under.
    #[must_use]
    pub fn key(&self) -> &FileKey {
        &self.key
    }

    /// The line to hand on.
    #[must_use]
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(BODY_LEN + CHECK_LEN));
        bytes.push(self.class.code());
        bytes.extend_from_slice(&self.root.0);
        bytes.extend_from_slice(self.key.as_bytes());
        let check = check(&bytes);
        bytes.extend_from_slice(&check);
        let code = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        let mut line = Zeroizing::new(String::with_capacity(HEAD.len() + VERSION.len() + 1 + code.len()));
        line.push_str(HEAD);
        line.push_str(VERSION);
        line.push('/');
        line.extend(code.chars().map(|c| c.to_ascii_lowercase()));
        line
    }

    /// Reads a line. White space around it and capitals do no harm.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.len() > TEXT_MAX {
            return Err(AddressError::NotAnAddress);
        }
        let lower = Zeroizing::new(text.to_ascii_lowercase());
        let rest = lower.strip_prefix(HEAD).ok_or(AddressError::NotAnAddress)?;
        let (version, code) = rest.split_once('/').ok_or(AddressError::NotAnAddress)?;
        if version != VERSION {
            let known = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
            return Err(match known {
                true => AddressError::WrongVersion { found: version.to_owned() },
                false => AddressError::NotAnAddress,
            });
        }
        let code = Zeroizing::new(code.to_ascii_uppercase());
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(code.as_bytes()).map_err(|_| AddressError::Damaged)?);
        if bytes.len() != BODY_LEN + CHECK_LEN || check(&bytes[..BODY_LEN]) != bytes[BODY_LEN..] {
            return Err(AddressError::Damaged);
        }
        let class = Class::from_code(bytes[0]).ok_or(AddressError::Damaged)?;
        let (mut root, mut key) = ([0; 32], Zeroizing::new([0; 32]));
        root.copy_from_slice(&bytes[1..33]);
        key.copy_from_slice(&bytes[33..65]);
        Ok(Self { root: ChunkId(root), class, key: FileKey::from_bytes(&key) })
    }
}

/// Finds typing errors, nothing else.
fn check(body: &[u8]) -> [u8; CHECK_LEN] {
    let hash = Zeroizing::new(blake3::derive_key(CHECK_CONTEXT, body));
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash[..CHECK_LEN]);
    check
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address([redacted])")
    }
}

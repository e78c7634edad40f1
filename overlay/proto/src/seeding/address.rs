//! The address of a file: all that a reader needs, and a secret.
//!
//! ```text
//! zmesh:chunk/1/‹base32 of: class (1) ‖ name of the root (32) ‖ key (32) ‖ check (4), lower case, no padding›
//! ```

use std::fmt;

use zeroize::Zeroizing;

use super::seal::FileKey;
use super::{ChunkId, ChunkRef, Class};
use crate::wire::codec::line::{CHECK_LEN, LineError, LineKind};
use crate::wire::request::SnapshotRef;

const LINE: LineKind = LineKind { head: "zmesh:chunk/", version: "1", text_max: 256, check };
const CHECK_CONTEXT: &str = "zmesh chunk address check v1";
const BODY_LEN: usize = 1 + 32 + 32;

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// It does not begin like one.
    #[error("this is no address of a file: one begins with {head}", head = LINE.head)]
    NotAnAddress,
    /// A newer kind.
    #[error("the address has version {found:?}; this program knows version {version}", version = LINE.version)]
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

    /// The address of a network's snapshot, as a relay's head names it.
    #[must_use]
    pub fn of_snapshot(snapshot: &SnapshotRef) -> Self {
        Self::new(snapshot.root, snapshot.class, FileKey::from_bytes(&snapshot.key))
    }

    /// What a head says of this address, which everybody may know.
    #[must_use]
    pub fn to_snapshot(&self) -> SnapshotRef {
        SnapshotRef { root: self.root, class: self.class, key: *self.key.as_bytes() }
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
        let mut body = Zeroizing::new(Vec::with_capacity(BODY_LEN));
        body.push(self.class.code());
        body.extend_from_slice(&self.root.0);
        body.extend_from_slice(self.key.as_bytes());
        LINE.encode(&body)
    }

    /// Reads a line. White space around it and capitals do no harm.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bytes = LINE.decode(text).map_err(|error| match error {
            LineError::Other => AddressError::NotAnAddress,
            LineError::Version(found) => AddressError::WrongVersion { found },
            LineError::Damaged => AddressError::Damaged,
        })?;
        if bytes.len() != BODY_LEN {
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

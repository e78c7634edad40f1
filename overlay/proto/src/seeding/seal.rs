//! From a piece of a file to a chunk and back: padding and encryption.
//!
//! Each file has a random key of its own, and each of its chunks a nonce of its own under it, so equal files give unequal
//! chunks: nobody who guesses a file can see whether relays keep it (decision 0141). A chunk's name is the BLAKE3 hash of
//! its encrypted bytes, so relays check what they keep without being able to read it.

use std::fmt;

use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Class, Shelf};

/// Bytes of a chunk that authenticate the others.
pub const TAG_LEN: usize = 16;

/// Parts that share a shelf: 8 MiB of a file.
pub const SHELF_PARTS: u32 = 32;

const CONTEXT: &[u8] = b"zmesh chunk v1";
const PUBLIC_CONTEXT: &str = "zmesh public chunk key v1";
const SHELF_CONTEXT: &str = "zmesh chunk shelf v1";

/// Why a chunk does not open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The piece is longer than the longest chunk.
    #[error("{len} bytes do not fit one chunk")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// The padding holds something, or another piece was to be there: its publisher made it by other rules.
    #[error("the chunk is not padded as it must be")]
    Padding,
    /// Another key, another place, or other bytes: which one is not told.
    #[error("the chunk does not open with this key")]
    DoesNotOpen,
}

/// What one file is encrypted under. Overwritten on drop.
#[derive(Clone)]
pub struct FileKey(Zeroizing<[u8; 32]>);

impl FileKey {
    /// Draws a key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *key);
        Self(key)
    }

    /// The key of what is public: all who cut it get the same chunks.
    #[must_use]
    pub fn of_public(data: &[u8]) -> Self {
        Self(Zeroizing::new(blake3::derive_key(PUBLIC_CONTEXT, data)))
    }

    pub(super) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The shelf of part number `part`. Whoever lacks the key cannot tell which shelves are of one file.
    #[must_use]
    pub fn shelf(&self, part: u32) -> Shelf {
        let mut hash = blake3::Hasher::new_derive_key(SHELF_CONTEXT);
        hash.update(&*self.0);
        hash.update(&(part / SHELF_PARTS).to_be_bytes());
        let mut shelf = [0; 16];
        hash.finalize_xof().fill(&mut shelf);
        Shelf(shelf)
    }
}

impl PartialEq for FileKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for FileKey {}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey([redacted])")
    }
}

/// What a chunk is in its file. A chunk opens in its own place only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The chunk that the address names.
    Root,
    /// A part, by its number.
    Part(u32),
}

impl Place {
    fn nonce(self) -> Nonce {
        let mut nonce = [0; 12];
        if let Self::Part(number) = self {
            nonce[0] = 1;
            nonce[8..].copy_from_slice(&number.to_be_bytes());
        }
        nonce.into()
    }
}

/// What a chunk of this class holds, in bytes.
#[must_use]
pub fn capacity(class: Class) -> usize {
    class.len() - TAG_LEN
}

/// The shortest class that holds `len` bytes.
#[must_use]
pub fn class_for(len: usize) -> Option<Class> {
    Class::ALL.into_iter().find(|class| len <= capacity(*class))
}

/// Encrypts a piece of a file, padded with zeros to the next class.
///
/// # Errors
/// [`SealError::TooLong`].
pub fn seal(key: &FileKey, place: Place, piece: &[u8]) -> Result<(Class, Vec<u8>), SealError> {
    let class = class_for(piece.len()).ok_or(SealError::TooLong { len: piece.len() })?;
    let mut chunk = Vec::with_capacity(class.len());
    chunk.extend_from_slice(piece);
    chunk.resize(capacity(class), 0);
    let cipher = ChaCha20Poly1305::new((&*key.0).into());
    let tag = cipher
        .encrypt_in_place_detached(&place.nonce(), CONTEXT, &mut chunk)
        .map_err(|_| SealError::TooLong { len: piece.len() })?;
    chunk.extend_from_slice(&tag);
    Ok((class, chunk))
}

/// Decrypts a chunk; the padding stays.
///
/// # Errors
/// [`SealError::DoesNotOpen`].
pub fn open(key: &FileKey, place: Place, mut chunk: Vec<u8>) -> Result<Vec<u8>, SealError> {
    let at = chunk.len().checked_sub(TAG_LEN).ok_or(SealError::DoesNotOpen)?;
    let tag = Tag::clone_from_slice(&chunk.split_off(at));
    let cipher = ChaCha20Poly1305::new((&*key.0).into());
    cipher.decrypt_in_place_detached(&place.nonce(), CONTEXT, &mut chunk, &tag).map_err(|_| SealError::DoesNotOpen)?;
    Ok(chunk)
}

/// Decrypts a chunk that holds a piece of `len` bytes. One piece has one form: padding is zeros, and no more than brings it to
/// its class, so nobody finds bytes in a file's chunks that the file does not have.
///
/// # Errors
/// [`SealError::DoesNotOpen`], [`SealError::Padding`].
pub fn open_piece(key: &FileKey, place: Place, chunk: Vec<u8>, len: usize) -> Result<Vec<u8>, SealError> {
    let mut piece = open(key, place, chunk)?;
    let fits = class_for(len).is_some_and(|class| capacity(class) == piece.len());
    if !fits || piece.iter().skip(len).any(|byte| *byte != 0) {
        return Err(SealError::Padding);
    }
    piece.truncate(len);
    Ok(piece)
}

//! The root of a file: the file itself where it is short, else the names of its parts.
//!
//! ```text
//! version 1 (1) ‖ kind (1) ‖ length of the file (8) ‖ the file | names of the parts (32 each) ‖ zeros
//! ```
//!
//! Every part but the last is full, so the length tells how many parts there are and how long each one is.

use super::seal::{FileKey, capacity, class_for};
use super::{ChunkId, ChunkRef, Class};
use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

const VERSION: u8 = 1;
const WHOLE: u8 = 0;
const PARTS: u8 = 1;
const HEADER: usize = 10;

/// Bytes of a file in one part.
pub const PART_LEN: usize = 256 * 1024 - super::seal::TAG_LEN;

/// The longest file that is its root, in bytes.
pub const WHOLE_MAX: usize = PART_LEN - HEADER;

/// Most parts of a file.
pub const PARTS_MAX: usize = (PART_LEN - HEADER) / 32;

/// The longest file, in bytes: 2.1 GB.
pub const FILE_MAX: u64 = PARTS_MAX as u64 * PART_LEN as u64;

/// What a root says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Root {
    /// The file.
    Whole(Vec<u8>),
    /// Where the file is.
    Parts {
        /// Its length in bytes, over [`WHOLE_MAX`].
        len: u64,
        /// The names of its parts, in order.
        ids: Vec<ChunkId>,
    },
}

impl Root {
    /// The root's bytes, before [sealing](super::seal::seal).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        match self {
            Self::Whole(file) => {
                w.u8(WHOLE);
                w.u64(file.len() as u64);
                w.put(file);
            }
            Self::Parts { len, ids } => {
                w.u8(PARTS);
                w.u64(*len);
                for id in ids {
                    w.put(&id.0);
                }
            }
        }
        w.finish()
    }

    /// Reads what [`open`](super::seal::open) gave.
    ///
    /// # Errors
    /// These bytes are no root: its publisher made it by other rules.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let kind_at = r.clone();
        let kind = r.u8()?;
        let len_at = r.clone();
        let len = r.u64()?;
        let root = match kind {
            WHOLE => {
                let len = usize::try_from(len).ok().filter(|len| *len <= WHOLE_MAX);
                Self::Whole(r.take(len.ok_or_else(|| len_at.error(ErrorKind::TooLong))?)?.to_vec())
            }
            PARTS => {
                let count = part_count(len).ok_or_else(|| len_at.error(ErrorKind::Invalid))?;
                let ids = (0..count).map(|_| r.array().map(ChunkId)).collect::<Result<_, _>>()?;
                Self::Parts { len, ids }
            }
            _ => return Err(kind_at.error(ErrorKind::Invalid)),
        };
        let padding_at = r.clone();
        // One root has one form: padding is zeros, and no more than brings it to its class.
        let used = r.offset();
        let fits = class_for(used).is_some_and(|class| capacity(class) == bytes.len());
        if !fits || r.rest().iter().any(|byte| *byte != 0) {
            return Err(padding_at.error(ErrorKind::Trailing));
        }
        Ok(root)
    }
}

/// How many parts a file of `len` bytes has; none if it has no parts or is too long.
#[must_use]
pub fn part_count(len: u64) -> Option<usize> {
    let parts = len.div_ceil(PART_LEN as u64);
    (len > WHOLE_MAX as u64 && len <= FILE_MAX).then(|| usize::try_from(parts).ok()).flatten()
}

/// How many bytes of a file of `len` bytes part number `part` holds.
#[must_use]
pub fn part_len(len: u64, part: usize) -> usize {
    let before = part as u64 * PART_LEN as u64;
    usize::try_from(len.saturating_sub(before)).map_or(PART_LEN, |left| left.min(PART_LEN))
}

/// Part number `part` of a file of `len` bytes, as relays know it.
#[must_use]
pub fn part_ref(key: &FileKey, len: u64, part: usize, id: ChunkId) -> ChunkRef {
    let class = class_for(part_len(len, part)).unwrap_or(Class::Full);
    ChunkRef { id, shelf: key.shelf(u32::try_from(part).unwrap_or(u32::MAX)), class }
}

//! What is asked of a relay that keeps chunks: symbols of one, or to keep another.

use std::fmt;

use zmesh_fec::chunk::{REPAIRS, SYMBOL_LEN};

use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Most symbols in one answer.
pub const SYMBOLS_MAX: u16 = 64;

/// Names a chunk: BLAKE3 of its bytes, which are encrypted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkId(pub [u8; 32]);

impl ChunkId {
    /// The name of these bytes.
    #[must_use]
    pub fn of(chunk: &[u8]) -> Self {
        Self(*blake3::hash(chunk).as_bytes())
    }

    /// The shelf of a chunk that has nothing but its name: the name's first half.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        let mut shelf = [0; 16];
        shelf.copy_from_slice(&self.0[..16]);
        Shelf(shelf)
    }
}

/// Says which relays keep a chunk. Chunks that are read together share a shelf, so that few circuits bring many.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shelf(pub [u8; 16]);

/// How long a chunk is. Few lengths tell little about what is inside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Class {
    /// 4 KiB.
    Note = 0,
    /// 16 KiB.
    Page = 1,
    /// 64 KiB.
    Sheet = 2,
    /// 256 KiB.
    Full = 3,
}

impl Class {
    /// Every class, shortest first.
    pub const ALL: [Self; 4] = [Self::Note, Self::Page, Self::Sheet, Self::Full];

    /// The class for its code on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Source symbols of such a chunk.
    #[must_use]
    pub fn sources(self) -> u16 {
        4 << (2 * self.code())
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no chunk is empty")]
    pub fn len(self) -> usize {
        usize::from(self.sources()) * SYMBOL_LEN
    }
}

/// One chunk, as one relay asks another for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkRef {
    /// Its name.
    pub id: ChunkId,
    /// Where it is kept.
    pub shelf: Shelf,
    /// Its length.
    pub class: Class,
}

impl ChunkRef {
    pub(super) fn write(&self, w: &mut Writer) {
        w.put(&self.id.0);
        w.put(&self.shelf.0);
        w.u8(self.class.code());
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let (id, shelf) = (ChunkId(r.array()?), Shelf(r.array()?));
        let class = r.check(|r| {
            let code = r.u8()?;
            Class::from_code(code).ok_or_else(|| r.error(ErrorKind::Invalid))
        })?;
        Ok(Self { id, shelf, class })
    }
}

/// A run of a chunk's repair symbols.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SymbolRun {
    /// Of which chunk.
    pub chunk: ChunkRef,
    /// The number of the first one, below [`REPAIRS`]; the numbers go round.
    pub first: u32,
    /// How many, 1 to [`SYMBOLS_MAX`].
    pub count: u16,
}

impl SymbolRun {
    pub(super) fn write(&self, w: &mut Writer) {
        self.chunk.write(w);
        w.u32(self.first);
        w.u16(self.count);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let chunk = ChunkRef::read(r)?;
        let first = r.check(|r| match r.u32()? {
            first if first < REPAIRS => Ok(first),
            _ => Err(r.error(ErrorKind::Invalid)),
        })?;
        Ok(Self { chunk, first, count: read_count(r)? })
    }
}

/// A count of symbols.
pub(super) fn read_count(r: &mut Reader<'_>) -> Result<u16, Error> {
    r.check(|r| match r.u16()? {
        count @ 1..=SYMBOLS_MAX => Ok(count),
        _ => Err(r.error(ErrorKind::Invalid)),
    })
}

/// Who asks for which chunk is nobody's business.
impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkId([redacted])")
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shelf([redacted])")
    }
}

impl fmt::Debug for ChunkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkRef({:?})", self.class)
    }
}

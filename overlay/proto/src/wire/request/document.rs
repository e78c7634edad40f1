//! What is asked of a relay about the network's documents. Everything here is public; who asks is not.

use std::fmt;

use super::chunk::{ChunkId, Class};
use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// The longest answer to one request, in bytes: the largest document with every descriptor in full.
pub const DOCUMENT_MAX: usize = 32 << 20;

const HEAD: u8 = 0;
const GENESIS: u8 = 1;
const SNAPSHOT: u8 = 2;
const DIFFERENCE: u8 = 3;
const CHAIN: u8 = 4;
const HEADER: u8 = 5;

/// The hash of a document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentHash(pub [u8; 32]);

/// Which document, or part of one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DocumentAsk {
    /// What the relay takes for the newest document.
    Head,
    /// The network's genesis.
    Genesis,
    /// The newest document with every descriptor.
    Snapshot,
    /// What changed since the document with this hash.
    Difference(DocumentHash),
    /// The signed headers at which voters changed, from this epoch on, each behind four bytes of length.
    Chain {
        /// The first epoch that the asker has not seen.
        from: u64,
    },
    /// The signed header of the newest document.
    Header,
}

impl DocumentAsk {
    pub(super) fn write(self, w: &mut Writer) {
        match self {
            Self::Head => w.u8(HEAD),
            Self::Genesis => w.u8(GENESIS),
            Self::Snapshot => w.u8(SNAPSHOT),
            Self::Difference(from) => {
                w.u8(DIFFERENCE);
                w.put(&from.0);
            }
            Self::Chain { from } => {
                w.u8(CHAIN);
                w.u64(from);
            }
            Self::Header => w.u8(HEADER),
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let kind_at = r.clone();
        match r.u8()? {
            HEAD => Ok(Self::Head),
            GENESIS => Ok(Self::Genesis),
            SNAPSHOT => Ok(Self::Snapshot),
            DIFFERENCE => Ok(Self::Difference(DocumentHash(r.array()?))),
            CHAIN => Ok(Self::Chain { from: r.u64()? }),
            HEADER => Ok(Self::Header),
            _ => Err(kind_at.error(ErrorKind::Invalid)),
        }
    }
}

/// What a relay takes for the newest document. A claim: nothing in it is signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Head {
    /// The epoch of the document.
    pub epoch: u64,
    /// Its hash.
    pub hash: DocumentHash,
    /// Length of the snapshot in bytes.
    pub snapshot_len: u32,
    /// The snapshot among the chunks that relays keep, if the relay has cut it.
    pub snapshot: Option<SnapshotRef>,
}

/// Where a snapshot is among the chunks. No secret: the key follows from the snapshot itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SnapshotRef {
    /// Name of the root.
    pub root: ChunkId,
    /// Length of the root.
    pub class: Class,
    /// What the chunks are encrypted under.
    pub key: [u8; 32],
}

impl Head {
    pub(super) fn write(&self, w: &mut Writer) {
        w.u64(self.epoch);
        w.put(&self.hash.0);
        w.u32(self.snapshot_len);
        match &self.snapshot {
            None => w.u8(0),
            Some(snapshot) => {
                w.u8(1 + snapshot.class.code());
                w.put(&snapshot.root.0);
                w.put(&snapshot.key);
            }
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let (epoch, hash) = (r.u64()?, DocumentHash(r.array()?));
        let snapshot_len = read_len(r)?;
        let class = r.check(|r| match r.u8()? {
            0 => Ok(None),
            code => Class::from_code(code - 1).map(Some).ok_or_else(|| r.error(ErrorKind::Invalid)),
        })?;
        let snapshot = match class {
            None => None,
            Some(class) => Some(SnapshotRef { root: ChunkId(r.array()?), class, key: r.array()? }),
        };
        Ok(Self { epoch, hash, snapshot_len, snapshot })
    }
}

/// A length from 1 to [`DOCUMENT_MAX`].
pub(super) fn read_len(r: &mut Reader<'_>) -> Result<u32, Error> {
    r.check(|r| match r.u32()? {
        len @ 1.. if len as usize <= DOCUMENT_MAX => Ok(len),
        0 => Err(r.error(ErrorKind::Invalid)),
        _ => Err(r.error(ErrorKind::TooLong)),
    })
}

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Documents are the same for everybody, so their hashes tell nothing of who has them.
impl fmt::Debug for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentHash({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

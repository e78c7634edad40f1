//! A network's snapshot as chunks: whoever has the snapshot cuts it into the same ones, so each relay keeps those that
//! have their place with it, without a circuit to anybody.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use zmesh_proto::seeding::address::Address;
use zmesh_proto::seeding::cache::Source;
use zmesh_proto::seeding::root::{PART_LEN, Root, WHOLE_MAX};
use zmesh_proto::seeding::seal::{FileKey, Place, SealError, seal};
use zmesh_proto::seeding::{ChunkId, ChunkRef};

use super::Keeper;

/// A snapshot in chunks.
pub(crate) struct Cut {
    pub(crate) address: Address,
    pub(crate) chunks: Vec<(ChunkRef, Vec<u8>)>,
}

/// Cuts a snapshot. Takes some milliseconds for each megabyte.
///
/// # Errors
/// Never for what a document may be long.
pub(crate) fn cut(snapshot: &[u8]) -> Result<Cut, SealError> {
    let key = FileKey::of_public(snapshot);
    let mut chunks = Vec::new();
    let root = if snapshot.len() <= WHOLE_MAX {
        Root::Whole(snapshot.to_vec())
    } else {
        for (number, piece) in (0u32..).zip(snapshot.chunks(PART_LEN)) {
            let (class, bytes) = seal(&key, Place::Part(number), piece)?;
            let chunk = ChunkRef { id: ChunkId::of(&bytes), shelf: key.shelf(number), class };
            chunks.push((chunk, bytes));
        }
        Root::Parts { len: snapshot.len() as u64, ids: chunks.iter().map(|(chunk, _)| chunk.id).collect() }
    };
    let (class, bytes) = seal(&key, Place::Root, &root.encode())?;
    let address = Address::new(ChunkId::of(&bytes), class, key);
    chunks.push((address.root(), bytes));
    Ok(Cut { address, chunks })
}

impl Keeper {
    /// Keeps those of a snapshot's chunks that have their place here; says how many.
    pub(crate) async fn keep_snapshot(&self, cut: Cut) -> usize {
        let Some(origin) = self.origin() else { return 0 };
        let mine = cut.chunks.into_iter().filter(|(chunk, _)| self.others(&origin, chunk).is_some());
        let mine: Vec<_> = mine.collect();
        let store = Arc::clone(&self.store);
        let kept = spawn_blocking(move || {
            mine.into_iter().filter(|(chunk, bytes)| store.insert(*chunk, Source::SELF, bytes).is_ok()).count()
        });
        kept.await.unwrap_or(0)
    }
}

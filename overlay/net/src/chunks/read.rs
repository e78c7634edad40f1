//! Fetching a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zmesh_proto::seeding::address::Address;
use zmesh_proto::seeding::placement::ranking;
use zmesh_proto::seeding::root::{Root, part_len, part_ref};
use zmesh_proto::seeding::seal::{Place, open, open_piece};
use zmesh_proto::seeding::{ChunkId, ChunkRef};

use super::gather::{Gather, Gathered};
use super::seeder::Way;
use super::{ChunkError, ChunkOptions, ChunkProgress, Fetched, Liars};
use crate::RelayId;
use crate::origin::Origin;

/// Parts under way at once: what a fetch holds in memory, 256 KiB each and as much again in symbols.
const WINDOW: usize = 12;

/// Fetches the file behind `address` into `sink`, in order.
///
/// # Cancel safety
/// Dropping the future ends the fetch; what was written stays.
pub(crate) async fn read(
    origin: &Arc<Origin>,
    liars: &Arc<Liars>,
    address: &Address,
    sink: &mut (impl AsyncWrite + Unpin),
    options: ChunkOptions,
    mut progress: impl FnMut(ChunkProgress),
) -> Result<Fetched, ChunkError> {
    let mut gather = Gather::new(Arc::clone(origin), Arc::clone(liars), Way { hops: options.hops, me: None });
    let seeders = |chunk: &ChunkRef| -> Result<Vec<RelayId>, ChunkError> {
        let mut ranked = ranking(&origin.network(), &chunk.shelf);
        ranked.truncate(options.seeders);
        if ranked.is_empty() { Err(ChunkError::NoSeeders) } else { Ok(ranked) }
    };
    let root = address.root();
    gather.want(0, root, seeders(&root)?);
    let root = match gather.next().await {
        Some(Gathered::Done(_, chunk)) => chunk,
        Some(Gathered::Failed(_, shortage)) => return Err(ChunkError::Missing { chunk: 0, shortage }),
        None => return Err(ChunkError::ShutDown),
    };
    let unreadable = |error: &dyn std::fmt::Display| ChunkError::Unreadable(error.to_string());
    let root = open(address.key(), Place::Root, root).map_err(|error| unreadable(&error))?;
    let (len, ids) = match Root::decode(&root).map_err(|error| unreadable(&error))? {
        Root::Whole(file) => {
            sink.write_all(&file).await?;
            (file.len() as u64, Vec::new())
        }
        Root::Parts { len, ids } => (len, ids),
    };
    let parts = Parts { address, len, ids };
    parts.read(&mut gather, seeders, sink, &mut progress).await?;
    sink.flush().await?;
    let totals = gather.totals();
    progress(ChunkProgress { done: len, total: Some(len), seeders: gather.connected(), liars: totals.liars });
    Ok(Fetched {
        len,
        chunks: 1 + parts.ids.len(),
        symbols: totals.symbols,
        needed: totals.useful,
        circuits: gather.used(),
        liars: totals.liars,
    })
}

/// The parts of a file.
struct Parts<'a> {
    address: &'a Address,
    len: u64,
    ids: Vec<ChunkId>,
}

impl Parts<'_> {
    async fn read(
        &self,
        gather: &mut Gather,
        seeders: impl Fn(&ChunkRef) -> Result<Vec<RelayId>, ChunkError>,
        sink: &mut (impl AsyncWrite + Unpin),
        progress: &mut impl FnMut(ChunkProgress),
    ) -> Result<(), ChunkError> {
        let (mut wanted, mut written, mut done) = (0, 0, 0);
        let mut early: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        let mut shelves: BTreeMap<usize, Vec<RelayId>> = BTreeMap::new();
        while written < self.ids.len() {
            while wanted < self.ids.len() && wanted < written + WINDOW {
                let chunk = part_ref(self.address.key(), self.len, wanted, self.ids[wanted]);
                let from = seeders(&chunk)?;
                shelves.insert(wanted, from.clone());
                gather.want(wanted, chunk, from);
                wanted += 1;
            }
            match gather.next().await {
                Some(Gathered::Done(part, chunk)) => drop(early.insert(part, chunk)),
                Some(Gathered::Failed(part, shortage)) => {
                    return Err(ChunkError::Missing { chunk: part + 1, shortage });
                }
                None => return Err(ChunkError::ShutDown),
            }
            while let Some(chunk) = early.remove(&written) {
                let number = u32::try_from(written).unwrap_or(u32::MAX);
                let len = part_len(self.len, written);
                let piece = open_piece(self.address.key(), Place::Part(number), chunk, len);
                let piece = piece.map_err(|error| ChunkError::Unreadable(error.to_string()))?;
                sink.write_all(&piece).await?;
                done += piece.len() as u64;
                shelves.remove(&written);
                written += 1;
            }
            // Relays of shelves that have been read through need not be connected to any more.
            let near: Vec<RelayId> = shelves.values().flatten().copied().collect();
            gather.keep_circuits(&near);
            let (seeders, liars) = (gather.connected(), gather.totals().liars);
            progress(ChunkProgress { done, total: Some(self.len), seeders, liars });
        }
        Ok(())
    }
}

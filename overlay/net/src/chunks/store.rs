//! A relay's chunks: the index and the files, kept in step. Everything here waits for the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zmesh_fec::chunk::Encoder;
use zmesh_proto::seeding::cache::{Index, Refusal, Source, Stage};
use zmesh_proto::seeding::{ChunkId, ChunkRef, SymbolRun};

use super::ChunkStore;
use super::disk::Disk;
use crate::clock;

/// Chunks whose symbols can be made at once, without the disk: half a megabyte each.
const ENCODERS: usize = 16;

/// How often it is looked for chunks whose time is over, in seconds.
const LOOK: u64 = 600;

/// See the head of this module.
pub(super) struct Store {
    disk: Disk,
    index: Mutex<Index>,
    encoders: Mutex<VecDeque<(ChunkId, Arc<Encoder>)>>,
    /// When [`Store::expire`] last looked, unix seconds.
    looked: AtomicU64,
    damaged: AtomicU64,
    evicted: AtomicU64,
}

/// A store's counters at one moment.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct ChunkMetrics {
    /// Chunks on the disk.
    pub chunks: usize,
    /// Bytes of disk that they take.
    pub chunk_bytes: u64,
    /// Symbols given.
    pub symbols_given: u64,
    /// Chunks taken from others.
    pub chunks_taken: u64,
    /// Chunks that this relay fetched for itself.
    pub chunks_fetched: u64,
    /// Chunks that it gave to other relays of its own accord.
    pub chunks_reseeded: u64,
    /// Requests refused because of a bound.
    pub chunk_refusals: u64,
    /// Chunks that went to make room.
    pub chunks_evicted: u64,
    /// Damaged files found and removed.
    pub chunks_damaged: u64,
}

impl Store {
    /// Opens the directory and takes up what the last run left.
    pub(super) fn open(config: &ChunkStore) -> io::Result<Self> {
        let disk = Disk::open(config.directory.clone())?;
        let mut index = Index::new(config.room);
        let mut found = disk.scan()?;
        // Where there is less room than before, the newest stay. Those are put in last, so that they are the last to go.
        let mut trial = Index::new(config.room);
        let fits: Vec<bool> =
            found.iter().rev().map(|found| trial.restore(found.chunk, found.stage, found.used)).collect();
        for (found, fits) in found.drain(..).zip(fits.into_iter().rev()) {
            if fits {
                index.restore(found.chunk, found.stage, found.used);
            } else {
                disk.remove(&found.chunk.id, found.stage);
            }
        }
        Ok(Self {
            disk,
            index: Mutex::new(index),
            encoders: Mutex::default(),
            looked: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn holds(&self, id: &ChunkId) -> bool {
        self.index().find(id).is_some()
    }

    /// Whether the chunk of this name is here, with another length than `chunk` says. Symbols of it would be noise to
    /// whoever asks so, and make this relay look like a liar.
    pub(super) fn differs(&self, chunk: &ChunkRef) -> bool {
        self.index().find(&chunk.id).is_some_and(|(held, _)| held.class != chunk.class)
    }

    pub(super) fn would_take(&self, chunk: &ChunkRef, source: Source) -> Result<(), Refusal> {
        self.index().would_take(chunk, source)
    }

    /// The next `count` chunks after `after`, by name, that people ask for.
    pub(super) fn kept_after(&self, after: Option<ChunkId>, count: usize) -> Vec<ChunkRef> {
        let index = self.index();
        let kept = index.after(after).filter(|chunk| index.find(&chunk.id).is_some_and(|found| found.1 == Stage::Kept));
        kept.take(count).collect()
    }

    pub(super) fn fill(&self, metrics: &mut ChunkMetrics) {
        let index = self.index();
        metrics.chunks = index.len();
        metrics.chunk_bytes = index.bytes();
        metrics.chunks_evicted = self.evicted.load(Ordering::Relaxed);
        metrics.chunks_damaged = self.damaged.load(Ordering::Relaxed);
    }

    /// Keeps a chunk whose name has been compared with its bytes.
    pub(super) fn insert(&self, chunk: ChunkRef, source: Source, bytes: &[u8]) -> Result<(), Refusal> {
        self.would_take(&chunk, source)?;
        // The file first: whatever the index knows can be read.
        if let Err(error) = self.disk.write(&chunk, Stage::Trial, bytes) {
            tracing::warn!(%error, "a chunk could not be written");
            return Err(Refusal::TooSmall);
        }
        match self.index().insert(chunk, source, clock::unix_seconds()) {
            Ok(gone) => self.evict(gone),
            // Somebody else was faster: the file is theirs too.
            Err(Refusal::Held) => return Err(Refusal::Held),
            Err(refusal) => {
                self.disk.remove(&chunk.id, Stage::Trial);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Makes symbols of a chunk; `None` if it is not there.
    pub(super) fn symbols(&self, run: &SymbolRun, by: Source) -> Option<Vec<u8>> {
        if self.differs(&run.chunk) {
            return None;
        }
        let encoder = self.encoder(&run.chunk.id)?;
        let unix = clock::unix_seconds();
        {
            let mut index = self.index();
            let (promoted, gone) = index.used(&run.chunk.id, by, unix);
            if promoted && let Err(error) = self.disk.promote(&run.chunk.id) {
                tracing::warn!(%error, "a chunk could not be moved");
                index.remove(&run.chunk.id);
                self.disk.remove(&run.chunk.id, Stage::Trial);
            }
            self.evict(gone);
        }
        let mut symbols = Vec::with_capacity(usize::from(run.count) * zmesh_fec::chunk::SYMBOL_LEN);
        encoder.symbols(run.first, run.count, &mut symbols);
        Some(symbols)
    }

    fn encoder(&self, id: &ChunkId) -> Option<Arc<Encoder>> {
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = encoders.iter().position(|(other, _)| other == id) {
            let (id, encoder) = encoders.remove(at)?;
            encoders.push_back((id, Arc::clone(&encoder)));
            return Some(encoder);
        }
        drop(encoders);
        let (chunk, stage) = self.index().find(id)?;
        let Some(bytes) = self.disk.read(&chunk, stage) else {
            // Another thread may just have moved it.
            let (chunk, moved) = self.index().find(id)?;
            return match self.disk.read(&chunk, moved) {
                Some(bytes) => self.prepare(&chunk, moved, &bytes),
                None => {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                    self.index().remove(id);
                    self.disk.remove(id, moved);
                    None
                }
            };
        };
        self.prepare(&chunk, stage, &bytes)
    }

    fn prepare(&self, chunk: &ChunkRef, stage: Stage, bytes: &[u8]) -> Option<Arc<Encoder>> {
        let encoder = Arc::new(Encoder::new(bytes).ok()?);
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        if encoders.len() >= ENCODERS {
            encoders.pop_front();
        }
        encoders.push_back((chunk.id, Arc::clone(&encoder)));
        drop(encoders);
        self.disk.touch(&chunk.id, stage);
        Some(encoder)
    }

    /// A chunk's bytes, for another relay.
    pub(super) fn read(&self, id: &ChunkId) -> Option<Vec<u8>> {
        let (chunk, stage) = self.index().find(id)?;
        self.disk.read(&chunk, stage)
    }

    /// Forgets what nobody has asked for in its time. Costs little where nothing is over.
    pub(super) fn expire(&self) {
        let unix = clock::unix_seconds();
        if unix.saturating_sub(self.looked.load(Ordering::Relaxed)) < LOOK {
            return;
        }
        self.looked.store(unix, Ordering::Relaxed);
        let gone = self.index().expire(unix);
        self.evict(gone);
    }

    fn evict(&self, gone: Vec<(ChunkId, Stage)>) {
        if gone.is_empty() {
            return;
        }
        self.evicted.fetch_add(gone.len() as u64, Ordering::Relaxed);
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        encoders.retain(|(id, _)| gone.iter().all(|(other, _)| other != id));
        drop(encoders);
        for (id, stage) in gone {
            self.disk.remove(&id, stage);
        }
    }
}

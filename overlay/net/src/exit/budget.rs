//! What all sessions of an exit together may use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use zmesh_proto::pace::Pace;

/// Streams open at once in all, where the operating system allows that many files.
const STREAMS: usize = 8192;

/// Bytes of buffers of all streams and flows.
const BYTES: usize = 256 << 20;

/// Bytes of symbols that wait to be read, and of chunks that are on their way here: apart from the others, so that who asks for
/// chunks and does not read them takes no stream's room.
const CHUNK_BYTES: usize = 64 << 20;

/// While fewer than a quarter of all streams are free, a session that has this many gets no more.
const STREAMS_WHEN_SCARCE: usize = 16;

/// New sessions per second, and at once. Each costs a key exchange and a signature on the shard's thread.
const SESSIONS_PER_SECOND: u64 = 500;
const SESSIONS_BURST: u64 = 100;

/// Room for streams and bytes, taken by permits that give it back when dropped.
pub(super) struct Budget {
    streams_max: usize,
    streams: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    chunks: Semaphore,
}

impl Budget {
    pub(super) fn new() -> Self {
        // A quarter stays for links, the replay file and whatever else the program has open.
        let files = open_files().map_or(STREAMS, |files| files / 4 * 3);
        Self::of(STREAMS.min(files), BYTES, CHUNK_BYTES)
    }

    pub(super) fn of(streams: usize, bytes: usize, chunks: usize) -> Self {
        Self {
            streams_max: streams,
            streams: Arc::new(Semaphore::new(streams)),
            bytes: Arc::new(Semaphore::new(bytes)),
            chunks: Semaphore::new(chunks),
        }
    }

    /// Streams in use.
    pub(super) fn streams(&self) -> usize {
        self.streams_max - self.streams.available_permits()
    }

    /// Room for one more stream of a session that has `open` with it.
    pub(super) fn stream(&self, open: usize) -> Option<OwnedSemaphorePermit> {
        if open > STREAMS_WHEN_SCARCE && self.streams.available_permits() < self.streams_max / 4 {
            return None;
        }
        Arc::clone(&self.streams).try_acquire_owned().ok()
    }

    /// Room for so many bytes of chunks.
    pub(super) fn chunk_bytes(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.chunks.try_acquire_many(u32::try_from(bytes).ok()?).ok()
    }

    /// Room for so many bytes of streams and flows.
    pub(super) fn bytes(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.bytes).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// How many files this process may have open, where the system says so in a file (Linux).
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The pace of new sessions.
pub(super) fn new_sessions() -> Pace {
    Pace::new(SESSIONS_PER_SECOND, SESSIONS_BURST)
}

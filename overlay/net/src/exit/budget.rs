//! What all sessions of an exit together may use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use zmesh_proto::pace::Pace;

use super::pool::Pool;

/// Streams that leave by the egress, at once, where the operating system allows that many files. The direct egress has
/// a few more sockets, for those that are on their way out.
const EGRESS: usize = 7_168;

/// UDP flows among them.
const FLOWS: usize = 512;

/// Streams that have not said yet what they want, and those that want what is here: documents, chunks, services. They
/// are apart from those that leave, which last, so that these shut nobody out.
const REQUESTS: usize = 4_096;

/// Of places for what leaves, one in so many is the strangers' share: origins go by a guard.
const OF_STRANGERS: usize = 16;

/// The same of requests: origins ask their guards, and newcomers anybody, for documents.
const REQUESTS_OF_STRANGERS: usize = 4;

/// Bytes of buffers of all streams and flows.
const BYTES: usize = 256 << 20;

/// Room for reads from a destination, in bytes.
pub(super) const BUFFER: usize = 64 * 1024;

/// The same for a stream that has not filled it yet, and while the exit has no more.
pub(super) const BUFFER_SMALL: usize = 16 * 1024;

/// What a flow may hold, in bytes: a datagram from outside, a record from the origin that is not whole yet, and
/// datagrams that wait.
const FLOW: usize = 192 << 10;

/// Bytes of symbols that wait to be read, and of chunks that are on their way here: apart from the others, so that who asks for
/// chunks and does not read them takes no stream's room.
const CHUNK_BYTES: usize = 64 << 20;

/// New sessions per second, and at once. Each costs a key exchange and a signature on the shard's thread.
const SESSIONS_PER_SECOND: u64 = 500;
const SESSIONS_BURST: u64 = 100;

/// Room for streams and bytes, given back by whoever drops it. Every stream and flow that has a place has its least
/// buffer with it.
pub(super) struct Budget {
    pub(super) requests: Arc<Pool>,
    pub(super) egress: Arc<Pool>,
    pub(super) flows: Arc<Pool>,
    /// Streams that have more than the least buffer.
    large: Arc<Semaphore>,
    chunks: Semaphore,
}

impl Budget {
    pub(super) fn new() -> Self {
        // A quarter stays for links, the replay file and whatever else the program has open.
        let files = open_files().map_or(EGRESS, |files| files / 4 * 3);
        Self::of(REQUESTS, EGRESS.min(files), CHUNK_BYTES)
    }

    pub(super) fn of(requests: usize, egress: usize, chunks: usize) -> Self {
        // A flow may need two sockets.
        let flows = FLOWS.min(egress / 8).max(1);
        let left = BYTES.saturating_sub(egress * BUFFER_SMALL + flows * FLOW);
        Self {
            requests: Pool::new(requests, requests / REQUESTS_OF_STRANGERS),
            egress: Pool::new(egress, egress / OF_STRANGERS),
            flows: Pool::new(flows, flows / OF_STRANGERS),
            large: Arc::new(Semaphore::new(left / (BUFFER - BUFFER_SMALL))),
            chunks: Semaphore::new(chunks),
        }
    }

    /// Streams in use.
    pub(super) fn streams(&self) -> usize {
        self.requests.taken() + self.egress.taken()
    }

    /// Room for so many bytes of chunks.
    pub(super) fn chunk_bytes(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        self.chunks.try_acquire_many(u32::try_from(bytes).ok()?).ok()
    }

    /// Room for a stream to have [`BUFFER`] instead of [`BUFFER_SMALL`].
    pub(super) fn large_buffer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.large).try_acquire_owned().ok()
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

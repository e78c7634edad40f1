//! Self-seeding chunks: publishing, fetching, and what a relay does to keep chunks and pass them on.

mod disk;
mod error;
mod gather;
mod keeper;
mod lanes;
mod publish;
mod read;
mod reseed;
mod seeder;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use error::ChunkError;
pub use store::ChunkMetrics;
pub use zmesh_proto::seeding::address::{Address, AddressError};
pub use zmesh_proto::seeding::fetch::Shortage;

pub(crate) use keeper::{Admission, Announced, Guest, Keeper, Taken};
pub(crate) use lanes::is_small;
pub(crate) use publish::publish;
pub(crate) use read::read;
pub(crate) use snapshot::cut;

use crate::{RelayId, clock};

/// Relays that a circuit for chunks uses before the seeder unless told otherwise: the seeder follows from the chunk and
/// so from whoever published it, and is none of the origin's own choice.
const HOPS: usize = 3;

/// How long a seeder that lied is asked for nothing.
const SHUNNED: Duration = Duration::from_secs(3600);

/// Liars that are remembered.
const LIARS: usize = 1024;

/// Where and how much a relay keeps.
#[derive(Clone, Debug)]
pub struct ChunkStore {
    /// Where the chunks are. Made if it is not there; other files in it are left alone.
    pub directory: PathBuf,
    /// The most that they take, in bytes of disk.
    pub room: u64,
    /// The most that strangers may leave, in bytes per second; sixteen seconds' worth at once, and one chunk at least.
    pub put_rate: u64,
    /// How long after a chunk came the relay sees to it that others keep it too.
    pub reseed_after: Duration,
}

impl ChunkStore {
    /// A store in `directory` with the usual bounds: 256 MiB, 2 MiB a second.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, room: 256 << 20, put_rate: 2 << 20, reseed_after: Duration::from_secs(30) }
    }
}

/// How a file is published or fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkOptions {
    pub(crate) hops: usize,
    pub(crate) copies: usize,
    pub(crate) seeders: usize,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        let copies = zmesh_proto::seeding::placement::COPIES;
        Self { hops: HOPS, copies, seeders: zmesh_proto::seeding::placement::RANKS }
    }
}

impl ChunkOptions {
    /// Relays of the origin's own choice on each circuit; the seeder comes on top. 1 to 3, 1 in a test network only.
    #[must_use]
    pub fn hops(mut self, hops: usize) -> Self {
        self.hops = hops;
        self
    }

    /// How many relays are given each chunk by the publisher itself; the relays see to the rest. At least 1.
    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies.max(1);
        self
    }

    /// From how many of the relays that may keep a chunk it is fetched at most. At least 1.
    #[must_use]
    pub fn seeders(mut self, seeders: usize) -> Self {
        self.seeders = seeders.max(1);
        self
    }
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct ChunkProgress {
    /// Bytes of the file that are there.
    pub done: u64,
    /// Bytes of the file, once they are known.
    pub total: Option<u64>,
    /// Relays that circuits stand to.
    pub seeders: usize,
    /// Relays that lied and were dropped.
    pub liars: u64,
}

/// A file that is published.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Published {
    /// What to hand on.
    pub address: Address,
    /// Its length in bytes.
    pub len: u64,
    /// Chunks that it became.
    pub chunks: usize,
    /// Relays that hold the chunk that fewest hold.
    pub copies: usize,
}

/// What a fetch came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// Length of the file in bytes.
    pub len: u64,
    /// Chunks that it was.
    pub chunks: usize,
    /// Symbols that came, each of 1,024 bytes.
    pub symbols: u64,
    /// Symbols that would have been enough.
    pub needed: u64,
    /// Circuits to seeders that there were.
    pub circuits: usize,
    /// Relays that lied and were dropped.
    pub liars: u64,
}

/// Seeders that lied lately, for all fetches of a node.
#[derive(Default)]
pub(crate) struct Liars(Mutex<HashMap<RelayId, Instant>>);

impl Liars {
    fn add(&self, relay: RelayId) {
        let now = clock::now();
        let mut liars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        liars.retain(|_, since| now.saturating_duration_since(*since) < SHUNNED);
        if liars.len() < LIARS {
            liars.insert(relay, now);
        }
    }

    fn now(&self) -> Vec<RelayId> {
        let now = clock::now();
        let liars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = liars.iter().filter(|(_, since)| now.saturating_duration_since(**since) < SHUNNED);
        lately.map(|(relay, _)| *relay).collect()
    }
}

//! What a relay keeps: which chunks it takes, and which ones go when there is no more room.
//!
//! Room is in two parts. A chunk that somebody leaves is **on trial**: it has a quarter of the room to itself and others
//! like it. Once somebody else asks for it, it is **kept**, in the other three quarters, and the one that nobody has
//! asked for longest goes. So whoever only leaves chunks displaces others on trial; who also asks for them, also what
//! people use. On trial the source that left most loses its oldest first, so one source cannot displace all others
//! either; and no source leaves more than a share (decision 0143). What nobody asks for ends by itself after a time.
//!
//! The index holds no data: it says what is to be done, and its owner moves and deletes files.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{ChunkId, ChunkRef};

/// The part of the room that is for chunks on trial: one in so many bytes.
const TRIAL_PART: u64 = 4;

/// What one source may have on trial: one in so many bytes of that part, and at least [`SOURCE_MIN`].
const SOURCE_PART: u64 = 4;
const SOURCE_MIN: u64 = 1 << 20;

/// A chunk on trial that nobody asks for ends after this many seconds: 7 days.
pub const TRIAL_SECONDS: u64 = 7 * 86_400;

/// A kept chunk ends when nobody has asked for it for this many seconds: 30 days.
pub const KEPT_SECONDS: u64 = 30 * 86_400;

/// The bytes on disk that a chunk costs beside its own.
const OVERHEAD: u64 = 4096;

/// Who left a chunk: a number for one circuit. [`Source::SELF`] is the relay itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Source(pub u64);

impl Source {
    /// The relay fetched the chunk itself, or found it on its disk at the start.
    pub const SELF: Self = Self(u64::MAX);
}

/// In which part of the room a chunk is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Nobody has asked for it yet.
    Trial,
    /// Somebody has.
    Kept,
}

/// Why a chunk is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is there already.
    #[error("the chunk is there already")]
    Held,
    /// This source has left as much as one may.
    #[error("this source has left as much as one may")]
    Share,
    /// It would not fit an empty cache.
    #[error("the cache is too small")]
    TooSmall,
}

#[derive(Clone, Copy)]
struct Entry {
    chunk: ChunkRef,
    stage: Stage,
    source: Source,
    /// Rises with every use: the order in which chunks go.
    turn: u64,
    /// When somebody last asked, or when it came; unix seconds.
    used: u64,
}

/// What a relay keeps, by name.
pub struct Index {
    room: u64,
    entries: BTreeMap<ChunkId, Entry>,
    /// Of each stage, oldest use first.
    trial: BTreeSet<(u64, ChunkId)>,
    kept: BTreeSet<(u64, ChunkId)>,
    /// Of chunks on trial, by source: bytes, and the chunks oldest first.
    sources: BTreeMap<Source, Share>,
    trial_bytes: u64,
    kept_bytes: u64,
    next: u64,
}

#[derive(Default)]
struct Share {
    bytes: u64,
    chunks: BTreeSet<(u64, ChunkId)>,
}

fn cost(chunk: &ChunkRef) -> u64 {
    chunk.class.len() as u64 + OVERHEAD
}

impl Index {
    /// An empty index for `room` bytes.
    #[must_use]
    pub fn new(room: u64) -> Self {
        Self {
            room,
            entries: BTreeMap::new(),
            trial: BTreeSet::new(),
            kept: BTreeSet::new(),
            sources: BTreeMap::new(),
            trial_bytes: 0,
            kept_bytes: 0,
            next: 0,
        }
    }

    /// Chunks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of disk in use, at most the room there is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.trial_bytes + self.kept_bytes
    }

    /// The chunk of this name and its stage.
    #[must_use]
    pub fn find(&self, id: &ChunkId) -> Option<(ChunkRef, Stage)> {
        self.entries.get(id).map(|entry| (entry.chunk, entry.stage))
    }

    /// The chunks there are whose names follow `after`, in the order of their names.
    pub fn after(&self, after: Option<ChunkId>) -> impl Iterator<Item = ChunkRef> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.entries.range((from, std::ops::Bound::Unbounded)).map(|(_, entry)| entry.chunk)
    }

    /// Whether a chunk from this source would be taken.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn would_take(&self, chunk: &ChunkRef, source: Source) -> Result<(), Refusal> {
        if self.entries.contains_key(&chunk.id) {
            return Err(Refusal::Held);
        }
        let trial_room = self.room / TRIAL_PART;
        if cost(chunk) > trial_room {
            return Err(Refusal::TooSmall);
        }
        let share = (trial_room / SOURCE_PART).max(SOURCE_MIN);
        let held = self.sources.get(&source).map_or(0, |share| share.bytes);
        if source != Source::SELF && held + cost(chunk) > share {
            return Err(Refusal::Share);
        }
        Ok(())
    }

    /// Takes a chunk, on trial, and says which ones go for it.
    ///
    /// # Errors
    /// As [`Index::would_take`].
    pub fn insert(&mut self, chunk: ChunkRef, source: Source, unix: u64) -> Result<Vec<(ChunkId, Stage)>, Refusal> {
        self.would_take(&chunk, source)?;
        self.put(Entry { chunk, stage: Stage::Trial, source, turn: 0, used: unix });
        let mut gone = Vec::new();
        while self.trial_bytes > self.room / TRIAL_PART {
            let fattest = self.sources.iter().max_by_key(|(_, share)| share.bytes);
            let Some((_, id)) = fattest.and_then(|(_, share)| share.chunks.first().copied()) else { break };
            gone.extend(self.remove(&id).map(|stage| (id, stage)));
        }
        Ok(gone)
    }

    /// Takes up a chunk found on the disk at the start; `used` is when it was last asked for, unix seconds. Give the
    /// oldest first. False if there is no room for it.
    pub fn restore(&mut self, chunk: ChunkRef, stage: Stage, used: u64) -> bool {
        let (bytes, room) = match stage {
            Stage::Trial => (self.trial_bytes, self.room / TRIAL_PART),
            Stage::Kept => (self.kept_bytes, self.room - self.room / TRIAL_PART),
        };
        if self.entries.contains_key(&chunk.id) || bytes + cost(&chunk) > room {
            return false;
        }
        self.put(Entry { chunk, stage, source: Source::SELF, turn: 0, used });
        true
    }

    /// Somebody asked for a chunk. A chunk on trial is kept from now on, if it was not its own source who asked; then
    /// true, with the chunks that go for it.
    pub fn used(&mut self, id: &ChunkId, by: Source, unix: u64) -> (bool, Vec<(ChunkId, Stage)>) {
        let mut gone = Vec::new();
        let Some(mut entry) = self.entries.get(id).copied() else {
            return (false, gone);
        };
        let kept_room = self.room - self.room / TRIAL_PART;
        let promoted = entry.stage == Stage::Trial && entry.source != by && cost(&entry.chunk) <= kept_room;
        self.remove(id);
        if promoted {
            entry.stage = Stage::Kept;
        }
        // A source that asks for its own chunk does not make it younger on trial.
        if entry.stage == Stage::Kept || entry.source != by {
            entry.used = unix;
            entry.turn = 0;
        }
        self.put(entry);
        while self.kept_bytes > kept_room {
            let Some((_, oldest)) = self.kept.first().copied() else { break };
            gone.extend(self.remove(&oldest).map(|stage| (oldest, stage)));
        }
        (promoted, gone)
    }

    /// Forgets a chunk; says in which stage it was.
    pub fn remove(&mut self, id: &ChunkId) -> Option<Stage> {
        let entry = self.entries.remove(id)?;
        match entry.stage {
            Stage::Kept => {
                self.kept.remove(&(entry.turn, *id));
                self.kept_bytes -= cost(&entry.chunk);
            }
            Stage::Trial => {
                self.trial.remove(&(entry.turn, *id));
                self.trial_bytes -= cost(&entry.chunk);
                if let Some(share) = self.sources.get_mut(&entry.source) {
                    share.chunks.remove(&(entry.turn, *id));
                    share.bytes -= cost(&entry.chunk);
                    if share.chunks.is_empty() {
                        self.sources.remove(&entry.source);
                    }
                }
            }
        }
        Some(entry.stage)
    }

    /// Forgets what nobody has asked for in its time.
    pub fn expire(&mut self, unix: u64) -> Vec<(ChunkId, Stage)> {
        let mut over = Vec::new();
        for (order, seconds) in [(&self.trial, TRIAL_SECONDS), (&self.kept, KEPT_SECONDS)] {
            // Within a stage, who was used earlier has the lower turn; clocks that jump make this late, never wrong.
            let ended = order.iter().map_while(|(_, id)| {
                let used = self.entries.get(id)?.used;
                (used.saturating_add(seconds) <= unix).then_some(*id)
            });
            over.extend(ended);
        }
        over.into_iter().filter_map(|id| Some((id, self.remove(&id)?))).collect()
    }

    /// Files an entry; one with turn 0 comes last.
    fn put(&mut self, mut entry: Entry) {
        if entry.turn == 0 {
            self.next += 1;
            entry.turn = self.next;
        }
        let (at, bytes) = ((entry.turn, entry.chunk.id), cost(&entry.chunk));
        match entry.stage {
            Stage::Kept => {
                self.kept.insert(at);
                self.kept_bytes += bytes;
            }
            Stage::Trial => {
                self.trial.insert(at);
                self.trial_bytes += bytes;
                let share = self.sources.entry(entry.source).or_default();
                share.chunks.insert(at);
                share.bytes += bytes;
            }
        }
        self.entries.insert(entry.chunk.id, entry);
    }
}

//! What a relay keeps of services: descriptors that it cannot read.
//!
//! Bounded in number (every descriptor has one length), in time, and in how fast they come. A store that is full lets the link go
//! short that has left most here. Of each name the highest revision is remembered until its period is over, so an old
//! descriptor does not come back when the new one has been forgotten.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::Source;
use super::descriptor::Outer;
use super::key::BlindedKey;
use super::period::{OVERLAP_SECONDS, Period};
use super::placement::{RANKS, stores};
use crate::directory::Network;
use crate::seeding::cache::Pace;

/// How long a descriptor is kept unless it comes again.
pub const KEPT: Duration = Duration::from_secs(3 * 3_600);

/// Publications over one link, in a second and at once.
const LINK_RATE: u64 = 10;
const LINK_BURST: u64 = 200;
/// Links whose pace is remembered. Beyond it those that are at rest go.
const LINKS: usize = 4_096;

/// Why a descriptor is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It cannot be read, its signature does not hold, or its period is not now.
    #[error("this is no valid descriptor of now")]
    Invalid,
    /// Its place is at other relays.
    #[error("the descriptor belongs to other relays")]
    Elsewhere,
    /// One with this revision or a later one has been here.
    #[error("a descriptor at least as new has been here")]
    Stale,
    /// Too many come over this link.
    #[error("too many descriptors come this way")]
    Busy,
}

#[derive(Debug)]
struct Entry {
    period: Period,
    revision: u64,
    /// Dropped when its time is over; the revision stays.
    bytes: Option<Vec<u8>>,
    link: u64,
    came: Instant,
}

/// See the head of this module.
#[derive(Debug)]
pub struct Store {
    entries: BTreeMap<BlindedKey, Entry>,
    by_link: BTreeMap<u64, usize>,
    paces: BTreeMap<u64, Pace>,
    most: usize,
}

impl Store {
    /// Keeps at most `most` descriptors and names of them.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), by_link: BTreeMap::new(), paces: BTreeMap::new(), most: most.max(1) }
    }

    /// Takes a descriptor, if its place is at the relay `me`. The costly check comes last.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn put(
        &mut self,
        now: Instant,
        unix: u64,
        network: &Network,
        me: &RelayId,
        source: Source,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let outer = Outer::decode(bytes).map_err(|_| Refusal::Invalid)?;
        if !Period::around(unix).contains(&outer.period) {
            return Err(Refusal::Invalid);
        }
        if !stores(network, &outer.blinded, outer.period, RANKS).contains(me) {
            return Err(Refusal::Elsewhere);
        }
        if !self.pace(now, source.link) {
            return Err(Refusal::Busy);
        }
        if let Some(held) = self.entries.get(&outer.blinded) {
            // The same again is welcome: it was perhaps the answer that got lost.
            let again = held.revision == outer.revision && held.bytes.as_deref() == Some(bytes);
            if !again && held.revision >= outer.revision {
                return Err(Refusal::Stale);
            }
        }
        if !outer.is_signed() {
            return Err(Refusal::Invalid);
        }
        self.remove(&outer.blinded);
        while self.entries.len() >= self.most {
            self.make_room();
        }
        *self.by_link.entry(source.link).or_default() += 1;
        let entry = Entry {
            period: outer.period,
            revision: outer.revision,
            bytes: Some(bytes.to_vec()),
            link: source.link,
            came: now,
        };
        self.entries.insert(outer.blinded, entry);
        Ok(())
    }

    /// The descriptor under this name.
    #[must_use]
    pub fn get(&self, now: Instant, blinded: &BlindedKey) -> Option<&[u8]> {
        let entry = self.entries.get(blinded)?;
        let fresh = now.saturating_duration_since(entry.came) < KEPT;
        if fresh { entry.bytes.as_deref() } else { None }
    }

    /// Forgets what is over: descriptors after [`KEPT`], revisions after their period.
    pub fn expire(&mut self, now: Instant, unix: u64) {
        let over: Vec<BlindedKey> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.period.ends() + OVERLAP_SECONDS <= unix)
            .map(|(blinded, _)| *blinded)
            .collect();
        for blinded in over {
            self.remove(&blinded);
        }
        for entry in self.entries.values_mut() {
            if now.saturating_duration_since(entry.came) >= KEPT {
                entry.bytes = None;
            }
        }
        self.paces.retain(|_, pace| !pace.is_at_rest(now));
    }

    /// How many descriptors, and revisions of earlier ones, are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn pace(&mut self, now: Instant, link: u64) -> bool {
        if self.paces.len() >= LINKS && !self.paces.contains_key(&link) {
            self.paces.retain(|_, pace| !pace.is_at_rest(now));
            if self.paces.len() >= LINKS {
                return false;
            }
        }
        self.paces.entry(link).or_insert_with(|| Pace::new(LINK_RATE, LINK_BURST)).take(now, 1)
    }

    /// The oldest entry of the link that has most here goes, one that is only a revision before others.
    fn make_room(&mut self) {
        let busiest = self.by_link.iter().max_by_key(|(_, count)| **count).map(|(link, _)| *link);
        let of_link = self.entries.iter().filter(|(_, entry)| Some(entry.link) == busiest);
        let victim = of_link.min_by_key(|(_, entry)| (entry.bytes.is_some(), entry.came)).map(|(blinded, _)| *blinded);
        if let Some(victim) = victim {
            self.remove(&victim);
        }
    }

    fn remove(&mut self, blinded: &BlindedKey) {
        let Some(entry) = self.entries.remove(blinded) else { return };
        if let Some(count) = self.by_link.get_mut(&entry.link) {
            *count -= 1;
            if *count == 0 {
                self.by_link.remove(&entry.link);
            }
        }
    }
}

//! What a relay keeps of services: descriptors that it cannot read.
//!
//! Bounded in number (every descriptor has one length), in time, and in how fast they come. A store that is full lets the link go
//! short that has left most here. Of each name the highest revision is remembered until its period is over, in a larger table of its
//! own: so an old descriptor does not come back when the new one was forgotten, or was driven out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::Source;
use super::descriptor::Outer;
use super::key::BlindedKey;
use super::period::{OVERLAP_SECONDS, Period};
use super::placement::{RANKS, stores};
use super::shares::Shares;
use crate::directory::Network;
use crate::seeding::cache::Pace;

/// How long a descriptor is kept unless it comes again.
pub const KEPT: Duration = Duration::from_secs(3 * 3_600);

/// Names of which the revision is remembered, for each descriptor that there is room for.
const NAMES: usize = 16;

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
struct Kept {
    revision: u64,
    bytes: Vec<u8>,
    came: Instant,
}

/// The highest revision that there has been under a name, and the first second (unix time) at which nobody asks any more.
#[derive(Debug)]
struct Highest {
    revision: u64,
    over: u64,
}

/// See the head of this module.
#[derive(Debug)]
pub struct Store {
    kept: Shares<Kept>,
    highest: Shares<Highest>,
    paces: BTreeMap<u64, Pace>,
}

impl Store {
    /// Keeps at most `most` descriptors, and the revisions of sixteen times as many names.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            kept: Shares::new(most),
            highest: Shares::new(most.max(1).saturating_mul(NAMES)),
            paces: BTreeMap::new(),
        }
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
        let kept = self.kept.get(&outer.blinded);
        let highest = self.highest.get(&outer.blinded).map(|highest| highest.revision);
        if let Some(highest) = highest.max(kept.map(|kept| kept.revision)) {
            // The same again is welcome: it was perhaps the answer that got lost.
            let same = highest == outer.revision && kept.is_some_and(|kept| kept.bytes == bytes);
            if highest >= outer.revision && !same {
                return Err(Refusal::Stale);
            }
        }
        if !outer.is_signed() {
            return Err(Refusal::Invalid);
        }
        let over = outer.period.ends() + OVERLAP_SECONDS;
        self.highest.insert(outer.blinded, source.link, Highest { revision: outer.revision, over });
        self.kept.insert(
            outer.blinded,
            source.link,
            Kept { revision: outer.revision, bytes: bytes.to_vec(), came: now },
        );
        Ok(())
    }

    /// The descriptor under this name.
    #[must_use]
    pub fn get(&self, now: Instant, blinded: &BlindedKey) -> Option<&[u8]> {
        let kept = self.kept.get(blinded)?;
        (now.saturating_duration_since(kept.came) < KEPT).then_some(&kept.bytes[..])
    }

    /// Forgets what is over: descriptors after [`KEPT`], revisions after their period.
    pub fn expire(&mut self, now: Instant, unix: u64) {
        self.kept.retain(|kept| now.saturating_duration_since(kept.came) < KEPT);
        self.highest.retain(|highest| highest.over > unix);
        self.paces.retain(|_, pace| !pace.is_at_rest(now));
    }

    /// How many descriptors are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.len() == 0
    }

    /// Of how many names the highest revision is remembered.
    #[must_use]
    pub fn names(&self) -> usize {
        self.highest.len()
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
}

//! What a relay keeps of services: descriptors that it cannot read.
//!
//! Bounded in number (every descriptor has one length), in time, and in how fast they come. A store that is full lets the link go
//! short that has left most here, and of what that link left the name for which this relay scores worst. Of each name the highest revision is remembered until its period is over, in a larger table of its
//! own: so an old descriptor does not come back when the new one was forgotten, or was driven out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::Source;
use super::descriptor::Outer;
use super::key::BlindedKey;
use super::period::{OVERLAP_SECONDS, Period};
use super::place_work::{self, PLACE_WORK_LEN, Placing};
use super::placement::{RANKS, standing, stores};
use super::shares::Shares;
use crate::directory::Network;
use crate::pace::Pace;

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
    /// It cannot be read, its signature does not hold, its period is not now, or the work for it was not done.
    #[error("this is no valid descriptor of now, or no work was done for it")]
    Invalid,
    /// Its place is at other relays.
    #[error("the descriptor belongs to other relays")]
    Elsewhere,
    /// One with this revision or a later one has been here.
    #[error("a descriptor at least as new has been here")]
    Stale,
    /// Too many come over this link, or those that are here stand better.
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

/// A descriptor that may be worth a closer look.
#[derive(Debug)]
pub struct Offered {
    blinded: BlindedKey,
    period: Period,
    revision: u64,
    link: u64,
    bytes: Vec<u8>,
    work: [u8; PLACE_WORK_LEN],
}

/// A descriptor that is what it says, and whose place is here.
#[derive(Debug)]
pub struct Checked {
    offered: Offered,
    standing: u64,
}

impl Offered {
    /// The costly part, for which nobody has to wait: the signature (tens of microseconds), the work for it (a fraction of a millisecond), and last
    /// whether its place is at the relay `me` (a hash of every relay, milliseconds in a large network).
    ///
    /// # Errors
    /// [`Refusal::Invalid`] or [`Refusal::Elsewhere`].
    pub fn check(self, network: &Network, me: &RelayId) -> Result<Checked, Refusal> {
        if !Outer::decode(&self.bytes).is_ok_and(|outer| outer.is_signed()) {
            return Err(Refusal::Invalid);
        }
        let Self { blinded, period, revision, .. } = self;
        if !(Placing { blinded, period, revision, relay: *me }).holds(place_work::effort(network), &self.work) {
            return Err(Refusal::Invalid);
        }
        if !stores(network, &self.blinded, self.period, RANKS).contains(me) {
            return Err(Refusal::Elsewhere);
        }
        let standing = standing(network, &self.blinded, self.period, me);
        Ok(Checked { offered: self, standing })
    }
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

    /// Looks at a descriptor that is to be kept. What can be said at once: its form, its period, the pace of its link, its revision. Whatever it is, the link's pace
    /// pays. Then come [`Offered::check`], for which the store is not needed, and [`Store::keep`].
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn offer(
        &mut self,
        now: Instant,
        unix: u64,
        source: Source,
        bytes: &[u8],
        work: [u8; PLACE_WORK_LEN],
    ) -> Result<Offered, Refusal> {
        if !self.pace(now, source.via.link) {
            return Err(Refusal::Busy);
        }
        let outer = Outer::decode(bytes).map_err(|_| Refusal::Invalid)?;
        if !Period::around(unix).contains(&outer.period) {
            return Err(Refusal::Invalid);
        }
        let Outer { blinded, period, revision, .. } = outer;
        let offered = Offered { blinded, period, revision, link: source.via.link, bytes: bytes.to_vec(), work };
        if self.is_stale(&offered) { Err(Refusal::Stale) } else { Ok(offered) }
    }

    /// Keeps a descriptor that was checked.
    ///
    /// # Errors
    /// [`Refusal::Stale`] if a later one came meanwhile, [`Refusal::Busy`] if what is here stands better.
    pub fn keep(&mut self, now: Instant, checked: Checked) -> Result<(), Refusal> {
        let Checked { offered, standing } = checked;
        if self.is_stale(&offered) {
            return Err(Refusal::Stale);
        }
        if self.kept.get(&offered.blinded).is_some_and(|kept| kept.bytes == offered.bytes) {
            // It stays with the link that brought it: who repeats others' descriptors moves them nowhere.
            return Ok(());
        }
        let Offered { blinded, period, revision, link, bytes, .. } = offered;
        let highest = Highest { revision, over: period.ends() + OVERLAP_SECONDS };
        if !self.kept.has_room(&blinded, link, standing) || !self.highest.insert(blinded, link, standing, highest) {
            return Err(Refusal::Busy);
        }
        self.kept.insert(blinded, link, standing, Kept { revision, bytes, came: now });
        Ok(())
    }

    fn is_stale(&self, offered: &Offered) -> bool {
        let kept = self.kept.get(&offered.blinded);
        let highest = self.highest.get(&offered.blinded).map(|highest| highest.revision);
        highest.max(kept.map(|kept| kept.revision)).is_some_and(|highest| {
            // The same again is welcome: it was perhaps the answer that got lost.
            let same = highest == offered.revision && kept.is_some_and(|kept| kept.bytes == offered.bytes);
            highest >= offered.revision && !same
        })
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

//! The machine: which job is next, and what its results amount to.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::figures::{Figures, LEAST_BYTES, speed};
use super::pairs::{Pairs, Timing, pick};
use super::{Pace, Survey};
use crate::directory::{Coordinate, Measure, Network, Relay};

/// A stated capacity stays while the measured one differs by less than this part of it: nobody's quiver should change every document.
const MARGIN: u32 = 8;
/// A newcomer is tried within this part of the usual time.
const NEWCOMER: u32 = 16;
/// A relay of which a load told too little is tried again after this part of the usual time …
const SOON: u32 = 64;
/// … which doubles with each such try in a row, so often. So one that fails for good costs four tries in the usual time.
const DOUBLED: u32 = 4;

/// What is measured next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// Have so many bytes at most come over a circuit by way of this relay back to the voter itself.
    Load {
        /// The relay.
        relay: RelayId,
        /// How many bytes at most.
        bytes: u32,
    },
    /// Probe both relays of a circuit over these.
    Times {
        /// The first relay.
        first: RelayId,
        /// The second one.
        second: RelayId,
    },
}

/// What is known of one relay's speed.
#[derive(Clone, Debug)]
struct Loads {
    figures: Figures,
    /// When it may be tried next.
    due: Instant,
    /// Whether it was ever tried.
    tried: bool,
    /// Tries in a row that told too little.
    vain: u32,
}

/// What a voter measures, when, and what it says of it. Drive it: [`Measurer::follow`] with each document, then [`Measurer::next`]
/// until it gives a job, and the job's result, or [`Measurer::failed`], before the next one.
#[derive(Debug)]
pub struct Measurer {
    own: RelayId,
    pace: Pace,
    relays: Vec<RelayId>,
    /// What the newest document says.
    stated: BTreeMap<RelayId, Measure>,
    loads: BTreeMap<RelayId, Loads>,
    pairs: Pairs,
    places: BTreeMap<RelayId, Coordinate>,
    /// What is being done.
    job: Option<Job>,
    due: Instant,
    /// Bytes that may come.
    allowed: crate::pace::Pace,
    load_next: bool,
    /// Whether the last load was a newcomer's.
    newcomer: bool,
}

impl Measurer {
    /// A voter's, of which the relay has this id. It knows nothing yet.
    #[must_use]
    pub fn new(own: RelayId, pace: Pace, now: Instant) -> Self {
        Self {
            own,
            pace,
            relays: Vec::new(),
            stated: BTreeMap::new(),
            loads: BTreeMap::new(),
            pairs: Pairs::default(),
            places: BTreeMap::new(),
            job: None,
            due: now,
            // What is not used is lost but for two loads: an hour in which nothing was measured is no reason for a burst.
            allowed: crate::pace::Pace::new(pace.hourly / 3_600, u64::from(pace.bytes) * 2),
            load_next: true,
            newcomer: false,
        }
    }

    /// There is a newer document: its relays are measured, and others forgotten.
    pub fn follow(&mut self, network: &Network, now: Instant) {
        self.take(network.relays().iter().map(Relay::id).map(|id| (id, network.measure(&id))), now);
    }

    /// The same for relays and what the newest document says of them; each comes once.
    pub fn take(&mut self, relays: impl Iterator<Item = (RelayId, Measure)>, now: Instant) {
        self.stated = relays.collect();
        self.relays = self.stated.keys().filter(|id| **id != self.own).copied().collect();
        let stated = &self.stated;
        let listed = |id: &RelayId| stated.contains_key(id);
        self.loads.retain(|id, _| listed(id));
        self.places.retain(|id, _| listed(id));
        self.pairs.keep(listed, now, self.pace.stale);
    }

    /// The next job, if one is due. No other is given until this one's result is told.
    pub fn next(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Job> {
        if self.job.is_some() || now < self.due {
            return None;
        }
        self.load_next = !self.load_next;
        let job = if self.load_next {
            self.next_load(now, rng).or_else(|| self.next_times(now, rng))
        } else {
            self.next_times(now, rng).or_else(|| self.next_load(now, rng))
        };
        match job {
            Some(job) => self.job = Some(job),
            None => self.rest(now, rng),
        }
        job
    }

    /// When [`Measurer::next`] should be asked again.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    fn next_load(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Job> {
        let bytes = self.pace.bytes.into();
        if !self.allowed.take(now, bytes) {
            return None;
        }
        let soon = self.pace.again / SOON;
        let within = self.pace.again / NEWCOMER;
        let (mut new, mut rested) = (Vec::new(), Vec::new());
        for id in &self.relays {
            // All voters hear of a newcomer at once, and would share what it forwards if they tried it at once.
            let loads = self.loads.entry(*id).or_insert_with(|| Loads::new(now + within.mul_f64(part(rng))));
            if loads.due <= now && loads.tried {
                rested.push((loads.due, *id));
            } else if loads.due <= now {
                new.push(*id);
            }
        }
        // One of the quarter that waits longest, so that where time is short nobody waits for ever.
        rested.sort_unstable();
        rested.truncate(rested.len().div_ceil(4));
        let (new, rested) = (pick(&new, rng), pick(&rested, rng).map(|(_, id)| id));
        // By turns: no crowd of newcomers keeps the others from being measured again.
        let Some(relay) = (if self.newcomer { rested.or(new) } else { new.or(rested) }) else {
            self.allowed.give_back(bytes);
            return None;
        };
        self.newcomer = new == Some(relay);
        let loads = self.loads.get_mut(&relay)?;
        // Until it is known what comes of it.
        loads.due = now + (soon * (1 << loads.vain.min(DOUBLED))).mul_f64(1.0 + part(rng) / 2.0);
        loads.tried = true;
        loads.vain = loads.vain.saturating_add(1);
        Some(Job::Load { relay, bytes: self.pace.bytes })
    }

    fn next_times(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Job> {
        let (first, second) = self.pairs.next(&self.relays, now, self.pace.again, rng)?;
        Some(Job::Times { first, second })
    }

    fn rest(&mut self, now: Instant, rng: &mut impl Rng) {
        self.job = None;
        self.due = now + self.pace.pause.mul_f64(0.5 + part(rng));
    }

    /// A load came so far at these times since its beginning, in bytes. Whether it came whole does not matter.
    pub fn loaded(&mut self, relay: RelayId, course: &[(Duration, u64)], now: Instant, rng: &mut impl Rng) {
        let asked = matches!(self.job, Some(Job::Load { relay: asked, .. }) if asked == relay);
        if let (true, Some(loads), Some(speed)) = (asked, self.loads.get_mut(&relay), speed(course)) {
            loads.figures.add(now, speed);
            let enough = course.last().is_some_and(|(_, bytes)| *bytes >= LEAST_BYTES);
            // One that went badly is looked at again soon: it may have been this node, or others who measured. So is one of
            // which earlier runs that went badly still count.
            if enough && loads.figures.capacity(now, self.pace.stale) >= speed / 2 {
                // Voters that met there do not meet again.
                (loads.due, loads.vain) = (now + self.pace.again.mul_f64(1.0 + part(rng) / 8.0), 0);
            }
        }
        self.rest(now, rng);
    }

    /// A circuit over two relays was probed.
    pub fn timed(&mut self, first: RelayId, second: RelayId, timing: Timing, now: Instant, rng: &mut impl Rng) {
        let asked = self.job == Some(Job::Times { first, second });
        if asked && self.relays.contains(&first) && self.relays.contains(&second) {
            self.pairs.add(first, second, timing, now);
        }
        self.rest(now, rng);
    }

    /// Nothing came of a job: there was no circuit.
    pub fn failed(&mut self, now: Instant, rng: &mut impl Rng) {
        if let Some(Job::Load { bytes, .. }) = self.job {
            self.allowed.give_back(bytes.into());
        }
        self.rest(now, rng);
    }

    /// What a map can be drawn of now; [`Measurer::mapped`] takes the map.
    #[must_use]
    pub fn survey(&self) -> Survey {
        let known = self.stated.iter().filter_map(|(id, measure)| Some((*id, measure.place?))).collect();
        Survey { times: self.pairs.times(self.own), known }
    }

    /// Takes a map. What left the network while it was drawn is left out.
    pub fn mapped(&mut self, places: BTreeMap<RelayId, Coordinate>) {
        self.places = places;
        self.places.retain(|id, _| self.stated.contains_key(id));
    }

    /// How many speeds, times and places are kept; what the newest document says of relays counts as well.
    #[must_use]
    pub fn held(&self) -> usize {
        self.stated.len() + self.loads.len() + self.pairs.held() + self.places.len()
    }

    /// What this voter says of each relay but its own, of which others speak.
    #[must_use]
    pub fn figures(&self, now: Instant) -> BTreeMap<RelayId, Measure> {
        let figure = |id: &RelayId| {
            let capacity = self.loads.get(id).map_or(0, |loads| loads.figures.capacity(now, self.pace.stale));
            let stated = self.stated.get(id).map_or(0, |measure| measure.capacity);
            let near = capacity > 0 && capacity.abs_diff(stated) <= stated / MARGIN;
            Measure { capacity: if near { stated } else { capacity }, place: self.places.get(id).copied() }
        };
        self.relays.iter().map(|id| (*id, figure(id))).filter(|(_, measure)| *measure != Measure::default()).collect()
    }
}

impl Loads {
    /// Of a relay that was never tried.
    fn new(due: Instant) -> Self {
        Self { figures: Figures::default(), due, tried: false, vain: 0 }
    }
}

/// A uniform number from 0 to 1.
fn part(rng: &mut impl Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

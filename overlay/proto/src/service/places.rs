//! The places that a service has for clients: each is kept with the work that was done for it.
//!
//! Where all are taken, a client that did more work takes the place of the one that did least and has been idle longest. So who is let
//! in for nothing and stays does not close the service: clients that pay the price, which rises meanwhile, come in one after the other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A client that moved nothing for so long is idle.
pub const IDLE: Duration = Duration::from_secs(30);

/// For so long after it was met a client that is not idle keeps its place whatever others pay. Then it is as good as what was paid for it:
/// a byte now and then would hold a place for ever.
pub const SETTLED: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Entry {
    effort: u32,
    /// Missing while the client is being met.
    met: Option<Instant>,
    used: Instant,
}

impl Entry {
    /// Whether another client may have the place, if it did so much work.
    fn yields(&self, now: Instant, effort: u32) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        self.effort < effort && self.met.is_some_and(|met| since(self.used) >= IDLE || since(met) >= SETTLED)
    }
}

/// See the head of this module.
#[derive(Debug)]
pub struct Places {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    most: usize,
}

impl Places {
    /// For at most `most` clients, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { entries: BTreeMap::new(), next: 0, most: most.max(1) }
    }

    /// Whether a client that did so much work would get a place.
    #[must_use]
    pub fn has_room(&self, now: Instant, effort: u32) -> bool {
        self.entries.len() < self.most || self.victim(now, effort).is_some()
    }

    /// Gives a place to a client that did so much work and is to be met: its number, and that of the client that lost its place for it.
    pub fn enter(&mut self, now: Instant, effort: u32) -> Option<(u64, Option<u64>)> {
        let mut lost = None;
        if self.entries.len() >= self.most {
            let victim = self.victim(now, effort)?;
            self.entries.remove(&victim);
            lost = Some(victim);
        }
        self.next += 1;
        self.entries.insert(self.next, Entry { effort, met: None, used: now });
        Some((self.next, lost))
    }

    /// The client was met.
    pub fn met(&mut self, number: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            (entry.met, entry.used) = (Some(now), now);
        }
    }

    /// The client moved something.
    pub fn used(&mut self, number: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.used = now;
        }
    }

    /// The client is gone. One that lost its place has none to leave.
    pub fn leave(&mut self, number: u64) {
        self.entries.remove(&number);
    }

    /// How many places are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many clients were met and are there.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.entries.values().filter(|entry| entry.met.is_some()).count()
    }

    fn victim(&self, now: Instant, effort: u32) -> Option<u64> {
        let yielding = self.entries.iter().filter(|(_, entry)| entry.yields(now, effort));
        yielding.min_by_key(|(_, entry)| (entry.effort, entry.used)).map(|(number, _)| *number)
    }
}

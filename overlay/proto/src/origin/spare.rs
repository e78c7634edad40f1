//! When to build circuits ahead of need.
//!
//! A pure policy: the driver says what it wants ready for each purpose and what became of its builds, and asks what to
//! build next. Failures slow the pool down, so that a broken network is not hammered and a relay that makes builds
//! fail on purpose gains few new choices of relays.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::node::CircuitId;

/// How a [`SparePool`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct SparePolicy {
    /// Most circuits being built at once, for all purposes together.
    pub max_building: usize,
    /// A spare older than this is no longer handed out.
    pub max_age: Duration,
    /// The pause after the first failure in a row; it doubles with each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

impl Default for SparePolicy {
    fn default() -> Self {
        Self {
            max_building: 4,
            max_age: Duration::from_secs(600),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
        }
    }
}

/// Warm circuits by purpose `P` (such as a number of hops and a kind of last relay).
#[derive(Debug)]
pub struct SparePool<P> {
    policy: SparePolicy,
    shelves: BTreeMap<P, Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    wanted: usize,
    building: usize,
    ready: VecDeque<(CircuitId, Instant)>,
    failures: u32,
    not_before: Option<Instant>,
}

impl<P: Ord + Clone> SparePool<P> {
    /// An empty pool.
    #[must_use]
    pub const fn new(policy: SparePolicy) -> Self {
        Self { policy, shelves: BTreeMap::new() }
    }

    /// Wants `count` circuits ready for `purpose`; 0 forgets the purpose once it is empty.
    pub fn want(&mut self, purpose: P, count: usize) {
        self.shelves.entry(purpose).or_default().wanted = count;
    }

    /// What to build now, if anything: the purpose with the largest share missing. The caller begins the build and
    /// reports by [`built`](Self::built) or [`failed`](Self::failed).
    pub fn next(&mut self, now: Instant) -> Option<P> {
        let building: usize = self.shelves.values().map(|shelf| shelf.building).sum();
        if building >= self.policy.max_building {
            return None;
        }
        let (purpose, shelf) = self
            .shelves
            .iter_mut()
            .filter(|(_, shelf)| shelf.missing() > 0 && shelf.not_before.is_none_or(|at| now >= at))
            .max_by_key(|(_, shelf)| shelf.missing() * 1000 / shelf.wanted)?;
        shelf.building += 1;
        Some(purpose.clone())
    }

    /// A build for `purpose` is ready.
    pub fn built(&mut self, now: Instant, purpose: &P, circuit: CircuitId) {
        if let Some(shelf) = self.shelves.get_mut(purpose) {
            shelf.building = shelf.building.saturating_sub(1);
            shelf.failures = 0;
            shelf.not_before = None;
            shelf.ready.push_back((circuit, now));
        }
    }

    /// A build for `purpose` failed.
    pub fn failed(&mut self, now: Instant, purpose: &P) {
        if let Some(shelf) = self.shelves.get_mut(purpose) {
            shelf.building = shelf.building.saturating_sub(1);
            let pause = self.policy.backoff * (1 << shelf.failures.min(16));
            shelf.failures += 1;
            shelf.not_before = Some(now + pause.min(self.policy.backoff_max));
        }
    }

    /// Hands out the freshest spare for `purpose`. It no longer belongs to the pool.
    pub fn take(&mut self, now: Instant, purpose: &P) -> Option<CircuitId> {
        let shelf = self.shelves.get_mut(purpose)?;
        let (circuit, since) = shelf.ready.pop_back()?;
        if now.saturating_duration_since(since) < self.policy.max_age {
            return Some(circuit);
        }
        shelf.ready.push_back((circuit, since));
        None
    }

    /// A spare has ended by itself. Returns whether it was in the pool.
    pub fn closed(&mut self, circuit: CircuitId) -> bool {
        for shelf in self.shelves.values_mut() {
            if let Some(at) = shelf.ready.iter().position(|(ready, _)| *ready == circuit) {
                shelf.ready.remove(at);
                return true;
            }
        }
        false
    }

    /// Spares that are too old or no longer wanted: the caller closes them.
    pub fn surplus(&mut self, now: Instant) -> Vec<CircuitId> {
        let max_age = self.policy.max_age;
        let mut surplus = Vec::new();
        for shelf in self.shelves.values_mut() {
            while let Some((circuit, since)) = shelf.ready.front().copied() {
                let old = now.saturating_duration_since(since) >= max_age;
                if !old && shelf.ready.len() <= shelf.wanted {
                    break;
                }
                shelf.ready.pop_front();
                surplus.push(circuit);
            }
        }
        self.shelves.retain(|_, shelf| shelf.wanted > 0 || shelf.building > 0 || !shelf.ready.is_empty());
        surplus
    }

    /// How many spares are ready for `purpose`.
    #[must_use]
    pub fn ready(&self, purpose: &P) -> usize {
        self.shelves.get(purpose).map_or(0, |shelf| shelf.ready.len())
    }

    /// When to ask again although nothing has happened: a pause ends or a spare gets too old.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let pauses = self.shelves.values().filter(|shelf| shelf.missing() > 0).filter_map(|shelf| shelf.not_before);
        let ages = self.shelves.values().filter_map(|shelf| Some(shelf.ready.front()?.1 + self.policy.max_age));
        pauses.chain(ages).min()
    }
}

impl Shelf {
    fn missing(&self) -> usize {
        self.wanted.saturating_sub(self.ready.len() + self.building)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::any_instant;

    fn pool() -> SparePool<&'static str> {
        SparePool::new(SparePolicy { max_building: 3, ..SparePolicy::default() })
    }

    #[test]
    fn builds_what_is_missing_and_no_more_at_once_than_allowed() {
        let now = any_instant();
        let mut pool = pool();
        pool.want("exit", 4);
        pool.want("meeting", 1);
        let mut first: Vec<_> = (0..3).filter_map(|_| pool.next(now)).collect();
        first.sort_unstable();
        assert_eq!(first, ["exit", "exit", "meeting"]);
        assert_eq!(pool.next(now), None);
        pool.built(now, &"exit", CircuitId(1));
        assert_eq!(pool.next(now), Some("exit"));
        assert_eq!(pool.take(now, &"exit"), Some(CircuitId(1)));
        assert_eq!(pool.take(now, &"exit"), None);
    }

    #[test]
    fn failures_slow_the_pool_down_and_success_forgives() {
        let start = any_instant();
        let mut pool = pool();
        pool.want("exit", 1);
        let mut now = start;
        let mut tries = 0;
        while now < start + Duration::from_secs(60) {
            if pool.next(now).is_some() {
                tries += 1;
                pool.failed(now, &"exit");
            }
            now += Duration::from_millis(100);
        }
        assert!((5..9).contains(&tries), "{tries}");
        let at = pool.next_timeout().unwrap();
        assert_eq!(pool.next(at), Some("exit"));
        pool.built(at, &"exit", CircuitId(9));
        pool.take(at, &"exit");
        assert_eq!(pool.next(at), Some("exit"));
    }

    #[test]
    fn old_and_unwanted_spares_are_given_back() {
        let start = any_instant();
        let mut pool = pool();
        pool.want("exit", 2);
        for id in 1..=2 {
            pool.next(start);
            pool.built(start, &"exit", CircuitId(id));
        }
        assert!(pool.closed(CircuitId(1)));
        assert!(!pool.closed(CircuitId(1)));
        assert_eq!(pool.next_timeout(), Some(start + Duration::from_secs(600)));
        assert_eq!(pool.take(start + Duration::from_secs(600), &"exit"), None);
        assert_eq!(pool.surplus(start + Duration::from_secs(600)), [CircuitId(2)]);
        pool.want("exit", 0);
        assert_eq!(pool.surplus(start), []);
        assert_eq!(pool.ready(&"exit"), 0);
    }
}

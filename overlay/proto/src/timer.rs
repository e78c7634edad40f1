//! One table of timers for a whole node: one deadline for each key, one `next`.
//!
//! A machine sets and cancels deadlines; its driver asks for the earliest. Nothing runs by itself. The cost is
//! O(log n) for each change, so hot paths do not move deadlines: they note the time and let the timer fire,
//! which then looks at the note and arms itself again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Deadlines by key. Two keys with the same deadline fire in the keys' order, so a run can be repeated.
#[derive(Debug)]
pub struct Timers<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub const fn new() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }

    /// Sets the only deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.by_key.insert(key, at) {
            self.by_time.remove(&(old, key));
        }
        self.by_time.insert((at, key));
    }

    /// Sets the deadline of `key` unless an earlier one is set.
    pub fn set_earlier(&mut self, key: K, at: Instant) {
        if self.by_key.get(&key).is_none_or(|old| at < *old) {
            self.set(key, at);
        }
    }

    /// Forgets the deadline of `key`.
    pub fn cancel(&mut self, key: K) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key));
        }
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one key whose deadline has come, the earliest first.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many deadlines are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no deadline is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) use tests::any_instant;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Where a test's time begins. Machines only compare instants, so any will do.
    #[expect(clippy::disallowed_methods, reason = "the only way to make an instant")]
    pub(crate) fn any_instant() -> Instant {
        Instant::now()
    }

    #[test]
    fn fires_in_order_of_time_and_only_when_due() {
        let start = any_instant();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set('a', at(30));
        timers.set('b', at(10));
        timers.set('c', at(20));
        timers.set('a', at(5));
        timers.cancel('c');
        timers.set_earlier('b', at(15));
        assert_eq!(timers.next(), Some(at(5)));
        assert_eq!(timers.pop_due(at(4)), None);
        assert_eq!(timers.pop_due(at(12)), Some('a'));
        assert_eq!(timers.pop_due(at(12)), Some('b'));
        assert_eq!(timers.pop_due(at(99)), None);
        assert!(timers.is_empty());
        assert_eq!(timers.len(), 0);
    }
}

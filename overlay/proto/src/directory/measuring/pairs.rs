//! Times between relays.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use crate::path::coordinate::Filter;

/// To so many others a voter measures the times of each relay, where there are so many.
pub const NEIGHBOURS: usize = 12;

/// A longer time says nothing about distance.
const LONGEST: Duration = Duration::from_secs(2);
/// Two relays are not nearer than this: what is less is noise.
const SHORTEST: Duration = Duration::from_micros(50);
/// Others among which the one with the fewest times is sought.
const SAMPLE: usize = 4;
/// A pair of which no time came is tried again after this part of the usual time.
const SOONER: u32 = 8;

/// What the probes of a circuit over two relays told: the quickest round trip to each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// To the first relay.
    pub first: Duration,
    /// To the second one, by way of the first.
    pub second: Duration,
}

/// The time between two relays, seen from either.
#[derive(Clone, Debug)]
struct Pair {
    /// By way of the lower id, and of the higher one.
    ways: [Option<Duration>; 2],
    tried: Instant,
}

impl Pair {
    /// The longer one of both ways: who stands first on a circuit could make the time shorter by being late itself.
    fn time(&self) -> Option<Duration> {
        Some(self.ways[0]?.max(self.ways[1]?))
    }
}

/// All times that a voter measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    between: BTreeMap<(RelayId, RelayId), Pair>,
    /// From the voter's own relay.
    own: BTreeMap<RelayId, (Filter, Instant)>,
    /// The other way of a pair of which one was measured.
    back: Option<(RelayId, RelayId)>,
}

impl Pairs {
    /// Takes what a circuit over `first` and `second` told.
    pub(super) fn add(&mut self, first: RelayId, second: RelayId, timing: Timing, now: Instant) {
        let (filter, at) = self.own.entry(first).or_insert((Filter::new(), now));
        filter.add(timing.first);
        *at = now;
        if timing.first > LONGEST || timing.second > LONGEST * 2 {
            return;
        }
        let between = timing.second.saturating_sub(timing.first).clamp(SHORTEST, LONGEST);
        if let Some(pair) = self.between.get_mut(&key(first, second)) {
            pair.ways[usize::from(first > second)] = Some(between);
        }
    }

    /// Forgets relays that are not among these, and what is older than `stale`.
    pub(super) fn keep(&mut self, known: impl Fn(&RelayId) -> bool, now: Instant, stale: Duration) {
        let fresh = |at: Instant| now.saturating_duration_since(at) <= stale;
        self.between.retain(|(a, b), pair| known(a) && known(b) && fresh(pair.tried));
        self.own.retain(|id, (_, at)| known(id) && fresh(*at));
    }

    /// The pair that is measured next, of these relays, and in which order; `None` if none is due.
    pub(super) fn next(
        &mut self,
        relays: &[RelayId],
        now: Instant,
        again: Duration,
        rng: &mut impl Rng,
    ) -> Option<(RelayId, RelayId)> {
        if let Some((first, second)) = self.back.take()
            && relays.contains(&first)
            && relays.contains(&second)
        {
            return Some((first, second));
        }
        let (first, second) = self.fresh(relays, rng).or_else(|| self.due(relays, now, again))?;
        // What was measured before is too old by now, if it was.
        self.between.insert(key(first, second), Pair { ways: [None; 2], tried: now });
        let (first, second) = if rng.next_u32() & 1 == 0 { (first, second) } else { (second, first) };
        self.back = Some((second, first));
        Some((first, second))
    }

    /// A pair that was not tried yet, of a relay with the fewest times and one with few.
    fn fresh(&self, relays: &[RelayId], rng: &mut impl Rng) -> Option<(RelayId, RelayId)> {
        let mut of: BTreeMap<RelayId, usize> = relays.iter().map(|id| (*id, 0)).collect();
        for id in self.between.keys().flat_map(|(a, b)| [a, b]) {
            of.entry(*id).and_modify(|n| *n += 1);
        }
        let fewest = *of.values().min()?;
        let least: Vec<RelayId> = of.iter().filter(|(_, n)| **n == fewest).map(|(id, _)| *id).collect();
        if fewest >= NEIGHBOURS {
            return None;
        }
        let first = pick(&least, rng)?;
        let others: Vec<RelayId> = relays
            .iter()
            .filter(|id| **id != first && !self.between.contains_key(&key(first, **id)))
            .copied()
            .collect();
        let second =
            (0..SAMPLE).filter_map(|_| pick(&others, rng)).min_by_key(|id| of.get(id).copied().unwrap_or(0))?;
        Some((first, second))
    }

    /// The pair that was tried longest ago, if that is long enough.
    fn due(&self, relays: &[RelayId], now: Instant, again: Duration) -> Option<(RelayId, RelayId)> {
        let rested = self.between.iter().filter(|((a, b), pair)| {
            let again = if pair.time().is_some() { again } else { again / SOONER };
            now.saturating_duration_since(pair.tried) >= again && relays.contains(a) && relays.contains(b)
        });
        rested.min_by_key(|(_, pair)| pair.tried).map(|(pair, _)| *pair)
    }

    /// How many relays and pairs are known.
    pub(super) fn held(&self) -> usize {
        self.between.len() + self.own.len()
    }

    /// All times, each pair once; those of the voter's own relay with `own`.
    pub(super) fn times(&self, own: RelayId) -> Vec<(RelayId, RelayId, Duration)> {
        let mine = self.own.iter().filter_map(|(id, (filter, _))| Some((own, *id, filter.value()?)));
        let theirs = self.between.iter().filter_map(|((a, b), pair)| Some((*a, *b, pair.time()?)));
        mine.chain(theirs).collect()
    }
}

fn key(a: RelayId, b: RelayId) -> (RelayId, RelayId) {
    if a < b { (a, b) } else { (b, a) }
}

/// One of these at random.
pub(super) fn pick<T: Copy>(of: &[T], rng: &mut impl Rng) -> Option<T> {
    let count = u64::try_from(of.len()).ok().filter(|count| *count > 0)?;
    usize::try_from(rng.next_u64() % count).ok().and_then(|at| of.get(at)).copied()
}

//! What an observer at two places learns: flows seen at the guard are matched with circuits seen at the exit by their timing alone.
//!
//! No low-latency network prevents this; the figures say how well it works against this one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Times at which something was seen, for each flow that the observer can tell apart.
#[derive(Debug, Clone, Default)]
pub struct Sightings {
    flows: BTreeMap<u64, Vec<Instant>>,
}

/// How well the flows of two places were matched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matching {
    /// Flows that there were to match.
    pub flows: usize,
    /// Of these, how many were matched with the right one.
    pub right: usize,
}

impl Matching {
    /// The share of flows that were matched rightly.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.right as f64 / self.flows.max(1) as f64
    }
}

impl Sightings {
    /// Notes that something of `flow` was seen at `at`.
    pub fn note(&mut self, flow: u64, at: Instant) {
        self.flows.entry(flow).or_default().push(at);
    }

    /// All of one flow's times at once.
    pub fn insert(&mut self, flow: u64, times: Vec<Instant>) {
        self.flows.insert(flow, times);
    }

    /// How many flows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether nothing was seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Counts of each flow in bins of width `bin`, from `from` on.
    fn bins(&self, from: Instant, bin: Duration, count: usize) -> BTreeMap<u64, Vec<f64>> {
        self.flows
            .iter()
            .map(|(flow, times)| {
                let mut bins = vec![0.0; count];
                for at in times.iter().filter(|at| **at >= from) {
                    let place = (*at - from).as_nanos() / bin.as_nanos().max(1);
                    if let Some(slot) = usize::try_from(place).ok().and_then(|i| bins.get_mut(i)) {
                        *slot += 1.0;
                    }
                }
                (*flow, bins)
            })
            .collect()
    }

    /// Matches each flow of `self` (at the guard) with the flow of `other` (at the exit) whose counts in bins of width `bin` correlate
    /// best over the `window` from `from` on, at any shift up to one second. `same` says who belongs together: the truth.
    #[must_use]
    pub fn match_with(
        &self,
        other: &Sightings,
        from: Instant,
        window: Duration,
        bin: Duration,
        same: impl Fn(u64, u64) -> bool,
    ) -> Matching {
        let count = usize::try_from(window.as_nanos() / bin.as_nanos().max(1)).unwrap_or(0);
        let shifts = usize::try_from(1_000_000_000 / bin.as_nanos().max(1)).unwrap_or(0);
        let here = self.bins(from, bin, count);
        let there = other.bins(from, bin, count);
        let right = here
            .iter()
            .filter(|(flow, counts)| {
                let best = there
                    .iter()
                    .map(|(candidate, others)| {
                        let score = (0..=shifts.min(count / 2))
                            .map(|shift| correlation(&counts[..count - shift], &others[shift..]))
                            .fold(f64::NEG_INFINITY, f64::max);
                        (*candidate, score)
                    })
                    .max_by(|(_, a), (_, b)| a.total_cmp(b));
                best.is_some_and(|(candidate, _)| same(**flow, candidate))
            })
            .count();
        Matching { flows: here.len(), right }
    }
}

/// Pearson's coefficient; 0 where one side never changes.
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len()).max(1) as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa == 0.0 || bb == 0.0 { 0.0 } else { ab / (aa * bb).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_copy_is_recognised() {
        let epoch = Instant::now();
        let at = |millis: u64| epoch + Duration::from_millis(millis);
        let mut guard = Sightings::default();
        let mut exit = Sightings::default();
        for flow in 0..4_u64 {
            for burst in 0..20_u64 {
                let time = burst * 500 + (burst * (flow + 3) * 7919) % 400;
                guard.note(flow, at(time));
                exit.note(flow + 100, at(time + 80));
            }
        }
        let matching =
            guard.match_with(&exit, epoch, Duration::from_secs(10), Duration::from_millis(20), |a, b| a + 100 == b);
        assert_eq!(matching, Matching { flows: 4, right: 4 });
        assert!((matching.rate() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn constant_flows_say_nothing() {
        assert_eq!(correlation(&[1.0; 8], &[1.0; 8]), 0.0);
    }
}

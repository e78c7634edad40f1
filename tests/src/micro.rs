//! Micro-benchmarks that compare: the contenders take turns in short rounds, so that a change of the machine's mood meets all of them.

use std::time::{Duration, Instant};

/// What one contender took, for [`Timing::SCALE`] operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The fastest round: the machine at its best.
    pub min: Duration,
    /// The median round.
    pub median: Duration,
}

impl Timing {
    /// `Duration` knows no fractions of a nanosecond, so `min` and `median` are for this many operations.
    pub const SCALE: u32 = 1000;

    /// Median nanoseconds of one operation.
    #[must_use]
    pub fn median_nanos(&self) -> f64 {
        self.median.as_nanos() as f64 / f64::from(Timing::SCALE)
    }

    /// Nanoseconds of one operation in the fastest round.
    #[must_use]
    pub fn min_nanos(&self) -> f64 {
        self.min.as_nanos() as f64 / f64::from(Timing::SCALE)
    }
}

/// Runs every contender `per_round` times in each of `rounds` rounds, one contender after the other, and gives their timings in the same order.
///
/// # Panics
/// When `rounds` or `per_round` is 0.
pub fn interleave(contenders: &mut [&mut dyn FnMut()], rounds: usize, per_round: u32) -> Vec<Timing> {
    assert!(rounds > 0 && per_round > 0, "nothing to measure");
    let mut taken = vec![Vec::with_capacity(rounds); contenders.len()];
    // The first round warms caches and branch predictors and is not counted.
    for round in 0..=rounds {
        for (contender, taken) in contenders.iter_mut().zip(&mut taken) {
            let begun = Instant::now();
            for _ in 0..per_round {
                contender();
            }
            let scaled = begun.elapsed() * Timing::SCALE / per_round;
            if round > 0 {
                taken.push(scaled);
            }
        }
    }
    taken
        .into_iter()
        .map(|mut rounds| {
            rounds.sort_unstable();
            Timing { min: rounds[0], median: rounds[rounds.len() / 2] }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let timings =
            interleave(&mut [&mut || order.borrow_mut().push('a'), &mut || order.borrow_mut().push('b')], 2, 2);
        assert_eq!(order.into_inner(), "aabbaabbaabb");
        assert_eq!(timings.len(), 2);
        assert!(timings[0].min <= timings[0].median);
    }
}

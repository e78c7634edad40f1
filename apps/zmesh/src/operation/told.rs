//! A figure as it may leave the node.
//!
//! There is no way to make one of a count but by rounding it, or by saying that nobody's use of the relay moves it.

use std::time::Duration;

/// Below this many of them, there might as well be none.
const FEW: u64 = 8;

/// See the head of this module.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub(crate) struct Told(f64);

impl Told {
    /// What the relay is, was configured to be, or read in documents that everybody has: no user and no peer moves it.
    pub(crate) fn known(figure: u64) -> Self {
        Self(figure as f64)
    }

    /// How many there are now of what users and peers bring: 0 for fewer than eight, else the largest power of two that is no larger.
    pub(crate) fn level(count: u64) -> Self {
        Self::known(if count < FEW { 0 } else { 1 << count.ilog2() })
    }

    /// How much there was of what users and peers bring, down to a multiple of `grain`. It still only grows, and rates over more than a
    /// few grains are right.
    pub(crate) fn total(sum: u64, grain: u64) -> Self {
        Self::known(sum - sum % grain.max(1))
    }

    /// A mean of waits, in whole milliseconds.
    pub(crate) fn wait(mean: Duration) -> Self {
        Self(mean.as_millis() as f64 / 1_000.0)
    }

    /// What monitoring sees.
    pub(crate) fn value(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn few_are_as_good_as_none_and_many_are_told_in_steps() {
        let steps = [0, 1, 7, 8, 9, 15, 16, 1_000, u64::MAX].map(|count| Told::level(count).value());
        assert_eq!(steps, [0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 16.0, 512.0, 2f64.powi(63)]);
    }

    #[test]
    fn totals_grow_by_grains() {
        let totals: Vec<f64> = (0..100).map(|sum| Told::total(sum, 32).value()).collect();
        assert!(totals.is_sorted() && totals[31] == 0.0 && totals[32] == 32.0 && totals[99] == 96.0);
        assert_eq!(Told::total(u64::MAX, 0), Told::known(u64::MAX), "a grain of nothing is no division by it");
        assert_eq!(Told::wait(Duration::from_micros(12_900)).value(), 0.012);
    }
}

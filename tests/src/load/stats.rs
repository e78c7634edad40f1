//! Percentiles of durations.

use std::time::Duration;

/// A set of measured durations.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    sorted: Vec<Duration>,
}

impl Samples {
    /// Takes the measured values in any order.
    #[must_use]
    pub fn new(mut values: Vec<Duration>) -> Samples {
        values.sort_unstable();
        Samples { sorted: values }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The value below which `percent` of them lie (nearest rank); nothing when there are none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let last = self.sorted.len().checked_sub(1)?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank lies between 0 and the number of values"
        )]
        let rank = (percent / 100.0 * self.sorted.len() as f64).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1).min(last)).copied()
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Option<Duration> {
        self.percentile(50.0)
    }

    /// The 99th percentile.
    #[must_use]
    pub fn p99(&self) -> Option<Duration> {
        self.percentile(99.0)
    }

    /// The smallest.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        self.sorted.first().copied()
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.sorted.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples = Samples::new((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(samples.p50(), Some(Duration::from_millis(50)));
        assert_eq!(samples.p99(), Some(Duration::from_millis(99)));
        assert_eq!(samples.percentile(100.0), Some(Duration::from_millis(100)));
        assert_eq!(samples.percentile(0.0), Some(Duration::from_millis(1)));
        assert_eq!(Samples::default().p50(), None);
    }
}

//! A moving percentile over the last round-trip times of one link.

use std::time::Duration;

/// How many times are looked at.
const WINDOW: usize = 4;

/// Longer times than this say nothing about distance.
const LONGEST: Duration = Duration::from_secs(2);

/// The last round-trip times measured on one link. Queues only ever add to a time, so the low ones tell the distance: of the
/// last four, the lowest quarter counts.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    last: Vec<Duration>,
}

impl Filter {
    /// No times yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a measured time; none at all, and more than 2 s, are left out.
    pub fn add(&mut self, round_trip: Duration) {
        if round_trip.is_zero() || round_trip > LONGEST {
            return;
        }
        if self.last.len() == WINDOW {
            self.last.remove(0);
        }
        self.last.push(round_trip);
    }

    /// The time that counts: the lowest quarter of the last four. Nothing before two were measured, as the first one often
    /// pays for setting things up.
    #[must_use]
    pub fn value(&self) -> Option<Duration> {
        let mut sorted = self.last.clone();
        sorted.sort_unstable();
        (sorted.len() >= 2).then(|| sorted[(sorted.len() - 1) / WINDOW])
    }
}

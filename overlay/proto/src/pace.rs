//! How fast something may go on.

use std::time::{Duration, Instant};

/// A token bucket in the form of the generic cell rate algorithm (ITU-T I.371): the time at which the bucket is full
/// again says how much is in it.
#[derive(Clone, Debug)]
pub struct Pace {
    full_at: Option<Instant>,
    per_second: u64,
    burst: Duration,
}

impl Pace {
    /// `per_second` units a second, `burst` of them at once; no units at all if either is 0.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let burst = match per_second {
            0 => Duration::ZERO,
            _ => Duration::from_secs_f64(burst as f64 / per_second as f64),
        };
        Self { full_at: None, per_second, burst }
    }

    /// Gives back units that were taken and not used.
    pub fn give_back(&mut self, units: u64) {
        if let Some(full_at) = self.full_at.filter(|_| self.per_second > 0) {
            let cost = Duration::from_secs_f64(units as f64 / self.per_second as f64);
            self.full_at = full_at.checked_sub(cost);
        }
    }

    /// Takes so many units, if they are there.
    pub fn take(&mut self, now: Instant, units: u64) -> bool {
        if self.per_second == 0 {
            return false;
        }
        let cost = Duration::from_secs_f64(units as f64 / self.per_second as f64);
        let full_at = self.full_at.unwrap_or(now).max(now) + cost;
        let granted = full_at.duration_since(now) <= self.burst;
        if granted {
            self.full_at = Some(full_at);
        }
        granted
    }

    /// Whether the bucket is full, so that a new one would do as well.
    #[must_use]
    pub fn is_at_rest(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_gives_bursts_and_then_its_rate() {
        let start = crate::timer::any_instant();
        let mut pace = Pace::new(10, 5);
        assert!((0..5).all(|_| pace.take(start, 1)));
        assert!(!pace.take(start, 1));
        assert!(pace.take(start + Duration::from_millis(101), 1));
        assert!(!pace.take(start + Duration::from_millis(102), 1));
        assert!(pace.take(start + Duration::from_secs(60), 5));
        assert!(!Pace::new(0, 9).take(start, 1));
        // What is given back can be taken again, and no more than that.
        let mut pace = Pace::new(10, 5);
        assert!(pace.take(start, 4) && !pace.take(start, 2));
        pace.give_back(3);
        assert!(pace.take(start, 4) && !pace.take(start, 1));
        pace.give_back(1_000);
        assert!(pace.take(start, 5) && !pace.take(start, 1), "never more than the burst");
    }
}

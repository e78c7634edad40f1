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
}

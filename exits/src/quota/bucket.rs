//! Rates: a bucket of tokens for events, and a pace for bytes.

use std::time::{Duration, Instant};

/// Events of which `capacity` may come at once and as many a minute.
#[derive(Debug)]
pub(super) struct Bucket {
    capacity: u32,
    /// In sixty-thousandths of a token, so that a millisecond of refill is a whole number.
    level: u64,
    filled_at: Instant,
}

const SCALE: u64 = 60_000;

impl Bucket {
    pub(super) fn per_minute(capacity: u32, now: Instant) -> Self {
        Self { capacity, level: u64::from(capacity) * SCALE, filled_at: now }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled_at);
        // Only whole milliseconds count, and the rest is kept for later.
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.filled_at += Duration::from_millis(millis);
        let full = u64::from(self.capacity) * SCALE;
        self.level = self.level.saturating_add(millis.saturating_mul(u64::from(self.capacity))).min(full);
        if self.level < SCALE {
            return false;
        }
        self.level -= SCALE;
        true
    }
}

/// Bytes per second, with one second's worth at once. It is told of bytes after they moved, so it counts up to when
/// they are paid for.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u64,
    paid_until: Instant,
}

impl Pace {
    const BURST: Duration = Duration::from_secs(1);
    /// Longest debt that one step can make, which keeps the arithmetic in bounds.
    const STEP_MAX: f64 = 3_600.0;

    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self { rate: rate.max(1), paid_until: now }
    }

    pub(super) fn spend(&mut self, bytes: u64, now: Instant) {
        let cost = Duration::from_secs_f64((bytes as f64 / self.rate as f64).min(Self::STEP_MAX));
        self.paid_until = self.paid_until.max(now) + cost;
    }

    /// When bytes may move again, if not now.
    pub(super) fn free_at(&mut self, now: Instant) -> Option<Instant> {
        let ahead = self.paid_until.saturating_duration_since(now);
        (ahead > Self::BURST).then(|| self.paid_until - Self::BURST)
    }
}

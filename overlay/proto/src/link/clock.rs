//! Time inside the link machine: nanoseconds since the machine was made.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of the machine, or a span of them.
pub(super) type Nanos = u64;

pub(super) const MICRO: Nanos = 1_000;
pub(super) const MILLI: Nanos = 1_000_000;
pub(super) const SECOND: Nanos = 1_000_000_000;

/// Turns instants into [`Nanos`] and back, and knows the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    unix_nanos: u64,
    unix_at: Nanos,
}

impl Clock {
    pub(super) fn new(start: Instant, unix_nanos: u64) -> Self {
        Self { start, unix_nanos, unix_at: 0 }
    }

    pub(super) fn set_unix(&mut self, now: Instant, unix_nanos: u64) {
        self.unix_at = self.nanos(now);
        self.unix_nanos = unix_nanos;
    }

    /// The unix time in nanoseconds.
    pub(super) fn unix(&self, now: Nanos) -> u64 {
        self.unix_nanos.saturating_add(now.saturating_sub(self.unix_at))
    }

    pub(super) fn nanos(&self, now: Instant) -> Nanos {
        span(now.saturating_duration_since(self.start))
    }

    pub(super) fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at)
    }
}

/// A duration in nanoseconds; five centuries are enough.
pub(super) fn span(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds modulo 2³², as FEEDBACK carries them.
pub(super) fn micros32(at: Nanos) -> u32 {
    let [_, _, _, _, a, b, c, d] = (at / MICRO).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

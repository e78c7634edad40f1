//! The only reader of the operating system's clocks in this crate.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Wall time since 1970 in nanoseconds; 0 when the clock stands before that.
pub(crate) fn unix_nanos() -> u64 {
    u64::try_from(since_epoch().as_nanos()).unwrap_or(u64::MAX)
}

/// Wall time since 1970 in seconds; 0 when the clock stands before that.
pub(crate) fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

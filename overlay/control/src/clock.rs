//! The only reader of the operating system's clocks in this crate.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Wall time since 1970 in milliseconds; 0 when the clock stands before that.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Wall time since 1970 in seconds; 0 when the clock stands before that.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

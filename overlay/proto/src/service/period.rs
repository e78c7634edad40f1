//! Periods: how long a blinded key lasts.
//!
//! A new period gives a service a new name at the stores, which nobody without its address can link to the old one.

use std::fmt;

/// Length of a period in seconds: a day.
pub const PERIOD_SECONDS: u64 = 86_400;
/// Periods begin this long after midnight UTC, so that they do not turn when most else does.
pub const OFFSET_SECONDS: u64 = 43_200;
/// Clocks may differ by this much: so long before it begins a period's descriptor is published, and so long around a change a client
/// looks for both.
pub const OVERLAP_SECONDS: u64 = 3 * 3_600;

/// A period, by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Period(pub u32);

impl Period {
    /// The period of this time (unix seconds).
    #[must_use]
    pub fn at(unix: u64) -> Self {
        Self(u32::try_from(unix.saturating_sub(OFFSET_SECONDS) / PERIOD_SECONDS).unwrap_or(u32::MAX))
    }

    /// Its first second, unix time.
    #[must_use]
    pub fn begins(self) -> u64 {
        u64::from(self.0) * PERIOD_SECONDS + OFFSET_SECONDS
    }

    /// The first second after it, unix time.
    #[must_use]
    pub fn ends(self) -> u64 {
        self.begins() + PERIOD_SECONDS
    }

    /// The periods for which a service has to be found at this time, that of the time itself first.
    #[must_use]
    pub fn around(unix: u64) -> Vec<Self> {
        let now = Self::at(unix);
        let mut periods = vec![now];
        if unix + OVERLAP_SECONDS >= now.ends() {
            periods.push(Self(now.0.saturating_add(1)));
        }
        if unix < now.begins() + OVERLAP_SECONDS && now.0 > 0 {
            periods.push(Self(now.0 - 1));
        }
        periods
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

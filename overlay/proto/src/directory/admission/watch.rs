//! A node's own record of another: for how much of the time it was up.

/// In how many seconds what was seen counts half: three days.
const HALF_LIFE: f64 = 3.0 * 86_400.0;
/// Longest time between two looks for which the first one stands, in seconds. A watcher that slept knows nothing of the time between.
const GAP: u64 = 1_800;

/// Uptime, older times counting less. A look says how it was since the look before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Watch {
    pub(super) since: u64,
    pub(super) at: u64,
    pub(super) up: f64,
    pub(super) all: f64,
}

impl Watch {
    /// Begins at a time, unix seconds.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self { since: now, at: now, up: 0.0, all: 0.0 }
    }

    /// A look at it.
    pub fn look(&mut self, is_up: bool, now: u64) {
        let passed = now.saturating_sub(self.at);
        if passed == 0 {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of a human's time")]
        let (decay, seen) = ((-(passed as f64) / HALF_LIFE * std::f64::consts::LN_2).exp(), passed.min(GAP) as f64);
        self.up = self.up * decay + if is_up { seen } else { 0.0 };
        self.all = self.all * decay + seen;
        self.at = now;
    }

    /// Its uptime in thousandths; `None` before the second look.
    #[must_use]
    pub fn uptime(&self) -> Option<u16> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
        (self.all > 0.0).then(|| (1_000.0 * self.up / self.all).clamp(0.0, 1_000.0) as u16)
    }

    /// For how many seconds it was watched.
    #[must_use]
    pub fn watched(&self) -> u64 {
        self.at - self.since
    }
}

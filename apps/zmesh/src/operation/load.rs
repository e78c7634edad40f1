//! How busy a relay is, as a share of what it can do. It goes into heartbeats, as a mean over an epoch and in four steps.

use std::time::Duration;

/// What a look at the relay shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Since the start.
    pub(crate) up: Duration,
    /// Circuits that are open, and how many may be.
    pub(crate) circuits: u64,
    pub(crate) circuits_most: u64,
    /// Bytes sent since the start, and how many may be sent in a second, if that is bounded.
    pub(crate) sent: u64,
    pub(crate) sent_most: Option<u64>,
    /// Public-key work since the start.
    pub(crate) work: Duration,
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub(crate) struct LoadMeter {
    before: Option<Look>,
}

impl LoadMeter {
    /// The load since the look before, in thousandths: how far the fullest of three bounds is used, circuits, bytes in a second, and
    /// one core's time for public-key work. `None` at the first look.
    pub(crate) fn note(&mut self, look: Look) -> Option<u16> {
        let before = self.before.replace(look)?;
        let passed = look.up.saturating_sub(before.up).as_secs_f64();
        if passed <= 0.0 {
            return None;
        }
        let sent = look.sent.saturating_sub(before.sent) as f64 / passed;
        let shares = [
            look.circuits as f64 / look.circuits_most.max(1) as f64,
            look.sent_most.map_or(0.0, |most| sent / most.max(1) as f64),
            look.work.saturating_sub(before.work).as_secs_f64() / passed,
        ];
        let fullest = shares.into_iter().fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
        Some((fullest * 1_000.0).clamp(0.0, 1_000.0) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Look = Look {
        up: Duration::ZERO,
        circuits: 0,
        circuits_most: 100,
        sent: 1_000,
        sent_most: Some(2_000),
        work: Duration::from_secs(9),
    };

    /// The load of fifteen seconds, of which the second look is changed.
    fn load(change: impl Fn(&mut Look)) -> Option<u16> {
        let mut meter = LoadMeter::default();
        assert_eq!(meter.note(IDLE), None);
        let mut look = Look { up: Duration::from_secs(15), ..IDLE };
        change(&mut look);
        meter.note(look)
    }

    #[test]
    fn the_fullest_bound_decides() {
        assert_eq!(load(|_| ()), Some(0));
        assert_eq!(load(|look| look.circuits = 25), Some(250));
        assert_eq!(load(|look| look.sent += 15 * 1_000), Some(500));
        assert_eq!(load(|look| (look.sent, look.sent_most) = (u64::MAX, None)), Some(0), "without a limit");
        assert_eq!(load(|look| look.work += Duration::from_secs(12)), Some(800));
        let all = |look: &mut Look| {
            look.circuits = 300;
            look.work += Duration::from_secs(3);
        };
        assert_eq!(load(all), Some(1_000), "no more than all");
        assert_eq!(load(|look| look.sent = 0), Some(0), "a counter that began anew");
        assert_eq!(load(|look| look.up = Duration::ZERO), None);
    }
}

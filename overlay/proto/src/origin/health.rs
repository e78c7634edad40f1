//! What probes say about the hops of a circuit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::relay::kind::PING_LEN;

/// Probes and answers of one hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopHealth {
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub answered: u64,
    /// Probes not answered in time.
    pub lost: u64,
    /// Smoothed round-trip time (1/8 of each new sample).
    pub rtt: Option<Duration>,
    /// The shortest round trip.
    pub min_rtt: Option<Duration>,
}

/// Probes and answers of a circuit. A hop can answer probes well while it drops data, so hops are judged by
/// end-to-end acknowledgements as well, where there are any.
#[derive(Debug)]
pub struct Health {
    hops: Vec<HopHealth>,
    probes: VecDeque<Probe>,
}

#[derive(Debug)]
struct Probe {
    token: [u8; PING_LEN],
    hop: usize,
    sent: Instant,
    quiet: bool,
}

impl Health {
    pub(super) fn new(hops: usize) -> Self {
        Self { hops: vec![HopHealth::default(); hops], probes: VecDeque::new() }
    }

    /// The figures, first hop first.
    #[must_use]
    pub fn hops(&self) -> &[HopHealth] {
        &self.hops
    }

    /// A probe goes out. Returns false, and nothing goes out, if `most` are unanswered. The token is random: a hop that
    /// could foresee it would answer early and seem near.
    pub(super) fn sent(&mut self, now: Instant, hop: usize, token: [u8; PING_LEN], quiet: bool, most: usize) -> bool {
        if self.probes.len() >= most {
            return false;
        }
        self.hops[hop].sent += 1;
        self.probes.push_back(Probe { token, hop, sent: now, quiet });
        true
    }

    /// An answer came in from `hop`. Returns the round trip and whether the probe was a quiet one.
    pub(super) fn answered(&mut self, now: Instant, hop: usize, token: [u8; PING_LEN]) -> Option<(Duration, bool)> {
        let at = self.probes.iter().position(|probe| probe.token == token && probe.hop == hop)?;
        let probe = self.probes.remove(at)?;
        let rtt = now.saturating_duration_since(probe.sent);
        let health = &mut self.hops[hop];
        health.answered += 1;
        health.rtt = Some(health.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        health.min_rtt = Some(health.min_rtt.map_or(rtt, |old| old.min(rtt)));
        Some((rtt, probe.quiet))
    }

    /// Gives up probes that were not answered in time; says how many.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration) -> u64 {
        let mut lost = 0;
        while self.probes.front().is_some_and(|probe| now >= probe.sent + timeout) {
            let Some(probe) = self.probes.pop_front() else {
                break;
            };
            self.hops[probe.hop].lost += 1;
            lost += 1;
        }
        lost
    }

    /// When the oldest probe counts as lost.
    pub(super) fn next_expiry(&self, timeout: Duration) -> Option<Instant> {
        self.probes.front().map(|probe| probe.sent + timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::any_instant;

    #[test]
    fn answers_count_once_and_only_from_the_hop_that_was_asked() {
        let start = any_instant();
        let after = |ms| start + Duration::from_millis(ms);
        let second = Duration::from_secs(1);
        let mut health = Health::new(2);
        assert!(health.sent(start, 0, [1; 8], false, 3));
        assert!(health.sent(start, 1, [2; 8], true, 3));
        assert!(health.sent(after(10), 1, [3; 8], false, 3));
        assert!(!health.sent(after(10), 1, [4; 8], false, 3), "bounded");
        assert_eq!(health.answered(after(40), 0, [2; 8]), None, "another hop");
        assert_eq!(health.answered(after(40), 1, [2; 8]), Some((Duration::from_millis(40), true)));
        assert_eq!(health.answered(after(41), 1, [2; 8]), None, "twice");
        assert_eq!(health.next_expiry(second), Some(after(1000)));
        assert_eq!(health.expire(after(1000), second), 1);
        assert_eq!(health.answered(after(1005), 1, [3; 8]), Some((Duration::from_millis(995), false)));
        assert_eq!(health.hops()[0], HopHealth { sent: 1, lost: 1, ..HopHealth::default() });
        assert_eq!(health.hops()[1].min_rtt, Some(Duration::from_millis(40)));
        assert_eq!(health.hops()[1].answered, 2);
    }
}

//! CoDel, the controlled-delay algorithm of RFC 8289, for one flow.

use std::time::{Duration, Instant};

use crate::relay::message::PARTS_MAX;

/// So few waiting cells are no standing queue, however long they wait: one message. RFC 8289 spares one packet, and a message is a
/// packet of those who fill queues. At 150 kB/s its cells take 12 ms, so a queue without it would be above the target always.
const SPARED: usize = PARTS_MAX;

/// Of so many cells CoDel takes one at most. A cell that is lost is a message lost, and QUIC, which bears what comes late, notices it
/// three round trips later, with the queue in each: seconds at a narrow relay. Drops that came ever faster meanwhile, as the control
/// law has it for who reacts within the interval, would leave nothing of its messages.
const SPACED: u32 = 24;

/// The two parameters of CoDel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodelConfig {
    /// The standing delay that is tolerated. 5 ms: what a link's congestion controller allows itself besides, so
    /// that a relay adds about one more link queue at worst before it pushes back.
    pub target: Duration,
    /// How long the delay may stand above the target before the first drop. 100 ms: a round trip of a path, the time
    /// a sender at its far end needs to react.
    pub interval: Duration,
}

impl Default for CodelConfig {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// The state of RFC 8289, section 5, for one flow.
#[derive(Debug, Default)]
pub(super) struct Codel {
    first_above: Option<Instant>,
    drop_next: Option<Instant>,
    dropping: bool,
    count: u32,
    last_count: u32,
    /// Cells that left since the last drop.
    sent: u32,
}

/// What to do with the cell at the head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Send,
    Drop,
}

impl Codel {
    /// Judges the cell that has just left the flow after `sojourn`; `left` cells remain behind it.
    ///
    /// After [`Verdict::Drop`] the caller takes the next cell and asks again.
    pub(super) fn judge(&mut self, config: &CodelConfig, now: Instant, sojourn: Duration, left: usize) -> Verdict {
        let verdict = self.law(config, now, sojourn, left);
        self.sent = if verdict == Verdict::Drop { 0 } else { self.sent.saturating_add(1) };
        verdict
    }

    /// The law by itself.
    fn law(&mut self, config: &CodelConfig, now: Instant, sojourn: Duration, left: usize) -> Verdict {
        let late = self.stands_above(config, now, sojourn, left);
        if self.dropping {
            if !late {
                self.dropping = false;
                return Verdict::Send;
            }
            match self.drop_next {
                Some(at) if now >= at && self.sent >= SPACED => {
                    self.count += 1;
                    self.drop_next = Some(at + control_law(config.interval, self.count));
                    Verdict::Drop
                }
                _ => Verdict::Send,
            }
        } else if late {
            self.dropping = true;
            let delta = self.count - self.last_count;
            let recent = self.drop_next.is_some_and(|at| now.saturating_duration_since(at) < config.interval * 16);
            self.count = if delta > 1 && recent { delta } else { 1 };
            self.last_count = self.count;
            self.drop_next = Some(now + control_law(config.interval, self.count));
            Verdict::Drop
        } else {
            Verdict::Send
        }
    }

    /// The flow has run empty.
    pub(super) fn ran_empty(&mut self) {
        self.first_above = None;
        self.dropping = false;
    }

    fn stands_above(&mut self, config: &CodelConfig, now: Instant, sojourn: Duration, left: usize) -> bool {
        if sojourn < config.target || left <= SPARED {
            self.first_above = None;
            return false;
        }
        let due = *self.first_above.get_or_insert(now + config.interval);
        now >= due
    }
}

/// The time between drops: interval / √count.
fn control_law(interval: Duration, count: u32) -> Duration {
    interval.div_f64(f64::from(count.max(1)).sqrt())
}

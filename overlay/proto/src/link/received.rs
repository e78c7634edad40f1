//! What arrived on a link, kept for the next FEEDBACK.

use super::clock::{MICRO, MILLI, Nanos, micros32};
use crate::wire::frame::{FEEDBACK_BITS, Feedback};

/// So many unreported datagrams make a report due at once.
const REPORT_EVERY: u32 = 32;
/// Fewer unreported datagrams than this wait for a datagram to ride on: a call sends one each 20 ms.
const SPARSE: u32 = 4;
const LONGEST_WAIT: Nanos = 25 * MILLI;
/// On a busy link the window opens with each report; a cell that finds it shut waits for the next.
const BUSY_WAIT: Nanos = 2 * MILLI;
const SHORTEST_WAIT: Nanos = 200 * MICRO;

/// Counters received on a link, over all its sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Received {
    /// One above the highest counter received.
    end: u64,
    /// Bit `i` stands for `end − 2 − i`.
    bitmap: u128,
    total: u16,
    arrived: Nanos,
    pending: u32,
    pending_since: Nanos,
    /// One is missing below those that are pending: the sender had better know soon.
    gap: bool,
}

impl Received {
    /// Notes an authentic datagram with a fresh counter. `eliciting` datagrams want a report. Returns whether the
    /// counter is the highest so far.
    pub(super) fn note(&mut self, now: Nanos, counter: u64, eliciting: bool) -> bool {
        self.total = self.total.wrapping_add(1);
        if eliciting {
            if self.pending == 0 {
                self.pending_since = now;
            }
            self.pending += 1;
        }
        let end = counter + 1;
        if end > self.end {
            let step = end - self.end;
            self.bitmap = match u32::try_from(step) {
                // The old highest moves to bit `step − 1`.
                Ok(step) if step <= 128 && self.end > 0 => {
                    (self.bitmap.checked_shl(step).unwrap_or(0)) | 1 << (step - 1)
                }
                _ => 0,
            };
            self.gap |= step > 1 && self.end > 0;
            self.end = end;
            self.arrived = now;
            return true;
        }
        let below = self.end - end;
        if (1..=128).contains(&below) {
            self.bitmap |= 1 << (below - 1);
        }
        false
    }

    /// Whether anything waits to be reported.
    pub(super) fn pending(&self) -> bool {
        self.pending > 0
    }

    /// Whether a report must not wait for the end of the batch.
    pub(super) fn overdue(&self) -> bool {
        self.pending >= REPORT_EVERY
    }

    /// When a report is due, if one is.
    pub(super) fn due(&self, rtt: Option<Nanos>) -> Option<Nanos> {
        let wait = if self.pending >= SPARSE || self.gap {
            rtt.map_or(MILLI, |rtt| rtt / 4).clamp(SHORTEST_WAIT, BUSY_WAIT)
        } else {
            LONGEST_WAIT
        };
        (self.pending > 0).then(|| self.pending_since + wait)
    }

    /// The report, and from now on nothing is pending.
    pub(super) fn report(&mut self, now: Nanos) -> Feedback {
        self.pending = 0;
        self.gap = false;
        let highest = self.end.saturating_sub(1).to_be_bytes();
        Feedback {
            highest: u32::from_be_bytes([highest[4], highest[5], highest[6], highest[7]]),
            received: self.total,
            arrived: micros32(self.arrived),
            delay: u16::try_from(now.saturating_sub(self.arrived) / (8 * MICRO)).unwrap_or(u16::MAX),
            bitmap: self.bitmap & ((1 << FEEDBACK_BITS) - 1),
        }
    }
}

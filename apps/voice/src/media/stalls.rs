//! Stalls that come back: how much delay bridges them.
//!
//! On some lines everything stops for a fraction of a second, again and again: a wireless card looks for other stations, a telephone changes
//! cells. One stall is no reason to keep a long delay, since it may never happen again. Two within a short time are: each further one would tear a
//! hole as long as itself, in which words are lost (decision 0113).
//!
//! Time is counted in frames of the other side, so that nothing here needs a clock.

use super::FRAME_MICROS;
use std::collections::VecDeque;

/// A message that is as late as this may belong to a stall, µs; shorter ones are weighed as any lateness.
const LATE: i64 = 120_000;
/// Messages in a row that must be so late: one or two were repaired, or sent again.
const IN_A_ROW: u32 = 3;
/// Stalls are remembered, the newest ones.
const REMEMBERED: usize = 3;
/// Two stalls that are farther apart do not recur, in frames: 10 s.
const APART: u32 = 500;
/// Mouth to ear that is never exceeded to bridge stalls, ms: what ITU-T G.114 calls the limit of what networks should be planned for.
pub const LONGEST_MS: f64 = 400.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stall {
    /// The number of its first late message.
    begins: u32,
    /// How late the latest of its messages was, µs.
    height: i64,
    /// Late messages.
    messages: u32,
}

/// Watches how late messages are.
#[derive(Clone, Debug, Default)]
pub struct Stalls {
    /// The run of late messages that goes on.
    run: Stall,
    past: VecDeque<Stall>,
    newest: u32,
}

impl Stalls {
    /// Takes in that the message with the newest frame `number` was late by so much, µs.
    pub fn message(&mut self, number: u32, lateness: i64) {
        self.newest = self.newest.max(number);
        if lateness < LATE {
            self.run = Stall::default();
            return;
        }
        if self.run.messages == 0 {
            self.run.begins = number;
        }
        self.run.messages += 1;
        self.run.height = self.run.height.max(lateness);
        let run = self.run;
        if let Some(last) = self.past.back_mut()
            && last.begins == run.begins
        {
            *last = run;
        } else if run.messages >= IN_A_ROW {
            if self.past.len() == REMEMBERED {
                self.past.pop_front();
            }
            self.past.push_back(run);
        }
    }

    /// The delay beyond the fastest possible arrival that bridges the stalls which recur, µs; 0 if none do. `path_ms` is mouth to ear without
    /// any such delay.
    #[must_use]
    pub fn bridge(&self, path_ms: f64) -> i64 {
        let mut latest = self.past.iter().rev();
        let (Some(last), Some(before)) = (latest.next(), latest.next()) else { return 0 };
        let apart = last.begins.saturating_sub(before.begins);
        // Twice as long without one as between the last two: it is over.
        if apart > APART || self.newest.saturating_sub(last.begins) > 2 * apart {
            return 0;
        }
        let highest = self.past.iter().map(|stall| stall.height).max().unwrap_or(0);
        #[allow(clippy::cast_possible_truncation, reason = "at most 400,000")]
        let most = ((LONGEST_MS - path_ms).clamp(0.0, LONGEST_MS) * 1_000.0) as i64;
        // Less than half of it bridged is a hole all the same.
        if most * 2 < highest { 0 } else { highest.min(most) }
    }
}

/// The most that [`Stalls::bridge`] gives, µs.
pub const LONGEST_BRIDGE: i64 = 20 * FRAME_MICROS;

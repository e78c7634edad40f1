//! How long to hold frames back: the target of the jitter buffer, from what arrived lately.
//!
//! Two observations add up (decision 0063):
//! - **lateness**: how much later than the fastest of the last 8 s each message came. The target covers all but the worst two; messages
//!   that pile up behind a late one count with it as one event, so that a single stall does not cost seconds of delay;
//! - **gaps**: how many messages in a row went missing. A lost frame comes back as a copy in a later message, one frame later per message
//!   lost; waiting for it pays when it saves more concealment than it costs delay. Without loss this part is zero.

use super::FRAME_MICROS;
use super::frame::EARLIER_FRAMES;
use std::collections::VecDeque;

const EARLIER_FRAMES_U32: u32 = 3;
const _: () = assert!(EARLIER_FRAMES == 3);
/// Messages that the estimate looks back on: 8 s.
const MEMORY: usize = 400;
/// Late messages among [`MEMORY`] that the target leaves uncovered.
const OUTLIERS: usize = 2;
/// With fewer arrivals than this the start target holds: 0.5 s.
const WARM_UP: usize = 25;
/// Held back on top of what was observed, for the coarseness of timers.
const MARGIN: i64 = 3_000;
/// The target before anything is known: one frame.
pub const START_TARGET: i64 = FRAME_MICROS;
/// A message whose transit is this much shorter than the one before it had queued up behind it, µs.
const PILED_UP: i64 = 15_000;
/// No lateness beyond this is waited for.
pub const MAX_LATENESS: i64 = 200_000;
/// What one frame of added delay must save, as a share of frames concealed: 1 in 300.
const WORTH: u32 = 300;

/// Watches arrivals and says how long to wait.
#[derive(Clone, Debug, Default)]
pub struct DelayEstimate {
    transits: VecDeque<i64>,
    previous: Option<i64>,
    /// For each message that came after all others: its number, and how many were missing right before it.
    gaps: VecDeque<(u32, u8)>,
    base: i64,
    lateness: i64,
    wait_for_copies: i64,
}

impl DelayEstimate {
    /// An estimate that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the transit time of one message (µs, clocks of both ends differ by an unknown constant).
    pub fn arrival(&mut self, transit: i64) {
        if self.transits.len() == MEMORY {
            self.transits.pop_front();
        }
        let piled_up = self.previous.is_some_and(|previous| transit <= previous.saturating_sub(PILED_UP));
        self.previous = Some(transit);
        self.transits.push_back(if piled_up { transit.min(self.base) } else { transit });
        let mut sorted: Vec<i64> = self.transits.iter().copied().collect();
        sorted.sort_unstable();
        self.base = sorted[0];
        let rank = sorted.len() - 1 - OUTLIERS.min(sorted.len() / 20);
        self.lateness = sorted[rank].saturating_sub(self.base).min(MAX_LATENESS);
    }

    /// Takes in that message `sequence` arrived and `missing` messages right before it are absent (0 when it follows the last one).
    pub fn gap(&mut self, sequence: u32, missing: u32) {
        if self.gaps.len() == MEMORY {
            self.gaps.pop_front();
        }
        self.gaps.push_back((sequence, u8::try_from(missing).unwrap_or(u8::MAX)));
        self.weigh();
    }

    /// Takes in that message `sequence` was not lost but overtaken. It counts as late, by its transit, and no longer as missing.
    pub fn overtaken(&mut self, sequence: u32) {
        if let Some((_, missing)) = self.gaps.iter_mut().find(|(after, _)| *after > sequence) {
            *missing = missing.saturating_sub(1);
        }
        self.weigh();
    }

    fn weigh(&mut self) {
        self.wait_for_copies = FRAME_MICROS * i64::from(worthwhile_wait(&self.gaps));
    }

    /// The transit of the fastest message lately, µs.
    #[must_use]
    pub fn base(&self) -> i64 {
        self.base
    }

    /// How long after the fastest possible arrival a frame should be played, µs.
    #[must_use]
    pub fn target(&self) -> i64 {
        let observed = self.lateness + MARGIN;
        let steady = if self.transits.len() < WARM_UP { observed.max(START_TARGET) } else { observed };
        steady + self.wait_for_copies
    }

    /// Lateness that the target covers, µs.
    #[must_use]
    pub fn lateness(&self) -> i64 {
        self.lateness
    }
}

/// The number of frames to wait that minimises concealed frames + delay × worth.
fn worthwhile_wait(gaps: &VecDeque<(u32, u8)>) -> u32 {
    let total: u32 = gaps.iter().map(|(_, missing)| 1 + u32::from(*missing)).sum();
    (0..=EARLIER_FRAMES_U32)
        .min_by_key(|wait| {
            let lost: u32 = gaps.iter().map(|(_, missing)| u32::from(*missing).saturating_sub(*wait)).sum();
            lost * WORTH + total * wait
        })
        .unwrap_or(0)
}

//! How long to hold frames back: the target of the jitter buffer, from when frames became playable lately.
//!
//! For each of the last 400 frames it is known how long after its fastest possible arrival it could be played, whatever brought it: its own
//! message, late by jitter or by repair on a link or over a slower path; a copy in a later message; DRED in a later message. The target is
//! the delay that costs least, by the E-model (ITU-T G.107): what waiting costs the conversation, against what frames that come too late
//! cost the sound (decision 0111). The single worst event of the time is left out, so that one stall does not cost seconds of delay. Stalls that
//! come back are bridged (decision 0113).

use super::FRAME_MICROS;
use super::stalls::Stalls;
use std::collections::VecDeque;

/// Frames that the estimate looks back on: 8 s.
const MEMORY: usize = 400;
/// With fewer frames than this the start target holds: 0.5 s.
const WARM_UP: usize = 25;
/// Frames that a share is a share of at least: 2 s.
const YOUNG: usize = 100;
/// Frames after which a step of the whole path is believed: 1 s.
const STEP_AFTER: usize = 50;
/// How far the frames after a step must lie from all before it, µs.
const STEP_CLEAR: i64 = 10_000;
/// Held back on top of what was observed, for the coarseness of timers.
const MARGIN: i64 = 3_000;
/// The target before anything is known: one frame.
pub const START_TARGET: i64 = FRAME_MICROS;
/// A message whose transit is this much shorter than the one before it had queued up behind it, µs.
const PILED_UP: i64 = 15_000;
/// No lateness beyond this is waited for, but that of stalls which recur, µs.
pub const MAX_LATENESS: i64 = 200_000;
/// While messages come so late, nobody hurries: a stall still empties, µs.
pub const MAX_OF_LATE: i64 = 400_000;
/// Points of R that one percent of concealed frames costs: 95 / Bpl (G.107, equation 7-29) with Bpl = 25.1, the robustness of G.711 with
/// concealment (G.113, appendix I). No value for Opus is published.
const R_PER_PERCENT: f64 = 3.8;
/// What a frame out of DRED costs as a share of what a concealed one costs.
const DRED_COST: f64 = 0.25;
/// Points of R that each millisecond of delay costs, and costs more beyond [`KNEE_MS`] (G.107, approximation of Id by Cole and Rosenbluth).
const R_PER_MS: f64 = 0.024;
const R_PER_MS_BEYOND: f64 = 0.11;
const KNEE_MS: f64 = 177.3;

/// When one frame became playable.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Transit of what brought the frame itself, µs.
    exact: Option<i64>,
    /// Transit of the first DRED that describes it, µs.
    described: Option<i64>,
    /// The event that this belongs to: messages that piled up behind one another share it.
    event: u32,
}

impl Entry {
    fn first(&self) -> Option<i64> {
        match (self.exact, self.described) {
            (Some(exact), Some(described)) => Some(exact.min(described)),
            (exact, described) => exact.or(described),
        }
    }
}

/// Watches arrivals and says how long to wait.
#[derive(Clone, Debug, Default)]
pub struct DelayEstimate {
    /// One for each frame from number `front` on.
    entries: VecDeque<Entry>,
    front: u32,
    /// Transits of the last two messages, the newest first.
    previous: [Option<i64>; 2],
    event: u32,
    base: i64,
    stalls: Stalls,
    lateness: i64,
    /// Mouth to ear without the jitter buffer, ms.
    path_ms: f64,
}

impl DelayEstimate {
    /// An estimate that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what mouth to ear takes without the jitter buffer, µs: the longer, the dearer is waiting.
    pub fn set_path(&mut self, micros: i64) {
        self.path_ms = micros.clamp(0, 10_000_000) as f64 / 1_000.0;
    }

    /// Takes in the transit of one message, by its newest frame `number` (µs; the clocks of both ends differ by an unknown constant). Comes
    /// before what the message brought.
    pub fn message(&mut self, number: u32, transit: i64) {
        if !self.entries.is_empty() {
            self.stalls.message(number, transit.saturating_sub(self.base));
        }
        let piled_up = self.previous[0].is_some_and(|previous| transit <= previous.saturating_sub(PILED_UP));
        self.previous = [Some(transit), self.previous[0]];
        if !piled_up {
            self.event = self.event.wrapping_add(1);
        }
    }

    /// Takes in that frame `number` itself was there after `transit`. Only the first time counts.
    pub fn exact(&mut self, number: u32, transit: i64) {
        let event = self.event;
        if let Some(entry) = self.entry(number)
            && entry.exact.is_none()
        {
            (entry.exact, entry.event) = (Some(transit), event);
        }
    }

    /// Takes in that DRED which describes frame `number` was there after `transit`. Only the first time counts.
    pub fn described(&mut self, number: u32, transit: i64) {
        let event = self.event;
        if let Some(entry) = self.entry(number)
            && entry.first().is_none()
        {
            (entry.described, entry.event) = (Some(transit), event);
        }
    }

    fn entry(&mut self, number: u32) -> Option<&mut Entry> {
        let end = self.front.saturating_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        if self.entries.is_empty() || number >= end.saturating_add(400) {
            self.entries.clear();
            self.front = number;
        }
        let index = usize::try_from(number.checked_sub(self.front)?).ok()?;
        while self.entries.len() <= index {
            self.entries.push_back(Entry::default());
        }
        let surplus = self.entries.len().saturating_sub(MEMORY);
        self.entries.drain(..surplus);
        self.front += u32::try_from(surplus).unwrap_or(0);
        self.entries.get_mut(index.checked_sub(surplus)?)
    }

    /// Weighs what has been taken in. Comes after the last of a message.
    pub fn weigh(&mut self) {
        self.forget_before_step();
        let Some(base) = self.entries.iter().filter_map(|entry| entry.exact).min() else { return };
        self.base = base;
        let worst = self.entries.iter().max_by_key(|entry| entry.first());
        let left_out = worst.map(|entry| entry.event);
        // Each frame asks for some delay; getting it saves what concealing the frame would cost.
        let mut asked: Vec<(i64, f64)> = Vec::with_capacity(self.entries.len());
        for entry in self.entries.iter().filter(|entry| Some(entry.event) != left_out) {
            match (entry.described, entry.exact) {
                (Some(described), Some(exact)) if described < exact => {
                    asked.push((described - base, 1.0 - DRED_COST));
                    asked.push((exact - base, DRED_COST));
                }
                (_, Some(exact)) => asked.push((exact - base, 1.0)),
                (Some(described), None) => asked.push((described - base, 1.0 - DRED_COST)),
                (None, None) => {}
            }
        }
        asked.sort_unstable_by_key(|(delay, _)| *delay);
        self.lateness = self.cheapest(&asked);
    }

    /// The delay of those asked for that costs least. `asked` is sorted.
    fn cheapest(&self, asked: &[(i64, f64)]) -> i64 {
        // Under two seconds, frames not heard of yet count as good ones, so that a young call is not led by its first mishap.
        let points = R_PER_PERCENT * 100.0 / self.entries.len().max(YOUNG) as f64;
        let mut missed: f64 = asked.iter().map(|(_, weight)| weight).sum();
        let mut best = (f64::INFINITY, 0);
        let mut at = 0;
        while at < asked.len() {
            let delay = asked[at].0;
            // Delay that is not waited for would be charged for and save nothing.
            if delay > MAX_LATENESS {
                break;
            }
            while at < asked.len() && asked[at].0 == delay {
                missed -= asked[at].1;
                at += 1;
            }
            let cost = missed * points + self.cost_of(delay);
            if cost < best.0 - 1e-9 {
                best = (cost, delay);
            }
        }
        best.1.max(0)
    }

    fn cost_of(&self, delay: i64) -> f64 {
        let total = self.path_ms + delay as f64 / 1_000.0;
        R_PER_MS * total + R_PER_MS_BEYOND * (total - KNEE_MS).max(0.0)
    }

    /// When all frames of the last second lie clearly apart from all before them, the path is another one, and the old one says nothing.
    fn forget_before_step(&mut self) {
        let Some(start) = self.entries.len().checked_sub(STEP_AFTER).filter(|start| *start >= STEP_AFTER / 2) else {
            return;
        };
        let range = |entries: &mut dyn Iterator<Item = &Entry>| {
            entries.filter_map(|entry| entry.exact).fold(None, |range: Option<(i64, i64)>, exact| {
                Some(range.map_or((exact, exact), |(low, high)| (low.min(exact), high.max(exact))))
            })
        };
        let (old, new) = (range(&mut self.entries.range(..start)), range(&mut self.entries.range(start..)));
        if let (Some((low, high)), Some((new_low, new_high))) = (old, new)
            && (new_low > high + STEP_CLEAR || new_high < low - STEP_CLEAR)
        {
            self.entries.drain(..start);
            self.front += u32::try_from(start).unwrap_or(0);
        }
    }

    /// The transit of the fastest message lately, µs.
    #[must_use]
    pub fn base(&self) -> i64 {
        self.base
    }

    /// How long after the fastest possible arrival a frame should be played, µs.
    #[must_use]
    pub fn target(&self) -> i64 {
        // Two late ones in a row: the next will hardly be quicker, so it would be wrong to hurry towards it.
        let of_late = self.previous[0].min(self.previous[1]).map_or(0, |transit| transit.saturating_sub(self.base));
        let waited_for = self.lateness.max(of_late.min(MAX_OF_LATE)).max(self.stalls.bridge(self.path_ms));
        let observed = waited_for + MARGIN;
        if self.entries.len() < WARM_UP { observed.max(START_TARGET) } else { observed }
    }

    /// Lateness that the target covers, µs.
    #[must_use]
    pub fn lateness(&self) -> i64 {
        self.lateness
    }
}

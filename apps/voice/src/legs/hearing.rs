//! How well one side hears the other by each of two legs, judged by the frames themselves.
//!
//! Messages whose counter is a multiple of the stride ([`STRIDE`] or less) go by both legs, so each of them compares the two: whether it
//! came by this leg at all, and whether it came in time, no later than [`TIMELY`] after the other copy. A loss that
//! both legs share (the access link, the other side's microphone) tells nothing about either and counts against
//! neither.

use crate::media::window::ReplayWindow;
use std::time::Duration;

/// Every third message goes by the standby, too, or every second or each in the slower classes.
pub(super) const STRIDE: u64 = 3;
/// A copy that comes later than this after the first one is of little use to a jitter buffer.
const TIMELY: Duration = Duration::from_millis(40);
/// A comparison is closed so long after its first copy: later ones count as lost.
const SETTLE: Duration = Duration::from_millis(200);
/// Comparisons that are open at a time.
const OPEN: usize = 16;
/// Weight of one comparison: 1/16, so that an average speaks of about a second.
const WEIGHT: f64 = 1.0 / 16.0;
/// Intervals without a message after which a leg may be called silent.
const SILENT_AFTER: f64 = 3.5;

/// One leg as it is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear {
    /// When the last message came by it.
    pub(super) last: Option<Duration>,
    /// The highest counter that came by it.
    pub(super) highest: u64,
    jitter: f64,
    arrived: f64,
    timely: f64,
}

impl Ear {
    pub(super) const fn new() -> Self {
        Self { last: None, highest: 0, jitter: 0.0, arrived: 1.0, timely: 1.0 }
    }

    fn hear(&mut self, now: Duration, counter: u64, interval: Duration) {
        // What is not newer proves nothing: whoever carries the leg can say it again.
        if self.last.is_some() && counter <= self.highest {
            return;
        }
        if let Some(last) = self.last {
            let expected = interval.as_secs_f64() * (counter - self.highest) as f64;
            let off = (now.saturating_sub(last).as_secs_f64() - expected).abs().min(1.0);
            self.jitter += (off - self.jitter) * WEIGHT;
        }
        self.last = Some(now);
        self.highest = counter;
    }

    /// The share of shared messages that came, lately.
    pub(super) fn arrived(&self) -> f64 {
        self.arrived
    }

    /// Whether so long has passed since the last message that loss alone is no likely reason.
    pub(super) fn is_overdue(&self, now: Duration, interval: Duration) -> bool {
        let limit = interval.as_secs_f64() * SILENT_AFTER + 2.0 * self.jitter;
        self.last.is_some_and(|last| now.saturating_sub(last).as_secs_f64() > limit)
    }

    /// In four bits, for the other side: 1 bad to 15 good.
    pub(super) fn grade(&self) -> u8 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 15")]
        let grade = (1.0 + 14.0 * self.timely.clamp(0.0, 1.0)).round() as u8;
        grade
    }
}

#[derive(Clone, Copy, Debug)]
struct Comparison {
    counter: u64,
    first: Duration,
    came: [Option<Duration>; 2],
}

/// Both legs as they are heard.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) ears: [Ear; 2],
    open: Vec<Comparison>,
    /// From which counter on the two can be compared: one of them is new.
    compare_from: u64,
    /// Which comparisons were begun, so that a copy that comes after the end of one begins no other.
    begun: ReplayWindow,
}

impl Hearing {
    pub(super) fn new() -> Self {
        Self {
            ears: [Ear::new(); 2],
            open: Vec::with_capacity(OPEN),
            compare_from: u64::MAX,
            begun: ReplayWindow::new(),
        }
    }

    /// The leg at `place` is another one from now on, or none.
    pub(super) fn reset(&mut self, place: usize) {
        self.ears[place] = Ear::new();
        self.open.clear();
        self.compare_from = u64::MAX;
    }

    /// A message came.
    pub(super) fn hear(&mut self, now: Duration, place: usize, counter: u64, interval: Duration, stride: u64) {
        self.ears[place].hear(now, counter, interval);
        if self.compare_from == u64::MAX && self.ears.iter().all(|ear| ear.last.is_some()) {
            // What went out before the new leg was there went by one leg only; a moment more, for copies under way.
            self.compare_from = self.ears.iter().map(|ear| ear.highest).max().unwrap_or(0) + 2 * stride;
        }
        if !counter.is_multiple_of(stride) || counter < self.compare_from {
            return;
        }
        match self.open.iter_mut().find(|open| open.counter == counter) {
            Some(open) => open.came[place] = open.came[place].or(Some(now)),
            None => {
                if self.open.len() < OPEN && self.begun.insert(counter) {
                    let mut came = [None; 2];
                    came[place] = Some(now);
                    self.open.push(Comparison { counter, first: now, came });
                }
            }
        }
    }

    /// Closes the comparisons that are due.
    pub(super) fn settle(&mut self, now: Duration) {
        let ears = &mut self.ears;
        self.open.retain(|open| {
            let whole = open.came.iter().all(Option::is_some);
            if !whole && now < open.first + SETTLE {
                return true;
            }
            for (ear, came) in ears.iter_mut().zip(open.came) {
                let arrived = came.is_some();
                let timely = came.is_some_and(|at| at.saturating_sub(open.first) <= TIMELY);
                ear.arrived += (f64::from(u8::from(arrived)) - ear.arrived) * WEIGHT;
                ear.timely += (f64::from(u8::from(timely)) - ear.timely) * WEIGHT;
            }
            false
        });
    }
}

//! When another leg may be tried: pauses that grow with failures in a row, and a budget.
//!
//! Each new leg is a new choice of relays on both sides, so whoever can end legs at will must not get as many choices as
//! he likes. A call begins with a few and earns one more each minute.

use super::LegId;
use std::time::Duration;

/// New legs that a call may try at once.
const BUDGET: u32 = 6;
/// One more is earned in this time.
const EARN: Duration = Duration::from_secs(60);
/// The pause after a failure, twice as long after each further one in a row.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A leg that lasted this long makes the pauses short again.
const LASTED: Duration = Duration::from_secs(30);
/// Numbers end here; a call that has used them goes on with what it has.
const LAST: u8 = 253;

#[derive(Debug)]
pub(super) enum Answer {
    Open(LegId),
    Wait,
    /// The budget is used up; said once until there is some again.
    Spent,
}

#[derive(Debug)]
pub(super) struct Plan {
    wanted: bool,
    tokens: u32,
    earning_since: Duration,
    not_before: Duration,
    failures: u32,
    up_since: Option<Duration>,
    next: [u8; 2],
    said_spent: bool,
}

impl Plan {
    pub(super) fn new() -> Self {
        Self {
            wanted: false,
            tokens: BUDGET,
            earning_since: Duration::ZERO,
            not_before: Duration::ZERO,
            failures: 0,
            up_since: None,
            next: [2, 1],
            said_spent: false,
        }
    }

    pub(super) fn begin(&mut self, now: Duration) {
        self.wanted = true;
        self.earning_since = now;
    }

    pub(super) fn stop(&mut self) {
        self.wanted = false;
    }

    fn earn(&mut self, now: Duration) {
        while self.tokens < BUDGET && now >= self.earning_since + EARN {
            self.tokens += 1;
            self.earning_since += EARN;
            self.said_spent = false;
        }
        if self.tokens == BUDGET {
            self.earning_since = now;
        }
    }

    /// Whether to open a leg at `place` now.
    pub(super) fn next(&mut self, now: Duration, place: usize) -> Answer {
        self.earn(now);
        let number = self.next[place];
        if !self.wanted || now < self.not_before || number > LAST {
            return Answer::Wait;
        }
        if self.tokens == 0 {
            return if std::mem::replace(&mut self.said_spent, true) { Answer::Wait } else { Answer::Spent };
        }
        self.tokens -= 1;
        self.next[place] = number + 2;
        Answer::Open(LegId(number))
    }

    /// The same for legs that the other side offers: it has the same budget, or is none of ours.
    pub(super) fn may_join(&mut self, now: Duration) -> bool {
        self.earn(now);
        let may = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        may
    }

    pub(super) fn succeeded(&mut self, now: Duration) {
        self.up_since = Some(now);
    }

    /// A leg that was up has ended: another one at once, unless none lasts.
    pub(super) fn ended(&mut self, now: Duration) {
        if self.up_since.take().is_none_or(|since| now.saturating_sub(since) >= LASTED) {
            self.failures = 0;
            self.not_before = now;
        } else {
            self.failed(now);
        }
    }

    pub(super) fn failed(&mut self, now: Duration) {
        let pause = PAUSE * 2u32.saturating_pow(self.failures.min(8));
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.min(PAUSE_MAX);
    }
}

//! What a service does when more introductions come than it can answer: the ones that cost most go first, and the price rises.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long an introduction may wait: its client has gone by then.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often the price is thought over.
pub const WINDOW: Duration = Duration::from_secs(20);

/// The least effort that is asked for, if any is.
const EFFORT_FIRST: u32 = 32;
/// The most that is asked for: some seconds of a small machine.
const EFFORT_CAP: u32 = 10_000;

/// Introductions that wait, those with the highest effort first and among them the oldest.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: BTreeMap<(Reverse<u32>, u64), (Instant, T)>,
    next: u64,
    most: usize,
    shed: u64,
}

impl<T> Queue<T> {
    /// At most `most` wait, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, most: most.max(1), shed: 0 }
    }

    /// Puts one in its place. When too many wait, the one with least effort that came last goes.
    pub fn push(&mut self, now: Instant, effort: u32, item: T) {
        self.next += 1;
        self.waiting.insert((Reverse(effort), self.next), (now, item));
        if self.waiting.len() > self.most {
            self.waiting.pop_last();
            self.shed += 1;
        }
    }

    /// The next one whose client is still there, with its effort.
    pub fn pop(&mut self, now: Instant) -> Option<(u32, T)> {
        while let Some(((Reverse(effort), _), (came, item))) = self.waiting.pop_first() {
            if now.saturating_duration_since(came) < PATIENCE {
                return Some((effort, item));
            }
            self.shed += 1;
        }
        None
    }

    /// Lets those go whose clients have gone by now.
    pub fn expire(&mut self, now: Instant) {
        let before = self.waiting.len();
        self.waiting.retain(|_, (came, _)| now.saturating_duration_since(*came) < PATIENCE);
        self.shed += (before - self.waiting.len()) as u64;
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many went without an answer since the last call.
    pub fn take_shed(&mut self) -> u64 {
        std::mem::take(&mut self.shed)
    }
}

/// The effort that a service asks for. It doubles while introductions go without an answer, and sinks by a third in each window in which
/// none does.
#[derive(Debug)]
pub struct Price {
    effort: u32,
    answered: u64,
    paid: u64,
    since: Instant,
}

impl Price {
    /// Nothing is asked for at first.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { effort: 0, answered: 0, paid: 0, since: now }
    }

    /// What is asked for now.
    #[must_use]
    pub fn effort(&self) -> u32 {
        self.effort
    }

    /// An introduction with this effort is being answered.
    pub fn answered(&mut self, effort: u32) {
        self.answered += 1;
        self.paid += u64::from(effort);
    }

    /// When the next window begins.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        self.since + WINDOW
    }

    /// Thinks the price over, if it is time: `shed` introductions went without an answer since, and `waiting` wait. Gives the new effort
    /// if it is another one.
    pub fn look(&mut self, now: Instant, shed: u64, waiting: usize) -> Option<u32> {
        let before = self.effort;
        let mean = self.paid.checked_div(self.answered).unwrap_or(0);
        let mean = u32::try_from(mean).unwrap_or(u32::MAX);
        if shed > 0 {
            let raised = before.saturating_mul(2).max(mean.saturating_add(1)).max(EFFORT_FIRST);
            self.effort = raised.min(EFFORT_CAP);
        } else if waiting == 0 {
            let sunk = before / 3 * 2;
            self.effort = if sunk < EFFORT_FIRST { 0 } else { sunk };
        }
        (self.answered, self.paid, self.since) = (0, 0, now);
        (self.effort != before).then_some(self.effort)
    }
}

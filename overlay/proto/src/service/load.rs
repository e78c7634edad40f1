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

/// Introductions that were refused in a window, over which the price stays at its least instead of sinking to nothing: the flood is still there.
const CALM: u64 = 20;

/// What an introduction's effort is worth now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Less than half of what is asked for, and was before: it is not looked at.
    Refused,
    /// Its client knows an older price. It is answered if nothing better waits, and that it was not says nothing of the demand.
    Late,
    /// What is asked for, or nearly: if such a one goes without an answer the price rises.
    Enough,
}

/// How many introductions went without an answer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shed {
    /// In all.
    pub all: u64,
    /// Of these, such as did what was asked of them.
    pub enough: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    came: Instant,
    enough: bool,
    item: T,
}

/// Introductions that wait, those with the highest effort first and among them the oldest.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: BTreeMap<(Reverse<u32>, u64), Waiting<T>>,
    next: u64,
    most: usize,
    shed: Shed,
}

impl<T> Queue<T> {
    /// At most `most` wait, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { waiting: BTreeMap::new(), next: 0, most: most.max(1), shed: Shed::default() }
    }

    /// Puts one in its place; `enough` if it did what was asked of it. When too many wait, the one with least effort that came last goes.
    pub fn push(&mut self, now: Instant, effort: u32, enough: bool, item: T) {
        self.next += 1;
        self.waiting.insert((Reverse(effort), self.next), Waiting { came: now, enough, item });
        if self.waiting.len() > self.most
            && let Some((_, gone)) = self.waiting.pop_last()
        {
            self.shed.note(gone.enough);
        }
    }

    /// The effort of the next one whose client is still there.
    pub fn first(&mut self, now: Instant) -> Option<u32> {
        loop {
            let first = self.waiting.first_entry()?;
            if is_there(first.get(), now) {
                return Some(first.key().0.0);
            }
            let gone = first.remove();
            self.shed.note(gone.enough);
        }
    }

    /// The next one whose client is still there, with its effort.
    pub fn pop(&mut self, now: Instant) -> Option<(u32, T)> {
        self.first(now)?;
        self.waiting.pop_first().map(|((Reverse(effort), _), waiting)| (effort, waiting.item))
    }

    /// Lets those go whose clients have gone by now.
    pub fn expire(&mut self, now: Instant) {
        let shed = &mut self.shed;
        self.waiting.retain(|_, waiting| {
            let stays = is_there(waiting, now);
            if !stays {
                shed.note(waiting.enough);
            }
            stays
        });
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
    pub fn take_shed(&mut self) -> Shed {
        std::mem::take(&mut self.shed)
    }
}

impl Shed {
    fn note(&mut self, enough: bool) {
        self.all += 1;
        self.enough += u64::from(enough);
    }
}

fn is_there<T>(waiting: &Waiting<T>, now: Instant) -> bool {
    now.saturating_duration_since(waiting.came) < PATIENCE
}

/// The effort that a service asks for. It doubles while introductions that did enough go without an answer, and sinks by a third in each window
/// in which none does. What did less is refused and raises nothing: junk without work costs others the least effort and no more.
#[derive(Debug)]
pub struct Price {
    effort: u32,
    /// What was asked for in the window before: clients may know no other yet.
    before: u32,
    refused: u64,
    answered: u64,
    paid: u64,
    since: Instant,
}

impl Price {
    /// Nothing is asked for at first.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { effort: 0, before: 0, refused: 0, answered: 0, paid: 0, since: now }
    }

    /// What is asked for now.
    #[must_use]
    pub fn effort(&self) -> u32 {
        self.effort
    }

    /// Judges an introduction that claims this effort, before anything costly is done for it.
    pub fn judge(&mut self, effort: u32) -> Offer {
        if effort < self.effort.min(self.before) / 2 {
            self.refused += 1;
            Offer::Refused
        } else if effort < self.effort / 2 {
            Offer::Late
        } else {
            Offer::Enough
        }
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

    /// Thinks the price over, if it is time: `shed` introductions that had done enough went without an answer since, and `waiting` wait. Gives the
    /// new effort if it is another one.
    pub fn look(&mut self, now: Instant, shed: u64, waiting: usize) -> Option<u32> {
        let before = self.effort;
        let mean = self.paid.checked_div(self.answered).unwrap_or(0);
        let mean = u32::try_from(mean).unwrap_or(u32::MAX);
        if shed > 0 {
            let raised = before.saturating_mul(2).max(mean.saturating_add(1)).max(EFFORT_FIRST);
            self.effort = raised.min(EFFORT_CAP);
        } else if waiting == 0 {
            let least = if self.refused > CALM { EFFORT_FIRST.min(before) } else { 0 };
            let sunk = before / 3 * 2;
            self.effort = if sunk < EFFORT_FIRST { least } else { sunk };
        }
        (self.before, self.refused, self.answered, self.paid, self.since) = (before, 0, 0, 0, now);
        (self.effort != before).then_some(self.effort)
    }
}

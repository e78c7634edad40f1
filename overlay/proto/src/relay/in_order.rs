//! Messages of one circuit in the order of their sending, as far as waiting for it pays.
//!
//! A link sends again what it lost, so a message may come one link's round trip after its successors. QUIC bears little of that:
//! a packet that 129 others have overtaken counts as seen before and is thrown away (decision 0104). So whoever carries QUIC over a
//! circuit has early messages held back until those before them have come, or have taken longer than late ones took lately.
//! Where nothing comes late, or few overtake what does, nothing is held back: a message that a full queue has dropped costs no time.
//!
//! No clock and no input: `now` and messages are arguments; what may be handed on is [polled](InOrder::poll).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Places between the oldest missing message and the newest one; who sends faster gets what is there.
const MOST: usize = 2048;
/// Ids up to half the circle behind the next one are late; of so many at most it is remembered since when they were missed.
const MISSED_MAX: usize = 64;
/// A message that is further behind than this is none that was overtaken: its sender has gone once around.
const FAR: u16 = 8192;
/// QUIC bears it when so few overtake a message.
const BORNE: u16 = 16;
/// Nothing is held back for longer than this: a link with a round trip of 100 ms has repaired a loss by then.
const LONGEST: Duration = Duration::from_millis(150);
/// At first so much is waited, as if so many had overtaken one: a start is fast, and what it loses makes QUIC slow for long.
const FIRST: Duration = Duration::from_millis(25);
const FIRST_OVERTAKEN: u16 = 128;
/// A patience below this is none.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Held {
    message: Vec<u8>,
    since: Instant,
}

/// Holds back what came early.
#[derive(Debug)]
pub struct InOrder {
    /// The id of the message that is handed on next; none before the first.
    next: Option<u16>,
    /// The places from `next` on. Not empty only while the first is missing and a later one is not.
    places: VecDeque<Option<Held>>,
    /// Messages in `places`.
    held: usize,
    /// Since when the first place is known to be missing.
    missed: Option<Instant>,
    /// How long a missing message is waited for.
    patience: Duration,
    /// How many overtake one that comes late.
    overtaken: u16,
    /// Messages that were waited for in vain, or not at all, and since when they were missing.
    given_up: VecDeque<(u16, Instant)>,
    ready: VecDeque<Vec<u8>>,
}

impl Default for InOrder {
    fn default() -> Self {
        Self {
            next: None,
            places: VecDeque::new(),
            held: 0,
            missed: None,
            patience: FIRST,
            overtaken: FIRST_OVERTAKEN,
            given_up: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }
}

impl InOrder {
    /// Takes the message with this id. Without `room` nothing is held back.
    pub fn accept(&mut self, now: Instant, id: u16, message: Vec<u8>, room: bool) {
        let next = *self.next.get_or_insert(id);
        let ahead = id.wrapping_sub(next);
        if ahead > u16::MAX / 2 {
            return self.accept_late(now, id, message);
        }
        let ahead = usize::from(ahead);
        if ahead == 0 {
            if let Some(since) = self.missed {
                let overtaken = u16::try_from(self.places.len()).unwrap_or(u16::MAX);
                self.learn(now.saturating_duration_since(since), overtaken);
                self.places.pop_front();
            }
            self.hand_on(message);
            self.hand_on_run();
        } else if !self.waits() || ahead >= MOST || !room {
            self.release(now);
            self.hand_on_from(now, id, message);
        } else {
            if self.places.len() <= ahead {
                self.places.resize_with(ahead + 1, || None);
            }
            if self.places[ahead].is_none() {
                self.places[ahead] = Some(Held { message, since: now });
                self.held += 1;
                self.missed.get_or_insert(now);
            }
        }
    }

    /// Gives up what has been missing for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(since) = self.missed.filter(|since| *since + self.patience <= now) {
            while self.places.front().is_some_and(Option::is_none) {
                self.places.pop_front();
                self.skip(since);
            }
            self.patience -= self.patience / 8;
            if self.patience < SHORTEST {
                self.patience = Duration::ZERO;
            }
            self.hand_on_run();
        }
    }

    /// When to call [`Self::handle_timeout`] at the latest, if something is held back.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.missed.map(|since| since + self.patience)
    }

    /// The next message to hand on.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.ready.pop_front()
    }

    /// How many messages are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Whether it pays to wait.
    fn waits(&self) -> bool {
        !self.patience.is_zero() && self.overtaken > BORNE
    }

    /// A message that is no longer waited for: it is handed on at once, and its successors will wait longer for their like.
    fn accept_late(&mut self, now: Instant, id: u16, message: Vec<u8>) {
        if let Some(at) = self.given_up.iter().position(|(missing, _)| *missing == id)
            && let Some((_, since)) = self.given_up.remove(at)
        {
            self.learn(now.saturating_duration_since(since), self.next.unwrap_or(id).wrapping_sub(id));
        } else if self.next.is_some_and(|next| next.wrapping_sub(id) > FAR) {
            self.release(now);
            self.next = Some(id);
            return self.hand_on(message);
        }
        self.ready.push_back(message);
    }

    /// A message came so long after it was missed. One whose repair is lost and repaired takes twice as long.
    fn learn(&mut self, late: Duration, overtaken: u16) {
        self.overtaken = (self.overtaken - self.overtaken.div_ceil(64)).max(overtaken);
        let wanted = late * 9 / 4 + SHORTEST;
        self.patience = (self.patience - self.patience / 512).max(wanted).min(LONGEST);
    }

    /// Waits for nothing any more: everything that is held back goes on.
    fn release(&mut self, now: Instant) {
        let since = self.missed.unwrap_or(now);
        while let Some(place) = self.places.pop_front() {
            match place {
                Some(held) => self.hand_on_held(held),
                None => self.skip(since),
            }
        }
        self.missed = None;
    }

    /// Hands this message on, and waits for none before it.
    fn hand_on_from(&mut self, now: Instant, id: u16, message: Vec<u8>) {
        let gap = self.next.map_or(0, |next| id.wrapping_sub(next));
        if gap > u16::MAX / 2 {
            // Its successors have just been released.
            return self.ready.push_back(message);
        }
        // Of a long gap the newest are remembered.
        let forgotten = gap.saturating_sub(u16::try_from(MISSED_MAX).unwrap_or(u16::MAX));
        self.next = self.next.map(|next| next.wrapping_add(forgotten));
        (forgotten..gap).for_each(|_| self.skip(now));
        self.hand_on(message);
    }

    /// Hands on what follows without a gap, and looks what is missing next.
    fn hand_on_run(&mut self) {
        while self.places.front().is_some_and(Option::is_some) {
            if let Some(Some(held)) = self.places.pop_front() {
                self.hand_on_held(held);
            }
        }
        self.missed = self.places.iter().flatten().map(|held| held.since).next();
    }

    fn hand_on_held(&mut self, held: Held) {
        self.held -= 1;
        self.hand_on(held.message);
    }

    fn hand_on(&mut self, message: Vec<u8>) {
        self.next = self.next.map(|next| next.wrapping_add(1));
        self.ready.push_back(message);
    }

    /// The next message is no longer waited for.
    fn skip(&mut self, since: Instant) {
        if let Some(next) = self.next {
            if self.given_up.len() == MISSED_MAX {
                self.given_up.pop_front();
            }
            self.given_up.push_back((next, since));
            self.next = Some(next.wrapping_add(1));
        }
    }
}

#[cfg(test)]
mod tests;

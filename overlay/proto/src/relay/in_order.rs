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

/// The newest message may be so far ahead of the oldest missing one; who sends faster gets what is there.
const MOST: u16 = 2048;
/// Ids up to half the circle behind the next one are late; of so many at most it is remembered since when they were missed.
const MISSED_MAX: u16 = 64;
/// Nothing keeps room for more than so many messages when it is empty.
const SPARE: usize = 32;
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
    id: u16,
    message: Vec<u8>,
    since: Instant,
}

/// Holds back what came early.
#[derive(Debug)]
pub struct InOrder {
    /// The id of the message that is handed on next; none before the first.
    next: Option<u16>,
    /// What came before its turn, by its distance from `next`. Room for those that are missing would let three messages take
    /// up thousands of places.
    early: VecDeque<Held>,
    /// Since when `next` is known to be missing.
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
            early: VecDeque::new(),
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
        if ahead == 0 {
            if let (Some(since), Some(newest)) = (self.missed, self.early.back()) {
                let overtaken = newest.id.wrapping_sub(next) + 1;
                self.learn(now.saturating_duration_since(since), overtaken);
            }
            self.hand_on(message);
            self.hand_on_run();
        } else if !self.waits() || ahead >= MOST || !room {
            self.release(now);
            self.hand_on_from(now, id, message);
        } else {
            let place = self.early.partition_point(|held| held.id.wrapping_sub(next) < ahead);
            if self.early.get(place).is_none_or(|held| held.id != id) {
                self.early.insert(place, Held { id, message, since: now });
                self.missed.get_or_insert(now);
            }
        }
    }

    /// Gives up what has been missing for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(since) = self.missed.filter(|since| *since + self.patience <= now) {
            if let Some(first) = self.early.front() {
                self.skip_to(first.id, since);
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
        let message = self.ready.pop_front();
        if message.is_none() && self.ready.capacity() > SPARE {
            self.ready = VecDeque::new();
        }
        message
    }

    /// How many messages are held back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.early.len()
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
        while let Some(Held { id, message, .. }) = self.early.pop_front() {
            self.skip_to(id, since);
            self.hand_on(message);
        }
        self.nothing_is_early();
    }

    /// Hands this message on, and waits for none before it.
    fn hand_on_from(&mut self, now: Instant, id: u16, message: Vec<u8>) {
        let gap = self.next.map_or(0, |next| id.wrapping_sub(next));
        if gap > u16::MAX / 2 {
            // Its successors have just been released.
            return self.ready.push_back(message);
        }
        self.skip_to(id, now);
        self.hand_on(message);
    }

    /// Hands on what follows without a gap, and looks what is missing next.
    fn hand_on_run(&mut self) {
        while let Some(held) = self.early.pop_front_if(|held| Some(held.id) == self.next) {
            self.hand_on(held.message);
        }
        match self.early.front() {
            Some(first) => self.missed = Some(first.since),
            None => self.nothing_is_early(),
        }
    }

    fn nothing_is_early(&mut self) {
        self.missed = None;
        if self.early.capacity() > SPARE {
            self.early = VecDeque::new();
        }
    }

    fn hand_on(&mut self, message: Vec<u8>) {
        self.next = self.next.map(|next| next.wrapping_add(1));
        self.ready.push_back(message);
    }

    /// The messages before this one are no longer waited for. Of many the newest are remembered.
    fn skip_to(&mut self, id: u16, since: Instant) {
        let missing = self.next.map_or(0, |next| id.wrapping_sub(next));
        for back in (1..=missing.min(MISSED_MAX)).rev() {
            if self.given_up.len() == usize::from(MISSED_MAX) {
                self.given_up.pop_front();
            }
            self.given_up.push_back((id.wrapping_sub(back), since));
        }
        self.next = Some(id);
    }
}

#[cfg(test)]
mod tests;

//! The sender's side: a window of recent symbols, and repairs made from it.

use std::collections::VecDeque;

use crate::vector::SEEDS;
use crate::{Symbol, Vector, WINDOW, WindowUpdate, planes};

/// After this time without a symbol the window's memory is given back, nanoseconds.
const IDLE: u64 = 1_000_000_000;

/// Keeps what was sent within the deadline, at most [`WINDOW`] symbols, and makes repairs of what the peer is not known to have.
///
/// Sans-IO: symbols go in by [`push`](Encoder::push), what the peer has by [`acknowledge`](Encoder::acknowledge) and
/// [`update`](Encoder::update), repairs come out of [`repair`](Encoder::repair). *When* to make one, [`Adapt`](crate::Adapt) knows. Memory
/// follows the rate of symbols, and after a second without any it is given back by the next call that takes a time.
#[derive(Debug)]
pub struct Encoder {
    deadline: u64,
    window: VecDeque<Sent>,
    /// The id after the newest of the window.
    next: u16,
    seed: u8,
    /// When the newest symbol came.
    pushed: u64,
}

#[derive(Debug)]
struct Sent {
    at: u64,
    done: bool,
    symbol: Symbol,
}

impl Encoder {
    /// An encoder whose repairs hold no symbol older than `deadline` nanoseconds.
    #[must_use]
    pub const fn new(deadline: u64) -> Encoder {
        Encoder::starting_at(deadline, 0)
    }

    /// The same, with another first id than 0.
    #[must_use]
    pub const fn starting_at(deadline: u64, first: u16) -> Encoder {
        Encoder { deadline, window: VecDeque::new(), next: first, seed: 0, pushed: 0 }
    }

    /// Takes a symbol that is sent now; returns the id that goes with it. Ids count up and wrap.
    pub fn push(&mut self, now: u64, symbol: &Symbol) -> u16 {
        self.expire(now);
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(Sent { at: now, done: false, symbol: *symbol });
        self.pushed = now;
        let id = self.next;
        self.next = id.wrapping_add(1);
        id
    }

    /// Makes a repair of everything in the window that the peer is not known to have, into `out`. Without such a symbol there is none.
    pub fn repair(&mut self, now: u64, out: &mut Symbol) -> Option<Vector> {
        self.expire(now);
        let mask = self.window.iter().rev().fold(0u64, |mask, sent| mask << 1 | u64::from(!sent.done));
        let skip = mask.trailing_zeros();
        // No bits: nothing to protect.
        let mask = mask.checked_shr(skip)?;
        let first = self.oldest().wrapping_add(u16::try_from(skip).ok()?);
        let vector = Vector::new(first, mask, self.seed).ok()?;
        self.seed = (self.seed + 1) % SEEDS;
        out.fill(0);
        let mut id = first;
        for sent in self.window.iter().skip(skip as usize) {
            if !sent.done {
                planes::add_scaled(out, &sent.symbol, vector.coefficient(id));
            }
            id = id.wrapping_add(1);
        }
        Some(vector)
    }

    /// The peer has the symbol `id`. An id that is not in the window changes nothing.
    pub fn acknowledge(&mut self, id: u16) {
        let place = usize::from(id.wrapping_sub(self.oldest()));
        if let Some(sent) = self.window.get_mut(place) {
            sent.done = true;
        }
        self.trim();
    }

    /// Takes the peer's window update. A false one changes which of the peer's own cells are protected, and nothing else.
    pub fn update(&mut self, update: &WindowUpdate) {
        let mut id = self.oldest();
        for sent in &mut self.window {
            sent.done |= update.is_done(id);
            id = id.wrapping_add(1);
        }
        self.trim();
    }

    /// Forgets every symbol and gives the memory back; ids go on where they were.
    pub fn clear(&mut self) {
        self.window = VecDeque::new();
    }

    /// Forgets what is older than the deadline, and gives memory back after a second of silence.
    pub fn expire(&mut self, now: u64) {
        while self.window.front().is_some_and(|sent| now.saturating_sub(sent.at) > self.deadline) {
            self.window.pop_front();
        }
        self.trim();
        if self.window.is_empty() && now.saturating_sub(self.pushed) > IDLE {
            self.window.shrink_to(0);
        }
    }

    /// Symbols that the next repair would hold, were it made now.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.window.iter().filter(|sent| !sent.done).count()
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.window.capacity() * size_of::<Sent>()
    }

    fn oldest(&self) -> u16 {
        // At most 64 symbols are in the window.
        #[allow(clippy::cast_possible_truncation, reason = "at most WINDOW")]
        let len = self.window.len() as u16;
        self.next.wrapping_sub(len)
    }

    /// Drops acknowledged symbols at the old end.
    fn trim(&mut self) {
        while self.window.front().is_some_and(|sent| sent.done) {
            self.window.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;

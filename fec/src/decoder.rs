//! The receiver's side: solves for lost symbols as equations come in.

use std::collections::VecDeque;

use crate::{Symbol, Vector, WindowUpdate};

mod rows;
mod seen;
mod span;

use rows::{Outcome, Row, Rows};
use seen::Seen;
use span::Span;

/// Symbols between the oldest and the newest that the decoder thinks about.
pub const SPAN: usize = 128;

/// Repairs that wait for others, at most.
pub const MOST_ROWS: usize = 64;

/// Where extended ids begin, so that none below can be named.
const ORIGIN: u64 = 1 << 32;

/// Without a symbol in reach for so long, any id begins anew, nanoseconds.
const RESTART: u64 = 1_000_000_000;

/// What a decoder has met since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Source symbols that were new.
    pub sources: u64,
    /// Source symbols that were known already: copies, or recovered before they came.
    pub duplicates: u64,
    /// Repairs.
    pub repairs: u64,
    /// Repairs that told nothing new.
    pub redundant: u64,
    /// Repairs that came too late, or spoke of ids far off.
    pub out_of_reach: u64,
    /// Repairs that contradict what is known: only a peer that misbehaves sends them.
    pub inconsistent: u64,
    /// Symbols that repairs brought.
    pub recovered: u64,
}

/// Recovers lost symbols from repairs, by Gaussian elimination as they come.
///
/// Sans-IO: source symbols go in by [`source`](Decoder::source), repairs by [`repair`](Decoder::repair); after either, drain
/// [`poll`](Decoder::poll). What arrives never waits: `source` only says whether the symbol was recovered before.
///
/// Bounds, whatever comes in: [`SPAN`] symbols, [`MOST_ROWS`] repairs, 4,096 bits of what was delivered; together less than 200 kB, and
/// only as much as the rate of symbols within the time that is kept asks for. One repair costs at most 64 + 2 · [`MOST_ROWS`] multiply-adds of a symbol.
///
/// Who can send repairs holds the link's keys and could send any cell as it is; a false repair recovers false cells under ids that did
/// not arrive, and changes nothing that did.
#[derive(Debug)]
pub struct Decoder {
    keep: u64,
    started: bool,
    /// When an id in reach last came.
    progress: u64,
    span: Span,
    rows: Rows,
    seen: Seen,
    recovered: VecDeque<(u16, Symbol)>,
    counters: Counters,
}

impl Decoder {
    /// A decoder that remembers symbols for `keep` nanoseconds: the encoder's deadline, and how much later a repair may come by jitter.
    #[must_use]
    pub fn new(keep: u64) -> Decoder {
        Decoder {
            keep,
            started: false,
            progress: 0,
            span: Span::default(),
            rows: Rows::default(),
            seen: Seen::default(),
            recovered: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Takes a source symbol that arrived. Whether it is to be handed on: not when it was recovered before, arrived before, or is so old
    /// (4,096 ids) that nobody can tell.
    #[must_use = "a symbol that was recovered before must not be handed on again"]
    pub fn source(&mut self, now: u64, id: u16, symbol: &Symbol) -> bool {
        self.expire(now);
        let mut id = self.extend(id);
        let unknowable = self.seen.is_forgotten(id) || self.seen.is_empty() && id < self.span.base();
        if unknowable && now.saturating_sub(self.progress) >= RESTART {
            // More than half the circle of ids was lost, or the peer began anew, or a repair spoke of ids that nobody sent.
            self.restart();
            id = self.extend(low(id));
        }
        if !self.seen.mark(id) {
            self.counters.duplicates += 1;
            return false;
        }
        self.started = true;
        self.counters.sources += 1;
        if self.cover(now, id, id) {
            self.progress = now;
            self.span.hold(id, symbol);
            self.rows.substitute(id, symbol);
            self.harvest();
        }
        true
    }

    /// Takes a repair. How many symbols became known by it.
    pub fn repair(&mut self, now: u64, vector: &Vector, symbol: &Symbol) -> usize {
        self.expire(now);
        self.counters.repairs += 1;
        let first = self.extend(vector.first());
        let last = first + u64::from(63 - vector.mask().leading_zeros());
        // A repair may come before its sources, but one far ahead of all would only make the decoder forget.
        let reachable = !self.started || last < self.span.next() + SPAN as u64;
        if !reachable || !self.cover(now, first, last) {
            self.counters.out_of_reach += 1;
            return 0;
        }
        self.started = true;
        let mut row = Row::new(symbol);
        for offset in vector.offsets() {
            let id = first + u64::from(offset);
            let coefficient = vector.coefficient(vector.first().wrapping_add(offset));
            match self.span.get(id) {
                Some(known) => self.rows.subtract(&mut row, known, coefficient),
                None => row.set(id, coefficient),
            }
        }
        match self.rows.insert(row, self.span.base()) {
            Outcome::Kept => self.harvest(),
            Outcome::Redundant => {
                self.counters.redundant += 1;
                0
            }
            Outcome::Inconsistent => {
                self.counters.inconsistent += 1;
                0
            }
        }
    }

    /// The next symbol that was recovered: in time, never one that arrived, never twice.
    pub fn poll(&mut self) -> Option<(u16, Symbol)> {
        self.recovered.pop_front()
    }

    /// What to tell the sender; nothing before the first symbol.
    #[must_use]
    pub fn window_update(&self) -> Option<WindowUpdate> {
        self.started.then(|| {
            let next = self.span.next();
            let first = (self.span.base()..next).find(|id| self.span.get(*id).is_none()).unwrap_or(next);
            let held = (0..64).filter(|i| self.span.get(first + 1 + i).is_some()).fold(0, |held, i| held | 1 << i);
            WindowUpdate { first: low(first), held }
        })
    }

    /// Forgets what is older than the time that is kept, and gives memory back when nothing is left.
    pub fn expire(&mut self, now: u64) {
        if self.span.expire(now, self.keep) {
            self.rows.forget_before(self.span.base());
        }
        if self.recovered.is_empty() && self.span.memory() == 0 {
            self.recovered = VecDeque::new();
        }
    }

    /// Gives back all memory: what could still be recovered is given up. What was delivered stays known, so nothing comes twice.
    pub fn shed(&mut self) {
        self.span.shed();
        self.rows.forget_before(u64::MAX);
        self.recovered = VecDeque::new();
    }

    /// What it has met.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.span.memory() + self.rows.memory() + self.recovered.capacity() * size_of::<(u16, Symbol)>()
    }

    /// Multiply-adds of whole symbols that repairs have cost so far: what a hostile neighbour can spend of ours.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.rows.work()
    }

    /// The id on a line without end, taken to be the one nearest to the newest.
    fn extend(&self, id: u16) -> u64 {
        if !self.started {
            return ORIGIN + u64::from(id);
        }
        let newest = self.span.next() - 1;
        let distance = id.wrapping_sub(low(newest)).cast_signed();
        newest.saturating_add_signed(i64::from(distance))
    }

    /// Makes room for the ids from `first` to `last`, giving up the oldest if need be. Whether they are in the span now.
    fn cover(&mut self, now: u64, first: u64, last: u64) -> bool {
        let before = self.span.base();
        let covered = self.span.cover(now, first, last);
        if self.span.base() > before {
            self.rows.forget_before(self.span.base());
        }
        covered
    }

    /// Takes out every equation with one unknown left.
    fn harvest(&mut self) -> usize {
        let mut found = 0;
        while let Some((id, symbol)) = self.rows.take_solved() {
            self.span.hold(id, &symbol);
            if self.seen.mark(id) {
                if self.recovered.len() == SPAN {
                    self.recovered.pop_front();
                }
                self.recovered.push_back((low(id), symbol));
                self.counters.recovered += 1;
                found += 1;
            }
        }
        found
    }

    fn restart(&mut self) {
        self.started = false;
        self.span = Span::default();
        self.rows.forget_before(u64::MAX);
        self.seen = Seen::default();
    }
}

/// The id as it is on the wire.
const fn low(id: u64) -> u16 {
    let [.., high, low] = id.to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests;

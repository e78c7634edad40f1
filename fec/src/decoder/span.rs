//! The ids that the decoder thinks about, and the symbols that it has of them.

use std::collections::VecDeque;

use super::SPAN;
use crate::{Symbol, WINDOW};

/// No symbol.
const NONE: u16 = u16::MAX;

/// A run of ids; the symbols themselves lie in a pool that grows with what is held.
#[derive(Debug, Default)]
pub(super) struct Span {
    /// The id of the first slot; ids below are given up.
    base: u64,
    started: bool,
    slots: VecDeque<Slot>,
    pool: Vec<Symbol>,
    free: Vec<u16>,
    /// When an id last became part of the span.
    grown: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: u64,
    place: u16,
}

impl Span {
    /// The lowest id that can still become known.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// The id after the highest that was heard of.
    pub(super) fn next(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// The symbol of an id, if it is held.
    pub(super) fn get(&self, id: u64) -> Option<&Symbol> {
        let slot = self.slots.get(self.index(id)?)?;
        self.pool.get(usize::from(slot.place))
    }

    /// Makes room for the ids from `first` to `last`; whether they are all in the span now. The oldest give way to the newest, but what was
    /// given up stays so.
    pub(super) fn cover(&mut self, now: u64, first: u64, last: u64) -> bool {
        if !self.started || last.saturating_sub(self.next()) >= SPAN as u64 {
            self.begin(now, last);
        }
        if last >= self.next() {
            self.grown = now;
        }
        while self.next() <= last {
            if self.slots.len() == SPAN {
                self.pop();
            }
            self.slots.push_back(Slot { at: now, place: NONE });
        }
        first >= self.base
    }

    /// Keeps the symbol of an id in the span. A symbol that is held already stays.
    pub(super) fn hold(&mut self, id: u64, symbol: &Symbol) {
        let Some(index) = self.index(id) else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        if slot.place != NONE {
            return;
        }
        if let Some(place) = self.free.pop() {
            slot.place = place;
            self.pool[usize::from(place)] = *symbol;
        } else if let Ok(place) = u16::try_from(self.pool.len()) {
            slot.place = place;
            self.pool.push(*symbol);
        }
    }

    /// Gives up ids that have been in the span for longer than `keep`; whether there were any.
    pub(super) fn expire(&mut self, now: u64, keep: u64) -> bool {
        let before = self.base;
        while self.slots.front().is_some_and(|slot| now.saturating_sub(slot.at) > keep) {
            self.pop();
        }
        if self.slots.is_empty() && self.pool.capacity() > 0 && now.saturating_sub(self.grown) > super::RESTART {
            self.slots = VecDeque::new();
            self.pool = Vec::new();
            self.free = Vec::new();
        }
        self.base > before
    }

    /// Gives up all ids so far, and their memory.
    pub(super) fn shed(&mut self) {
        self.base = self.next();
        self.slots = VecDeque::new();
        self.pool = Vec::new();
        self.free = Vec::new();
    }

    /// Begins anew at `last`. Symbols shortly before it may still be recovered.
    fn begin(&mut self, now: u64, last: u64) {
        self.started = true;
        self.base = (last + 1).saturating_sub(WINDOW as u64);
        self.grown = now;
        self.pool.clear();
        self.free.clear();
        self.slots.clear();
        self.slots.extend(std::iter::repeat_n(Slot { at: now, place: NONE }, WINDOW));
    }

    fn pop(&mut self) {
        if let Some(slot) = self.slots.pop_front() {
            self.base += 1;
            if slot.place != NONE {
                self.free.push(slot.place);
            }
        }
    }

    fn index(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.base)?).ok()
    }

    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.pool.capacity() * size_of::<Symbol>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<u16>()
    }

    /// Bytes of symbols that are allocated.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.pool.capacity() * size_of::<Symbol>()
    }
}

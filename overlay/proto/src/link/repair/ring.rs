//! The cells that left lately, by the counter of their datagram, for the case that it is lost.

use super::memory::Lease;
use crate::link::clock::Nanos;
use crate::wire::cell::CELL_LEN;

/// Datagrams for which there is room at first, and at most.
const FIRST: usize = 16;
const MOST: usize = 2048;
/// Bytes of one.
pub(super) const SLOT_LEN: usize = size_of::<Slot>();

/// A cell's bytes on the wire.
pub(super) type CellBytes = [u8; CELL_LEN];

/// The cells of one datagram.
#[derive(Clone, Copy, Debug)]
pub(in crate::link) struct Slot {
    /// The datagram's counter.
    counter: u64,
    /// When it left.
    at: Nanos,
    /// The counter and the time of the datagram in which its cells left first: its own, unless they were sent again.
    pub(in crate::link) origin: u64,
    pub(in crate::link) since: Nanos,
    /// How often they were sent again.
    pub(in crate::link) again: u32,
    /// How many cells it carried.
    pub(in crate::link) count: usize,
    /// Their numbers among the protected cells, if they are such.
    pub(in crate::link) ids: [Option<u16>; 2],
    /// The cells; the second means nothing if there was one.
    pub(in crate::link) cells: [CellBytes; 2],
}

impl Slot {
    /// Whether it carried a cell that is not protected.
    pub(super) fn is_backlogged(&self) -> bool {
        self.ids.iter().take(self.count).any(Option::is_none)
    }
}

const EMPTY: Slot =
    Slot { counter: 0, at: 0, origin: 0, since: 0, again: 0, count: 0, ids: [None; 2], cells: [[0; CELL_LEN]; 2] };

/// Datagrams in the order of their counters; the oldest makes room when no more can be had.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Vec<Slot>,
    head: usize,
    len: usize,
}

impl Ring {
    /// Bytes of a ring as it is made.
    pub(super) const FIRST_BYTES: usize = FIRST * SLOT_LEN;

    pub(super) fn new() -> Self {
        Self { slots: vec![EMPTY; FIRST], head: 0, len: 0 }
    }

    /// Lends the place for the datagram with this counter, which is higher than any before. What left before `old` is
    /// forgotten; the ring grows if nothing did and `lease` allows it.
    pub(super) fn note(&mut self, now: Nanos, counter: u64, old: Nanos, lease: &mut Lease) -> &mut Slot {
        while self.len > 0 && self.slots[self.head].at < old {
            self.drop_oldest();
        }
        if self.len == self.slots.len() {
            let more = self.len.min(MOST - self.len);
            if more > 0 && lease.grow(more * SLOT_LEN) {
                self.slots.rotate_left(self.head);
                self.head = 0;
                self.slots.reserve_exact(more);
                self.slots.resize(self.len + more, EMPTY);
            } else {
                self.drop_oldest();
            }
        }
        let at = self.place(self.len);
        self.len += 1;
        let slot = &mut self.slots[at];
        (slot.counter, slot.at, slot.count, slot.ids) = (counter, now, 0, [None; 2]);
        (slot.origin, slot.since, slot.again) = (counter, now, 0);
        slot
    }

    /// Whether it has grown.
    pub(super) fn has_grown(&self) -> bool {
        self.slots.len() > FIRST
    }

    /// The datagram with this counter, if it is still here.
    pub(super) fn find(&self, counter: u64) -> Option<&Slot> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = usize::midpoint(low, high);
            let slot = &self.slots[self.place(middle)];
            match slot.counter.cmp(&counter) {
                std::cmp::Ordering::Equal => return Some(slot),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn drop_oldest(&mut self) {
        self.head = self.place(1);
        self.len -= 1;
    }

    fn place(&self, offset: usize) -> usize {
        let at = self.head + offset;
        if at < self.slots.len() { at } else { at - self.slots.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{Budget, Who};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever leaves when, a datagram that is found is the one that was noted, and the newest ones are found.
        #[test]
        fn the_newest_are_found_within_the_bounds(
            steps in proptest::collection::vec((0u64..5, 1u64..4), 1..400), kilobytes in 20usize..400,
        ) {
            let budget = Budget::new(kilobytes << 10, 0);
            let Some(mut lease) = budget.lease(Who::Relay, Ring::FIRST_BYTES) else { return Ok(()) };
            let (mut ring, mut now, mut counter, mut noted) = (Ring::new(), 0, 0, Vec::new());
            for (wait, step) in steps {
                now += wait;
                counter += step;
                let slot = ring.note(now, counter, now.saturating_sub(100), &mut lease);
                slot.count = 1;
                slot.cells[0][0] = u8::try_from(counter % 256).expect("below 256");
                noted.push((now, counter));
                prop_assert!(ring.slots.len() * SLOT_LEN <= budget.taken());
                prop_assert!(budget.taken() <= kilobytes << 10);
            }
            let room = ring.slots.len();
            for (age, (at, counter)) in noted.iter().rev().enumerate() {
                let found = ring.find(*counter);
                prop_assert!(found.is_some() || age >= room || at + 100 < now, "{} of {} is gone", age, room);
                if let Some(slot) = found {
                    prop_assert_eq!(u64::from(slot.cells[0][0]), counter % 256);
                }
            }
            prop_assert!(ring.find(counter + 1).is_none());
        }
    }
}

//! The sending side: cells that left lately, which of them to send again, and when a combination of them is due.

use std::collections::VecDeque;

use zmesh_fec::{Adapt, AdaptConfig, Encoder, SYMBOL_LEN};

use super::QUIET;
use super::memory::{Budget, Lease, Who};
use super::ring::{Ring, Slot};
use crate::link::clock::{MILLI, Nanos};
use crate::link::sent::Fate;
use crate::wire::cell::Cell;

/// Datagrams that may be sent again for each hundred that leave: more loss than this is not this link's to repair, and
/// a peer that lies gets no more out of it.
const AGAIN_PERCENT: u32 = 30;
/// Datagrams that may be sent again at once after a while without loss.
const AGAIN_BURST: u32 = 64;
/// A cell is sent again so often at most: at 1 % loss once leaves one packet of QUIC in about 1,700 lost over three links
/// (decision 0102).
const MOST_TRIES: u32 = 2;
/// A cell is worth sending again for a round trip and a half, and so much more, after it left; …
const AGAIN_WITHIN: Nanos = 60 * MILLI;
/// … but never for longer than this.
const AGAIN_LONGEST: Nanos = 600 * MILLI;
/// A repair that is due within this time leaves early beside a cell that leaves anyway.
const EARLY: Nanos = 3 * MILLI;

/// What an encoder with a full window holds.
const ENCODER_BYTES: usize = 64 * (SYMBOL_LEN + 16);
/// What a sending side holds at least.
const LEAST: usize = Ring::FIRST_BYTES + size_of::<Sender>() + ENCODER_BYTES;

/// What one link's sending side keeps while there is loss.
#[derive(Debug)]
pub(in crate::link) struct Sender {
    ring: Ring,
    lease: Lease,
    /// Counters of datagrams to send again, oldest first.
    wanted: VecDeque<u64>,
    /// Hundredths of a datagram that may be sent again.
    credit: u32,
    /// Something was lost or, before the first loss, kept.
    last_need: Nanos,
    /// Something was lost.
    lossy: bool,
    adapt: Adapt,
}

impl Sender {
    /// Begins to keep cells, because one was lost or because many are on their way; `None` when the node has no memory left for it.
    pub(in crate::link) fn new(now: Nanos, budget: &Budget, who: Who) -> Option<Box<Self>> {
        let lease = budget.lease(who, LEAST)?;
        let (ring, wanted, adapt) = (Ring::new(), VecDeque::new(), Adapt::new(AdaptConfig::default()));
        Some(Box::new(Self { ring, lease, wanted, credit: AGAIN_BURST * 100, last_need: now, lossy: false, adapt }))
    }

    /// The place for the cells of the datagram that leaves under `counter`.
    pub(in crate::link) fn slot(&mut self, now: Nanos, counter: u64, rtt: Nanos) -> &mut Slot {
        self.credit = (self.credit + AGAIN_PERCENT).min(AGAIN_BURST * 100);
        if self.ring.has_grown() && self.lease.is_over() {
            // Others have less. What was lost just now is not sent again.
            self.ring = Ring::new();
            self.lease.set(LEAST);
        }
        self.ring.note(now, counter, now.saturating_sub(2 * within(rtt)), &mut self.lease)
    }

    /// A protected cell leaves.
    pub(in crate::link) fn note_source(&mut self, now: Nanos) {
        self.adapt.handle_source(now);
    }

    /// Learns what became of a datagram.
    pub(in crate::link) fn see(&mut self, now: Nanos, counter: u64, fate: Fate, encoder: &mut Encoder) {
        match fate {
            Fate::Lost => {
                (self.last_need, self.lossy) = (now, true);
                self.adapt.handle_outcome(now, counter, false);
                if self.ring.find(counter).is_some_and(Slot::is_backlogged) {
                    self.wanted.push_back(counter);
                }
            }
            Fate::Arrived => {
                self.adapt.handle_outcome(now, counter, true);
                if let Some(slot) = self.ring.find(counter) {
                    slot.ids.into_iter().flatten().for_each(|id| encoder.acknowledge(id));
                }
            }
            // Counters are given up in their order, so `wanted` rises.
            Fate::Late => {
                if let Ok(at) = self.wanted.binary_search(&counter) {
                    self.wanted.remove(at);
                }
            }
        }
    }

    /// Keeps the cells of a datagram that leaves under `counter`, in case it is the first to be lost.
    pub(in crate::link) fn keep<'a>(
        &mut self,
        now: Nanos,
        counter: u64,
        rtt: Nanos,
        cells: impl Iterator<Item = &'a Cell>,
    ) {
        self.last_need = now;
        let slot = self.slot(now, counter, rtt);
        for (cell, bytes) in cells.zip(&mut slot.cells) {
            cell.write(bytes);
            slot.count += 1;
        }
    }

    /// Whether the link loses some: only then is anything on it different.
    pub(in crate::link) fn is_lossy(&self) -> bool {
        self.lossy
    }

    /// Learns how long datagrams stand in queues.
    pub(in crate::link) fn see_queue(&mut self, delay: Nanos) {
        self.adapt.handle_queue(delay);
    }

    /// The next datagram whose cells are to be sent again under the counter `next`, and how far back they left first.
    pub(in crate::link) fn next_again(&mut self, now: Nanos, rtt: Nanos, next: u64) -> Option<(u16, &Slot)> {
        while let Some(counter) = self.wanted.pop_front() {
            let Some(lost) = self.ring.find(counter).copied() else {
                continue;
            };
            let worth = now.saturating_sub(lost.since) <= within(rtt) && lost.again < MOST_TRIES;
            if let Ok(back) = u16::try_from(next.saturating_sub(lost.origin))
                && worth
                && self.credit >= 100
            {
                self.credit -= 100;
                let slot = self.ring.note(now, next, now.saturating_sub(2 * within(rtt)), &mut self.lease);
                (slot.count, slot.ids, slot.cells) = (lost.count, lost.ids, lost.cells);
                (slot.origin, slot.since, slot.again) = (lost.origin, lost.since, lost.again + 1);
                return Some((back, slot));
            }
        }
        None
    }

    /// Whether something may wait to be sent again.
    pub(in crate::link) fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// When the next repair is due.
    pub(in crate::link) fn repair_at(&self) -> Option<Nanos> {
        self.adapt.next_repair()
    }

    /// Whether a repair is due; it counts as sent, or as dropped, then.
    pub(in crate::link) fn take_repair(&mut self, now: Nanos) -> bool {
        self.adapt.poll_repair(now)
    }

    /// Whether a repair is due or soon will be, so that it may ride beside a cell that leaves now.
    pub(in crate::link) fn take_early(&mut self, now: Nanos) -> bool {
        self.adapt.poll_repair(now + EARLY)
    }

    /// When all this may be forgotten, if nothing more is lost.
    pub(in crate::link) fn ends(&self) -> Nanos {
        self.last_need + QUIET
    }
}

/// How long after it left a cell is worth sending again.
fn within(rtt: Nanos) -> Nanos {
    (rtt / 2 * 3 + AGAIN_WITHIN).min(AGAIN_LONGEST)
}

//! The receiving side: which protected cells were handed on, and what repairs say about those that were not.

use zmesh_fec::{Decoder, Vector};

use super::memory::{Budget, Lease};
use super::{DEADLINE, QUIET};
use crate::link::bucket::Bucket;
use crate::link::clock::{MILLI, Nanos};
use crate::link::repair::ring::CellBytes;

/// Repairs may come so much later than the last cell in them.
const LATE: Nanos = 200 * MILLI;
/// Multiply-adds of a symbol for which one link may ask in a second, and at once after a rest. Five hundred calls on a
/// link that loses 5 % need about 350,000 in a second.
const LINK_WORK: u64 = 400_000;
const LINK_BURST: u64 = 40_000;
/// The same for all links together.
const NODE_WORK: u64 = 1_000_000;
const NODE_BURST: u64 = 100_000;
/// What the dearest repair costs.
const DEAREST: u64 = 64 + 2 * 64;

/// What decoding may cost.
#[derive(Clone, Debug)]
pub(in crate::link) struct Work(Bucket);

impl Work {
    /// All links together.
    pub(in crate::link) fn of_node() -> Self {
        Self(Bucket::new(NODE_WORK, NODE_BURST, 0))
    }

    fn of_link(now: Nanos) -> Self {
        Self(Bucket::new(LINK_WORK, LINK_BURST, now))
    }

    fn allows(&self, now: Nanos) -> bool {
        self.0.allows(now, DEAREST)
    }
}

/// What one link's receiving side keeps while protected cells come.
#[derive(Debug)]
pub(in crate::link) struct Receiver {
    decoder: Decoder,
    work: Work,
    last: Nanos,
    lease: Lease,
}

impl Receiver {
    /// Begins with the first protected cell; `None` when the node has no memory left for it.
    pub(in crate::link) fn new(now: Nanos, budget: &Budget) -> Option<Box<Self>> {
        let lease = budget.lease(size_of::<Self>())?;
        Some(Box::new(Self { decoder: Decoder::new(DEADLINE + LATE), work: Work::of_link(now), last: now, lease }))
    }

    /// Takes a protected cell. Whether it is to be handed on.
    pub(in crate::link) fn source(&mut self, now: Nanos, id: u16, cell: &CellBytes) -> bool {
        self.last = now;
        let before = self.decoder.work();
        let new = self.decoder.source(now, id, cell);
        self.work.0.take(now, self.decoder.work() - before);
        new
    }

    /// Takes a repair; `false` when it was not looked at, because the link or the node had its share of work.
    pub(in crate::link) fn repair(&mut self, now: Nanos, vector: &Vector, symbol: &CellBytes, node: &mut Work) -> bool {
        if !self.work.allows(now) || !node.allows(now) {
            return false;
        }
        let before = self.decoder.work();
        self.decoder.repair(now, vector, symbol);
        let cost = self.decoder.work() - before;
        self.work.0.take(now, cost);
        node.0.take(now, cost);
        true
    }

    /// The next cell that was recovered.
    pub(in crate::link) fn poll(&mut self) -> Option<CellBytes> {
        self.decoder.poll().map(|(_, symbol)| symbol)
    }

    /// Keeps to the node's memory; `false` when there is none left for this.
    pub(in crate::link) fn settle(&mut self) -> bool {
        self.lease.set(size_of::<Self>() + self.decoder.memory())
    }

    /// Multiply-adds of a symbol that it took so far.
    #[cfg(test)]
    pub(in crate::link) fn done(&self) -> u64 {
        self.decoder.work()
    }

    /// When all this may be forgotten, if nothing more comes.
    pub(in crate::link) fn ends(&self) -> Nanos {
        self.last + QUIET
    }
}

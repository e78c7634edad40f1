//! The receiving side: which protected cells were handed on, and what repairs say about those that were not.

use zmesh_fec::{Decoder, Vector};

use super::memory::{Budget, Lease, Who};
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
/// The same for all links of relays together, and for all of strangers.
const SHARE_WORK: u64 = 800_000;
const SHARE_BURST: u64 = 80_000;
/// What the dearest repair costs.
const DEAREST: u64 = 64 + 2 * 64;

/// What decoding may cost over all links.
#[derive(Clone, Debug)]
pub(in crate::link) struct Work {
    relays: Bucket,
    strangers: Bucket,
}

impl Work {
    /// Nothing was done yet.
    pub(in crate::link) fn of_node() -> Self {
        let share = Bucket::new(SHARE_WORK, SHARE_BURST, 0);
        Self { relays: share, strangers: share }
    }

    fn share(&mut self, who: Who) -> &mut Bucket {
        match who {
            Who::Relay => &mut self.relays,
            Who::Stranger => &mut self.strangers,
        }
    }
}

/// What decoding for one link may cost. The first half of what all have is for whoever asks; of the second half a link gets
/// its part, so that a few that ask for all they can get leave the others theirs.
#[derive(Debug)]
struct Allowance {
    link: Bucket,
    part: Bucket,
}

impl Allowance {
    fn new(now: Nanos) -> Self {
        Self { link: Bucket::new(LINK_WORK, LINK_BURST, now), part: Bucket::new(1, 2 * DEAREST, now) }
    }

    /// Whether a repair may be looked at, while so many links share.
    fn allows(&mut self, now: Nanos, share: &Bucket, holders: usize) -> bool {
        // A quarter stays, so that the parts of all together never use up the whole.
        let rate = SHARE_WORK / 4 * 3 / (holders.max(1) as u64);
        self.part.set(rate, (rate / 10).max(2 * DEAREST), now);
        let plenty = share.allows(now, SHARE_BURST / 2);
        let own = self.part.allows(now, DEAREST) && share.allows(now, DEAREST);
        self.link.allows(now, DEAREST) && (plenty || own)
    }

    fn take(&mut self, now: Nanos, cost: u64, share: &mut Bucket) {
        self.link.take(now, cost);
        self.part.take(now, cost);
        share.take(now, cost);
    }
}

/// What one link's receiving side keeps while protected cells come.
#[derive(Debug)]
pub(in crate::link) struct Receiver {
    decoder: Decoder,
    work: Allowance,
    last: Nanos,
    lease: Lease,
}

impl Receiver {
    /// Begins with the first protected cell; `None` when the node has no memory left for it.
    pub(in crate::link) fn new(now: Nanos, budget: &Budget, who: Who) -> Option<Box<Self>> {
        let lease = budget.lease(who, size_of::<Self>())?;
        Some(Box::new(Self { decoder: Decoder::new(DEADLINE + LATE), work: Allowance::new(now), last: now, lease }))
    }

    /// Takes a protected cell. Whether it is to be handed on.
    pub(in crate::link) fn source(&mut self, now: Nanos, id: u16, cell: &CellBytes) -> bool {
        self.last = now;
        let before = self.decoder.work();
        let new = self.decoder.source(now, id, cell);
        self.work.link.take(now, self.decoder.work() - before);
        new
    }

    /// Takes a repair; `false` when it was not looked at, because the link or all links had their share of work.
    pub(in crate::link) fn repair(&mut self, now: Nanos, vector: &Vector, symbol: &CellBytes, node: &mut Work) -> bool {
        let share = node.share(self.lease.who());
        if !self.work.allows(now, share, self.lease.holders()) {
            return false;
        }
        let before = self.decoder.work();
        self.decoder.repair(now, vector, symbol);
        self.work.take(now, self.decoder.work() - before, share);
        true
    }

    /// The next cell that was recovered.
    pub(in crate::link) fn poll(&mut self) -> Option<CellBytes> {
        self.decoder.poll().map(|(_, symbol)| symbol)
    }

    /// Keeps to the memory that this link may have. Where that is not enough, what could still be recovered is given up, but not
    /// the knowledge of what was handed on.
    pub(in crate::link) fn settle(&mut self) {
        if !self.lease.set(size_of::<Self>() + self.decoder.memory()) || self.lease.is_over() {
            self.decoder.shed();
            self.lease.set(size_of::<Self>() + self.decoder.memory());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Three links ask for as much as they can get, and before the others in every millisecond.
    #[test]
    fn a_few_greedy_links_leave_the_others_their_part_of_the_work() {
        let mut work = Work::of_node();
        let share = work.share(Who::Stranger);
        let (mut greedy, holders) = ([0; 3].map(|_| Allowance::new(0)), 40);
        let (mut modest, mut done) = (Allowance::new(0), 0);
        for milli in 0..4_000 {
            let now = milli * MILLI;
            for link in &mut greedy {
                while link.allows(now, share, holders) {
                    link.take(now, DEAREST, share);
                    done += DEAREST;
                }
            }
            // A call on a link that loses 5 %: a repair each 10 ms, of which few are dear.
            if milli.is_multiple_of(10) {
                assert!(modest.allows(now, share, holders), "after {milli} ms");
                modest.take(now, 40, share);
            }
        }
        assert!(done > 2 * SHARE_WORK, "what nobody else wants is theirs: {done}");
        assert!(done <= 4 * SHARE_WORK + SHARE_BURST);
    }

    #[test]
    fn without_memory_no_cell_is_handed_on_twice() {
        let budget = Budget::new(0, size_of::<Receiver>() + 600);
        let mut receiver = Receiver::new(0, &budget, Who::Stranger).expect("room for a receiver and no cells");
        for id in 0..200 {
            assert!(receiver.source(0, id, &[1; 512]));
            receiver.settle();
            assert!(!receiver.source(0, id, &[1; 512]), "{id} came before");
            receiver.settle();
        }
    }
}

//! What repair may keep in memory, over all links of a node: a share for relays, one for strangers, and in each no link more
//! than its part while there is little left.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a link may hold in any case, if it is there: a sending side with its first ring and a receiving side fit.
const LEAST: usize = 64 << 10;

/// Who is behind a link. A link costs a stranger nothing, so strangers have a share of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Who {
    /// A relay: one that this node has chosen, or that the network document knows.
    Relay,
    /// Anybody else.
    Stranger,
}

/// Bytes that all links of a node together may keep for repair.
#[derive(Clone, Debug)]
pub(in crate::link) struct Budget {
    relays: Arc<Share>,
    strangers: Arc<Share>,
}

#[derive(Debug)]
struct Share {
    most: usize,
    taken: AtomicUsize,
    /// How many leases there are.
    holders: AtomicUsize,
}

impl Share {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: AtomicUsize::new(0), holders: AtomicUsize::new(0) })
    }

    /// What each of those that hold something now may hold when there is not enough for everybody.
    fn part(&self) -> usize {
        (self.most / self.holders.load(Ordering::Relaxed).max(1)).max(LEAST)
    }
}

impl Budget {
    /// So many bytes for the links of relays, and so many for those of strangers.
    pub(in crate::link) fn new(relays: usize, strangers: usize) -> Self {
        Self { relays: Share::new(relays), strangers: Share::new(strangers) }
    }

    /// Takes `bytes`; `None` when they are not there.
    pub(super) fn lease(&self, who: Who, bytes: usize) -> Option<Lease> {
        let share = match who {
            Who::Relay => &self.relays,
            Who::Stranger => &self.strangers,
        };
        share.holders.fetch_add(1, Ordering::Relaxed);
        let mut lease = Lease { share: Arc::clone(share), who, bytes: 0 };
        lease.grow(bytes).then_some(lease)
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub(in crate::link) fn taken(&self) -> usize {
        [&self.relays, &self.strangers].iter().map(|share| share.taken.load(Ordering::Relaxed)).sum()
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    share: Arc<Share>,
    who: Who,
    bytes: usize,
}

impl Lease {
    /// Takes `more` bytes; `false` when they are not there, or when they are others' while half of all is taken.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let share = &self.share;
        let taken = share.taken.fetch_add(more, Ordering::Relaxed) + more;
        let scarce = taken > share.most / 2;
        if taken > share.most || (scarce && more > 0 && self.bytes + more > share.part()) {
            share.taken.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// Changes to `bytes`; `false` when they are not there.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let less = self.bytes.saturating_sub(bytes);
        self.share.taken.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
        self.grow(bytes - self.bytes)
    }

    /// Whether this holds more than its part, of what others could not have any more.
    pub(super) fn is_over(&self) -> bool {
        let taken = self.share.taken.load(Ordering::Relaxed);
        taken > self.share.most / 4 * 3 && self.bytes > self.share.part()
    }

    /// In whose share it is.
    pub(super) fn who(&self) -> Who {
        self.who
    }

    /// How many hold something of the same share.
    pub(super) fn holders(&self) -> usize {
        self.share.holders.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.share.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        self.share.holders.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_no_more_than_the_whole_is_lent() {
        let budget = Budget::new(100, 0);
        let mut first = budget.lease(Who::Relay, 60).expect("room");
        assert!(budget.lease(Who::Relay, 50).is_none() && budget.taken() == 60);
        let second = budget.lease(Who::Relay, 30).expect("room");
        assert!(first.grow(10) && !first.grow(1));
        assert!(first.set(40) && budget.taken() == 70 && !first.set(80));
        drop(first);
        assert_eq!((budget.taken(), second.holders()), (30, 1));
        drop(second);
        assert_eq!(budget.taken(), 0);
    }

    /// 250 strangers take what they get, in both directions, and give back only what they must.
    #[test]
    fn strangers_leave_relays_and_each_other_their_parts() {
        let budget = Budget::new(16 << 20, 48 << 20);
        let mut greedy: Vec<Lease> = Vec::new();
        for _ in 0..500 {
            let Some(mut lease) = budget.lease(Who::Stranger, 50 << 10) else { continue };
            while lease.bytes < 2 << 20 && lease.grow(16 << 10) {}
            greedy.push(lease);
            for lease in &mut greedy {
                if lease.is_over() {
                    lease.set(50 << 10);
                }
            }
        }
        let mut relay = budget.lease(Who::Relay, 52 << 10).expect("relays have their own");
        assert!(relay.grow(2 << 20), "as much as one link can use");
        let mut late = budget.lease(Who::Stranger, 52 << 10).expect("a part for who comes late");
        assert!(late.grow(8 << 10));
        assert!(budget.taken() <= 64 << 20);
    }
}

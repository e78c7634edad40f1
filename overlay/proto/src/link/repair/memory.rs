//! What repair may keep in memory, over all links of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all links of a node together may keep for repair.
#[derive(Clone, Debug)]
pub(in crate::link) struct Budget {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Budget {
    pub(in crate::link) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Takes `bytes`; `None` when they are not there.
    pub(super) fn lease(&self, bytes: usize) -> Option<Lease> {
        let mut lease = Lease { budget: self.clone(), bytes: 0 };
        lease.grow(bytes).then_some(lease)
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    pub(in crate::link) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A part of a [`Budget`], given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    budget: Budget,
    bytes: usize,
}

impl Lease {
    /// Takes `more` bytes; `false` when they are not there.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let taken = self.budget.taken.fetch_add(more, Ordering::Relaxed) + more;
        if taken > self.budget.most {
            self.budget.taken.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.bytes += more;
        true
    }

    /// Changes to `bytes`; `false` when they are not there.
    pub(super) fn set(&mut self, bytes: usize) -> bool {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.taken.fetch_sub(less, Ordering::Relaxed);
        self.bytes -= less;
        self.grow(bytes - self.bytes)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_no_more_than_the_whole_is_lent() {
        let budget = Budget::new(100);
        let mut first = budget.lease(60).expect("room");
        assert!(budget.lease(50).is_none() && budget.taken() == 60);
        let second = budget.lease(30).expect("room");
        assert!(first.grow(10) && !first.grow(1));
        assert!(first.set(40) && budget.taken() == 70 && !first.set(80));
        drop(first);
        assert_eq!(budget.taken(), 30);
        drop(second);
        assert_eq!(budget.taken(), 0);
    }
}

//! Which symbols were delivered: arrived, or recovered.

/// Ids that are remembered. A link's own window refuses datagrams about as old.
const REACH: u64 = 4096;
const WORDS: usize = (REACH / 64) as usize;

/// A sliding bit map over ids.
#[derive(Debug)]
pub(super) struct Seen {
    bits: [u64; WORDS],
    /// The id after the newest that was marked; 0 before the first.
    next: u64,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { bits: [0; WORDS], next: 0 }
    }
}

impl Seen {
    /// Whether the id is too old to be known.
    pub(super) const fn is_forgotten(&self, id: u64) -> bool {
        id + REACH < self.next
    }

    /// Whether nothing was marked yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// Marks an id; whether it was new. A forgotten one is not.
    pub(super) fn mark(&mut self, id: u64) -> bool {
        if self.is_forgotten(id) {
            return false;
        }
        if id >= self.next {
            if id - self.next >= REACH {
                self.bits = [0; WORDS];
            } else {
                (self.next..id).for_each(|between| *self.word(between) &= !bit(between));
            }
            self.next = id + 1;
            *self.word(id) |= bit(id);
            return true;
        }
        let new = *self.word(id) & bit(id) == 0;
        *self.word(id) |= bit(id);
        new
    }

    fn word(&mut self, id: u64) -> &mut u64 {
        // The remainder is below WORDS.
        #[allow(clippy::cast_possible_truncation, reason = "a remainder below WORDS")]
        let place = (id / 64 % WORDS as u64) as usize;
        &mut self.bits[place]
    }
}

const fn bit(id: u64) -> u64 {
    1 << (id % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_edge_of_memory() {
        let mut seen = Seen::default();
        assert!(seen.mark(10_000));
        assert!(!seen.mark(10_000));
        assert!(!seen.is_forgotten(10_001 - REACH));
        assert!(seen.mark(10_001 - REACH), "the oldest that is remembered");
        assert!(!seen.mark(10_000 - REACH), "older: nobody can tell");
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(ids in prop::collection::vec(50_000u64..56_000, 1..200)) {
            let (mut seen, mut set) = (Seen::default(), BTreeSet::new());
            for id in ids {
                let newest = set.last().copied().unwrap_or(id);
                let expected = id + REACH > newest && set.insert(id);
                prop_assert_eq!(seen.mark(id), expected, "{}", id);
            }
        }
    }
}

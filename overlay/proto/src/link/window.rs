//! The replay window over datagram counters.

const WORDS: usize = 64;
/// Counters that the window remembers below the highest one: 63 words, since the 64th is being filled.
pub(super) const WINDOW: u64 = (WORDS as u64 - 1) * 64;

/// Remembers which of the last [`WINDOW`] counters were seen. A ring of words as in RFC 6479: moving on clears whole
/// words, so nothing is shifted.
#[derive(Clone, Debug)]
pub(super) struct ReplayWindow {
    /// One above the highest counter seen.
    end: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    pub(super) fn new() -> Self {
        Self { end: 0, words: [0; WORDS] }
    }

    fn place(counter: u64) -> (usize, u64) {
        let word = usize::try_from(counter / 64 % WORDS as u64).expect("below the number of words");
        (word, 1 << (counter % 64))
    }

    /// Whether the counter is new and not too old. Ask before decryption.
    pub(super) fn is_fresh(&self, counter: u64) -> bool {
        if counter >= self.end {
            return counter < u64::MAX;
        }
        let (word, bit) = Self::place(counter);
        self.end - 1 - counter < WINDOW && self.words[word] & bit == 0
    }

    /// Marks a counter as seen. Only after its datagram proved authentic, and only if it [is fresh](Self::is_fresh).
    pub(super) fn mark(&mut self, counter: u64) {
        if counter >= self.end {
            let from = self.end.div_ceil(64);
            let to = counter / 64;
            let from = from.max((to + 1).saturating_sub(WORDS as u64));
            for word in from..=to {
                let (word, _) = Self::place(word * 64);
                self.words[word] = 0;
            }
            self.end = counter + 1;
        }
        let (word, bit) = Self::place(counter);
        self.words[word] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_set(start in 0u64..10_000, steps in proptest::collection::vec(0u64..9_000, 1..400)) {
            let (mut window, mut seen) = (ReplayWindow::new(), BTreeSet::new());
            for step in steps {
                let counter = start + step;
                let old = seen.last().is_some_and(|highest| counter + WINDOW <= *highest);
                let fresh = !old && !seen.contains(&counter);
                prop_assert_eq!(window.is_fresh(counter), fresh);
                if fresh {
                    window.mark(counter);
                    seen.insert(counter);
                }
            }
        }

        #[test]
        fn far_jumps_forget_everything_and_never_panic(counters in proptest::collection::vec(any::<u64>(), 1..50)) {
            let mut window = ReplayWindow::new();
            for counter in counters {
                if window.is_fresh(counter) {
                    window.mark(counter);
                    prop_assert!(!window.is_fresh(counter));
                }
            }
        }
    }

    #[test]
    fn the_window_is_wide_enough_and_the_last_counter_is_reserved() {
        const { assert!(WINDOW >= 2048) };
        let mut window = ReplayWindow::new();
        assert!(!window.is_fresh(u64::MAX));
        window.mark(WINDOW);
        assert!(window.is_fresh(1) && !window.is_fresh(0));
    }
}

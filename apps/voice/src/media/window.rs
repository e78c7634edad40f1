//! A sliding window over 64-bit counters that lets each one in once (RFC 4303, section 3.4.3).

/// Counters that the window remembers behind the highest one: 20 s of messages.
pub const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// Remembers which counters have been seen. Fixed size.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One more than the highest counter seen.
    next: u64,
    bits: [u64; WORDS],
}

impl ReplayWindow {
    /// A window that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `counter` is neither seen nor too old. Changes nothing, so that it can run before decryption.
    #[must_use]
    pub fn is_fresh(&self, counter: u64) -> bool {
        if counter == u64::MAX {
            return false;
        }
        if counter >= self.next {
            return true;
        }
        self.next - counter <= WINDOW && self.bits[Self::word(counter)] & Self::bit(counter) == 0
    }

    /// Marks `counter` as seen. Returns whether it was fresh.
    pub fn insert(&mut self, counter: u64) -> bool {
        if !self.is_fresh(counter) {
            return false;
        }
        if counter >= self.next {
            if counter - self.next >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for skipped in self.next..counter {
                    self.bits[Self::word(skipped)] &= !Self::bit(skipped);
                }
            }
            self.next = counter + 1;
        }
        self.bits[Self::word(counter)] |= Self::bit(counter);
        true
    }

    fn word(counter: u64) -> usize {
        usize::try_from(counter / 64 % WORDS as u64).expect("below 16")
    }

    fn bit(counter: u64) -> u64 {
        1 << (counter % 64)
    }
}

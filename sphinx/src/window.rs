//! Which cell numbers have been seen.

use crate::error::CellError;

/// Numbers behind the highest one seen that are still told apart.
pub(crate) const WINDOW: u64 = 8192;

/// One more word than the window is long, so that the window never meets its own end.
const WORDS: usize = 129;
const WORD: u64 = u64::BITS as u64;

/// A sliding window over 64-bit numbers. The bits (1 kB) exist only while cells flow.
#[derive(Clone, Default)]
pub(crate) struct Window {
    /// One past the highest number seen.
    next: u64,
    /// Everything below is refused, whatever the bits say.
    floor: u64,
    /// Bit `n % 64` of word `n / 64 % WORDS` tells whether `n` was seen, for the last `WINDOW` numbers.
    bits: Option<Box<[u64; WORDS]>>,
}

impl Window {
    /// One past the highest number seen.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The lowest number that may still pass.
    pub(crate) fn lowest(&self) -> u64 {
        self.floor.max(self.next.saturating_sub(WINDOW))
    }

    /// Whether `number` may pass; changes nothing.
    pub(crate) fn check(&self, number: u64) -> Result<(), CellError> {
        if number >= self.next.max(self.floor) {
            return Ok(());
        }
        if number < self.lowest() {
            return Err(CellError::TooOld);
        }
        match &self.bits {
            Some(bits) if bits[word(number)] & bit(number) != 0 => Err(CellError::Replayed),
            _ => Ok(()),
        }
    }

    /// Remembers a number that passed the check.
    pub(crate) fn mark(&mut self, number: u64) {
        let bits = self.bits.get_or_insert_with(|| Box::new([0; WORDS]));
        if number >= self.next {
            let fresh = (number / WORD).saturating_sub(self.next.saturating_sub(1) / WORD).min(WORDS as u64);
            for back in 0..fresh {
                bits[word(number - back * WORD)] = 0;
            }
            self.next = number + 1;
        }
        bits[word(number)] |= bit(number);
    }

    /// Takes the next number, at the end that sends.
    pub(crate) fn issue(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Gives the memory back: from now on only numbers above the highest one pass.
    pub(crate) fn collapse(&mut self) {
        self.floor = self.next;
        self.bits = None;
    }
}

fn word(number: u64) -> usize {
    usize::try_from(number / WORD % WORDS as u64).expect("the remainder is below 129")
}

fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}

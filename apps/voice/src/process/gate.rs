//! Lets sound through or holds it back, without clicks.
//!
//! What is held back is replaced by a faint hiss, never by digital silence: an encoder is quicker with nothing than with something, and when
//! a message leaves must not tell whether somebody speaks (decision 0121).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is left of a pause in the talk, as a factor: −20 dB. A trace of the room is easier to listen to than holes.
const PAUSE: f32 = 0.1;
/// How fast the gate opens, per sample: in 4 ms, so that a consonant's beginning is kept.
const OPENING: f32 = 1.0 / 192.0;
/// How fast it closes, per sample: in 20 ms.
const CLOSING: f32 = 1.0 / 960.0;
/// Height of the hiss, in units of 16-bit samples: evenly distributed in ±8, −77 dBFS.
const HISS: f32 = 8.0;

/// The key of push to talk. Clones are the same key; it begins off.
#[derive(Clone, Debug, Default)]
pub struct TalkKey(Arc<AtomicBool>);

impl TalkKey {
    /// A key that is off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Switches it on or off.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Switches it over; tells whether it is on now.
    pub fn toggle(&self) -> bool {
        !self.0.fetch_xor(true, Ordering::Relaxed)
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Opens and closes by a ramp.
#[derive(Debug)]
pub struct Gate {
    factor: f32,
    hiss: u32,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { factor: 0.0, hiss: 0x9E37_79B9 }
    }

    /// Lets `sound` through while `open`, else holds it back: altogether if `strict`, else all but a trace.
    pub fn apply(&mut self, open: bool, strict: bool, sound: &mut [f32]) {
        let closed = if strict { 0.0 } else { PAUSE };
        let target = if open { 1.0 } else { closed };
        for value in sound {
            self.factor = if self.factor < target {
                (self.factor + OPENING).min(target)
            } else {
                (self.factor - CLOSING).max(target)
            };
            *value = *value * self.factor + self.hiss() * (1.0 - self.factor);
        }
    }

    /// The next value of a hiss: a linear congruential generator. It need not be hard to guess, only different from nothing.
    fn hiss(&mut self) -> f32 {
        self.hiss = self.hiss.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let byte = self.hiss.to_be_bytes()[0];
        (f32::from(byte) - 127.5) / 127.5 * HISS
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

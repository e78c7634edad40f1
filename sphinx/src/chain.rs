//! A chain: the cells of one direction and lane at one place, with their keys and the window over their numbers.

use std::time::{Duration, Instant};

use crate::{
    error::CellError,
    number,
    phase::{PhaseKeys, phase_of},
    secret::Secret,
    wide_block::{TWEAK_LEN, WideBlock},
    window::Window,
};

/// Counters end here: 2⁴⁸ cells are 140 petabytes.
pub(crate) const COUNTER_END: u64 = 1 << 48;

/// A chain without cells for this long gives its memory back. No cell is on its way for that long.
pub(crate) const QUIET: Duration = Duration::from_secs(30);

/// Away from or towards the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// The tweak of a cell layer: counter, direction, and the lane on the hop's link towards the origin.
pub(crate) fn tweak(direction: Direction, lane: u8, counter: u64) -> [u8; TWEAK_LEN] {
    let mut tweak = [0; TWEAK_LEN];
    tweak[..8].copy_from_slice(&counter.to_le_bytes());
    tweak[8] = match direction {
        Direction::Forward => 1,
        Direction::Backward => 2,
    };
    tweak[9] = lane;
    tweak
}

/// The cells of one direction and lane at a relay.
pub(crate) struct Chain {
    keys: PhaseKeys,
    window: Window,
    used: Instant,
}

impl Chain {
    pub(crate) fn new(root: &Secret<32>, now: Instant) -> Self {
        Self { keys: PhaseKeys::new(root), window: Window::default(), used: now }
    }

    /// Checks a wire counter and, if it may pass, marks it and returns the whole counter and its cipher.
    ///
    /// The window moves before anything is authenticated, because a hop in the middle cannot authenticate: a neighbour can push it at
    /// most to the end of the next phase per cell, and each cell that it makes up for that becomes noise that ends the circuit at
    /// the far end.
    pub(crate) fn admit(&mut self, now: Instant, low: u32) -> Result<(u64, &WideBlock), CellError> {
        let counter = admit(&mut self.window, &mut self.keys, now, low)?;
        self.used = now;
        Ok((counter, self.keys.cipher(phase_of(counter))?))
    }

    /// The next counter and its cipher, at the end that sends. The key of a finished phase is erased at once.
    pub(crate) fn issue(&mut self, now: Instant) -> Result<(u64, &WideBlock), CellError> {
        if self.window.next() >= COUNTER_END {
            return Err(CellError::Exhausted);
        }
        let counter = self.window.issue();
        self.used = now;
        self.keys.advance(now, phase_of(counter));
        self.keys.expire(now, counter);
        Ok((counter, self.keys.cipher(phase_of(counter))?))
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if is_quiet(self.used, now) {
            self.window.collapse();
            self.keys.fold();
        }
        self.keys.expire(now, self.window.lowest());
    }
}

/// Extends a wire counter and passes it through the window and the phases, moving both.
pub(crate) fn admit(window: &mut Window, keys: &mut PhaseKeys, now: Instant, low: u32) -> Result<u64, CellError> {
    let counter = number::extend(low, window.next());
    if counter >= COUNTER_END {
        return Err(CellError::Exhausted);
    }
    window.check(counter)?;
    keys.check(now, phase_of(counter))?;
    window.mark(counter);
    keys.advance(now, phase_of(counter));
    keys.expire(now, window.lowest());
    Ok(counter)
}

/// Whether a chain that was last used then may give its memory back.
pub(crate) fn is_quiet(used: Instant, now: Instant) -> bool {
    now.saturating_duration_since(used) >= QUIET
}

/// A chain that need not exist yet: until its first cell it is its root secret, and the root is erased then.
pub(crate) enum Lane {
    Root(Secret<32>),
    Open(Box<Chain>),
}

impl Lane {
    pub(crate) fn open(&mut self, now: Instant) -> &mut Chain {
        if let Self::Root(root) = self {
            *self = Self::Open(Box::new(Chain::new(root, now)));
        }
        match self {
            Self::Open(chain) => chain,
            Self::Root(_) => unreachable!("opened above"),
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        if let Self::Open(chain) = self {
            chain.expire(now);
        }
    }
}

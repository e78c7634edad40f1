//! A chain: the cells of one direction and lane at one place, with their keys and the window over their numbers.

use std::time::{Duration, Instant};

use crate::{
    error::CellError,
    number,
    phase::{PhaseKeys, phase_of},
    secret::Secret,
    wide_block::{TWEAK_LEN, WideBlock},
    window::{WINDOW, Window},
};

/// Counters end here: 2⁴⁸ cells are 140 petabytes.
pub(crate) const COUNTER_END: u64 = 1 << 48;

/// A chain without cells for this long gives its memory back. No cell is on its way for that long.
pub(crate) const QUIET: Duration = Duration::from_secs(30);

/// How far a number may jump ahead at once: as far as the window reaches back.
const JUMP: u64 = WINDOW;

/// How much further it may jump for each of these that passed without a cell: 250,000 cells a second, 1 Gbit/s.
const JUMP_STEP: Duration = Duration::from_micros(4);

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
    /// The window moves before anything is authenticated, because a hop in the middle cannot authenticate: a neighbour can push it as far
    /// as [`admit`] lets a number jump, and never beyond the next phase. Each cell that it makes up for that becomes noise, which an honest
    /// far end answers by ending the circuit.
    pub(crate) fn admit(&mut self, now: Instant, low: u32) -> Result<(u64, &WideBlock), CellError> {
        let counter = admit(&mut self.window, &mut self.keys, self.used, now, low)?;
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

/// Extends a wire counter and passes it through the window and the phases, moving both. `used` is when the last cell passed.
///
/// Numbers that jump are written by the sender's whim and read by everybody on the path, so a jump may be no longer than what an outage
/// of that length at the highest speed explains. The bound grows while cells are refused: no outage ends a circuit by it.
pub(crate) fn admit(
    window: &mut Window,
    keys: &mut PhaseKeys,
    used: Instant,
    now: Instant,
    low: u32,
) -> Result<u64, CellError> {
    let counter = number::extend(low, window.next());
    if counter >= COUNTER_END {
        return Err(CellError::Exhausted);
    }
    window.check(counter)?;
    if counter > window.next().saturating_add(longest_jump(used, now)) {
        return Err(CellError::TooFarAhead);
    }
    keys.check(now, phase_of(counter))?;
    window.mark(counter);
    keys.advance(now, phase_of(counter));
    keys.expire(now, window.lowest());
    Ok(counter)
}

/// How many numbers a cell may leave out.
fn longest_jump(used: Instant, now: Instant) -> u64 {
    let steps = now.saturating_duration_since(used).as_micros() / JUMP_STEP.as_micros();
    JUMP.saturating_add(u64::try_from(steps).unwrap_or(u64::MAX))
}

/// Whether a chain that was last used then may give its memory back.
pub(crate) fn is_quiet(used: Instant, now: Instant) -> bool {
    now.saturating_duration_since(used) >= QUIET
}

/// A chain that need not exist yet: until its first cell it is its root secret, and the root is erased then. Its time begins with that
/// cell, so that the first number of a lane is bounded more tightly than one after a silence.
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

//! The origin's half of a circuit.

use std::{fmt, time::Instant};

use crate::{
    BODY_LEN,
    chain::{COUNTER_END, Direction, admit, is_quiet, tweak},
    error::CellError,
    number::{self, LANES},
    phase::{PhaseKeys, phase_of},
    plain::Plain,
    route::Routing,
    setup::CircuitKeys,
    window::Window,
};

/// The origin's half of a circuit: seals cells for any hop, opens cells from any hop.
///
/// Dropping it erases every key. Call [`OriginCircuit::expire`] now and then (every few seconds), so that old phase keys go in time.
pub struct OriginCircuit {
    /// First counter bits on the first link.
    start: u32,
    forward: Forward,
    /// By lane on the first link.
    backward: [Option<Backward>; LANES],
}

/// All forward cells of the circuit, whichever hop they are for.
struct Forward {
    /// By hop.
    keys: Vec<PhaseKeys>,
    /// The next cell's counter.
    next: u64,
    /// The phase of the latest cell that went all the way.
    reached: u64,
    used: Instant,
}

/// The backward cells of one hop.
struct Backward {
    /// Keys of that hop and of those before it, first hop first, and the lane as each of them knows it.
    layers: Vec<(PhaseKeys, u8)>,
    window: Window,
    used: Instant,
}

impl OriginCircuit {
    pub(crate) fn new<'a>(hops: impl Iterator<Item = (CircuitKeys, &'a Routing)>, now: Instant) -> Self {
        let mut start = None;
        let mut forward = Vec::new();
        let mut backward = [const { None }; LANES];
        let mut before: Vec<(CircuitKeys, &Routing)> = Vec::new();
        for (keys, routing) in hops {
            start.get_or_insert(routing.start);
            forward.push(PhaseKeys::new(&keys.forward));
            before.push((keys, routing));
            // The hop's own lane, and what the hops before it make of it, one after the other.
            let mut lane = routing.own_lane;
            let mut layers = Vec::with_capacity(before.len());
            for (number, (keys, routing)) in before.iter().enumerate().rev() {
                if number + 1 < before.len() {
                    lane ^= routing.lane_mask;
                }
                layers.push((PhaseKeys::new(&keys.backward[usize::from(lane)]), lane));
            }
            layers.reverse();
            backward[usize::from(lane)] = Some(Backward { layers, window: Window::default(), used: now });
        }
        let forward = Forward { keys: forward, next: 0, reached: 0, used: now };
        Self { start: start.unwrap_or_default(), forward, backward }
    }

    /// How many hops the circuit has. Hops are counted from 0, the one next to the origin.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.forward.keys.len()
    }

    /// Makes a cell for one hop and returns its number on the first link.
    ///
    /// # Errors
    /// [`CellError::NoSuchHop`], [`CellError::PayloadTooLong`]. [`CellError::PhaseNotOpen`] for a cell to an earlier hop that would open
    /// a key phase (every 65,536 cells): later hops do not see such a cell and must not be left a whole phase behind, so a phase is
    /// always opened by a cell for the last hop. [`CellError::Exhausted`] after 2⁴⁸ cells: end the circuit.
    pub fn seal(
        &mut self,
        now: Instant,
        hop: usize,
        kind: u8,
        payload: &[u8],
        body: &mut [u8; BODY_LEN],
    ) -> Result<u32, CellError> {
        let last = self.hops() - 1;
        if hop > last {
            return Err(CellError::NoSuchHop);
        }
        let counter = self.forward.next;
        let phase = phase_of(counter);
        if counter >= COUNTER_END {
            return Err(CellError::Exhausted);
        }
        if hop < last && phase > self.forward.reached {
            return Err(CellError::PhaseNotOpen);
        }
        Plain::write(kind, payload, body)?;
        self.forward.next += 1;
        self.forward.used = now;
        if hop == last {
            self.forward.reached = phase;
        }
        for keys in &mut self.forward.keys {
            keys.advance(now, phase);
            keys.expire(now, counter);
        }
        let tweak = tweak(Direction::Forward, 0, counter);
        for keys in self.forward.keys[..=hop].iter_mut().rev() {
            keys.cipher(phase)?.encrypt(&tweak, body);
        }
        Ok(number::join(0, number::add(number::low(counter), self.start)))
    }

    /// Opens a cell that came back, in place, and says which hop sent it.
    ///
    /// # Errors
    /// The number's ([`CellError::Replayed`], [`CellError::TooOld`], [`CellError::TooFarAhead`]): drop the cell.
    /// [`CellError::Forged`] or [`CellError::Exhausted`]: end the circuit. A cell on a lane that belongs to no hop is forged: relays
    /// cannot tell such a lane and pass its cells on, but no honest relay makes one.
    pub fn open(&mut self, now: Instant, number: u32, body: &mut [u8; BODY_LEN]) -> Result<(usize, Plain), CellError> {
        let (lane, low) = number::split(number);
        let Some(lane) = self.backward[usize::from(lane)].as_mut() else {
            body.fill(0);
            return Err(CellError::Forged);
        };
        let counter = lane.admit(now, number::subtract(low, self.start))?;
        for (keys, label) in &mut lane.layers {
            keys.cipher(phase_of(counter))?.decrypt(&tweak(Direction::Backward, *label, counter), body);
        }
        if !Plain::is_authentic(body) {
            body.fill(0);
            return Err(CellError::Forged);
        }
        Ok((lane.layers.len() - 1, Plain::read(body)?))
    }

    /// Erases keys whose time is over, and gives the memory of quiet lanes back. Cheap.
    pub fn expire(&mut self, now: Instant) {
        let quiet = is_quiet(self.forward.used, now);
        for keys in &mut self.forward.keys {
            keys.expire(now, self.forward.next);
            if quiet {
                keys.fold();
            }
        }
        for lane in self.backward.iter_mut().flatten() {
            lane.expire(now);
        }
    }
}

impl Backward {
    /// The first layer's keys decide; the others go through the same phases at the same times.
    fn admit(&mut self, now: Instant, low: u32) -> Result<u64, CellError> {
        let (first, others) = self.layers.split_first_mut().ok_or(CellError::UnknownLane)?;
        let counter = admit(&mut self.window, &mut first.0, self.used, now, low)?;
        self.used = now;
        for (keys, _) in others {
            keys.advance(now, phase_of(counter));
            keys.expire(now, self.window.lowest());
        }
        Ok(counter)
    }

    fn expire(&mut self, now: Instant) {
        if is_quiet(self.used, now) {
            self.window.collapse();
            self.layers.iter_mut().for_each(|(keys, _)| keys.fold());
        }
        for (keys, _) in &mut self.layers {
            keys.expire(now, self.window.lowest());
        }
    }
}

impl fmt::Debug for OriginCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OriginCircuit({} hops, [redacted])", self.hops())
    }
}

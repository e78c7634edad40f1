//! A relay's half of a circuit.

use std::{fmt, time::Instant};

use crate::{
    BODY_LEN,
    chain::{Chain, Direction, Lane, tweak},
    error::CellError,
    number::{self, LANES},
    plain::Plain,
    route::Routing,
    setup::CircuitKeys,
};

/// What became of a forward cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// It is for this relay: head here, payload in the body.
    Mine(Plain),
    /// It goes on to the next relay.
    Onward {
        /// Its number on the next link.
        number: u32,
    },
}

/// A relay's half of a circuit: takes one layer off cells that come from the origin, puts one on cells that go there.
///
/// Dropping it erases every key. Call [`HopCircuit::expire`] now and then (every few seconds), so that old phase keys go in time and a
/// circuit at rest gives its memory back.
pub struct HopCircuit {
    last: bool,
    /// First counter bits on the link towards the origin, and on the next link.
    start: u32,
    next_start: u32,
    shift: u32,
    own_lane: u8,
    lane_mask: u8,
    forward: Chain,
    /// By lane on the link towards the origin.
    backward: [Lane; LANES],
}

impl HopCircuit {
    pub(crate) fn new(keys: CircuitKeys, routing: &Routing, now: Instant) -> Self {
        let CircuitKeys { forward, backward, .. } = keys;
        Self {
            last: routing.next.is_none(),
            start: routing.start,
            next_start: number::add(routing.start, routing.shift),
            shift: routing.shift,
            own_lane: routing.own_lane,
            lane_mask: routing.lane_mask,
            forward: Chain::new(&forward, now),
            backward: backward.map(Lane::Root),
        }
    }

    /// Takes a forward cell's layer off, in place.
    ///
    /// # Errors
    /// The number's ([`CellError::Replayed`], [`CellError::TooOld`], [`CellError::TooFarAhead`], [`CellError::UnknownLane`]): the body
    /// is untouched, drop the cell. [`CellError::Forged`] or [`CellError::Exhausted`]: end the circuit.
    pub fn forward(&mut self, now: Instant, number: u32, body: &mut [u8; BODY_LEN]) -> Result<Forwarded, CellError> {
        let (lane, low) = number::split(number);
        if lane != 0 {
            return Err(CellError::UnknownLane);
        }
        let (counter, cipher) = self.forward.admit(now, number::subtract(low, self.start))?;
        cipher.decrypt(&tweak(Direction::Forward, 0, counter), body);
        if Plain::is_authentic(body) {
            return Plain::read(body).map(Forwarded::Mine);
        }
        if self.last {
            body.fill(0);
            return Err(CellError::Forged);
        }
        Ok(Forwarded::Onward { number: number::join(0, number::add(low, self.shift)) })
    }

    /// Puts a layer on a cell that the next relay sent towards the origin, in place, and returns its number on the link there.
    ///
    /// # Errors
    /// The number's ([`CellError::Replayed`], [`CellError::TooOld`], [`CellError::TooFarAhead`], [`CellError::UnknownLane`], the last
    /// also at the last hop): the body is untouched, drop the cell. [`CellError::Exhausted`]: end the circuit.
    pub fn backward(&mut self, now: Instant, number: u32, body: &mut [u8; BODY_LEN]) -> Result<u32, CellError> {
        let (lane, low) = number::split(number);
        let lane = lane ^ self.lane_mask;
        if self.last || lane == self.own_lane {
            return Err(CellError::UnknownLane);
        }
        let low = number::subtract(low, self.next_start);
        let (counter, cipher) = self.backward[usize::from(lane)].open(now).admit(now, low)?;
        cipher.encrypt(&tweak(Direction::Backward, lane, counter), body);
        Ok(number::join(lane, number::add(low, self.start)))
    }

    /// Makes a cell of this relay's own for the origin and returns its number.
    ///
    /// # Errors
    /// [`CellError::PayloadTooLong`], or [`CellError::Exhausted`] when the circuit must be replaced.
    pub fn originate(
        &mut self,
        now: Instant,
        kind: u8,
        payload: &[u8],
        body: &mut [u8; BODY_LEN],
    ) -> Result<u32, CellError> {
        Plain::write(kind, payload, body)?;
        let (counter, cipher) = self.backward[usize::from(self.own_lane)].open(now).issue(now)?;
        cipher.encrypt(&tweak(Direction::Backward, self.own_lane, counter), body);
        Ok(number::join(self.own_lane, number::add(number::low(counter), self.start)))
    }

    /// Erases keys whose time is over, and gives the memory of quiet chains back. Cheap.
    pub fn expire(&mut self, now: Instant) {
        self.forward.expire(now);
        self.backward.iter_mut().for_each(|lane| lane.expire(now));
    }
}

impl fmt::Debug for HopCircuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HopCircuit([redacted])")
    }
}

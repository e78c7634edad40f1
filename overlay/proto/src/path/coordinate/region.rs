//! Coarse cells of the map.

use std::fmt;

use crate::directory::Coordinate;

/// The side of a cell, in tenths of a millisecond.
const SIDE: i16 = 400;

/// A cell of the map, 40 ms wide: nodes of one region are near to each other, whatever country they are in. It says nothing
/// of the access link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Region {
    /// Along the first axis, in cells.
    pub x: i8,
    /// Along the second axis, in cells.
    pub y: i8,
}

impl Region {
    /// The region of a place.
    #[must_use]
    pub fn of(place: Coordinate) -> Self {
        let cell = |along: i16| i8::try_from(along.div_euclid(SIDE)).expect("an i16 has fewer than 128 cells each way");
        Self { x: cell(place.x), y: cell(place.y) }
    }
}

impl fmt::Display for Region {
    /// `+2-1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:+}{:+}", self.x, self.y)
    }
}

//! What the network measured of a relay, apart from what the relay says about itself.

use std::time::Duration;

/// What was measured of one relay. The default says that nothing was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Measure {
    /// What it forwards at least, in kB/s; 0 where nobody measured it.
    pub capacity: u32,
    /// Where it stands on the map of latencies.
    pub place: Option<Coordinate>,
}

/// A place on a map on which distance is the round-trip time: two dimensions and a height that stands for the access
/// link (Dabek et al., *Vivaldi*, SIGCOMM 2004). All three are in tenths of a millisecond.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Coordinate {
    /// Along the first axis.
    pub x: i16,
    /// Along the second axis.
    pub y: i16,
    /// Above the plane: what every path from here takes besides.
    pub height: u16,
}

impl Coordinate {
    /// The round-trip time to be expected between two places.
    #[must_use]
    pub fn round_trip(self, other: Self) -> Duration {
        let (dx, dy) = (f64::from(self.x) - f64::from(other.x), f64::from(self.y) - f64::from(other.y));
        let tenths = dx.hypot(dy) + f64::from(self.height) + f64::from(other.height);
        Duration::from_secs_f64(tenths / 10_000.0)
    }
}

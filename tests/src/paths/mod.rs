//! What weighing relays by capacity and latency gains, and what it costs in anonymity: a report over a synthetic network.
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | a network of relays in cities, with heavy-tailed capacities and a map of latencies |
//! | `agreed` | the document on which voters agree about it |
//! | [`adversary`] | who holds a share of the capacity, and how often he stands at both ends |
//! | [`report`] | the tables |

pub mod adversary;
mod agreed;
pub mod model;
pub mod report;
#[cfg(test)]
mod tests;

use zmesh_proto::path::{Floor, Preference, Strength};

/// One way to choose, by name.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What the tables call it.
    pub name: &'static str,
    /// What the choice prefers.
    pub preference: Preference,
}

/// Nothing is held back.
const NO_FLOOR: Floor = Floor { entropy: 0, min_entropy: 0, adversary: 10 };

const fn free(name: &'static str, capacity: u8, latency: u8) -> Way {
    Way { name, preference: Preference { strength: Strength { capacity, latency }, floor: NO_FLOOR } }
}

/// All paths alike.
pub const UNIFORM: Way = free("uniform", 0, 0);
/// In proportion to capacity.
pub const CAPACITY: Way = free("capacity", 4, 0);
/// The default, within the floor.
pub const DEFAULT: Way = Way { name: "default (2 bits, with floor)", preference: Preference::DEFAULT };
/// The strongest preference for quick paths, and no floor.
pub const QUICKEST: Way = free("capacity, 6 bits", 4, 12);
/// The same within the floor.
pub const FLOORED: Way = Way {
    name: "6 bits, with floor",
    preference: Preference { strength: Strength { capacity: 4, latency: 12 }, floor: Floor::DEFAULT },
};

/// All ways that the first table compares.
pub const WAYS: [Way; 9] = [
    UNIFORM,
    free("uniform, 2 bits", 0, 4),
    CAPACITY,
    free("capacity, 1 bit", 4, 2),
    free("capacity, 2 bits", 4, 4),
    free("capacity, 4 bits", 4, 8),
    QUICKEST,
    FLOORED,
    DEFAULT,
];

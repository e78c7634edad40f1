//! Others on the same profiles: real programs at emulated homes.

pub mod carried;
pub mod homes;

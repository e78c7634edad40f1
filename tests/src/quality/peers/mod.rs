//! Others on the same profiles: real programs at emulated homes.

pub mod carried;
mod commands;
pub mod homes;
pub mod mumble;
mod sound;

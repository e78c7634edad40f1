//! Load on a SOCKS proxy, the same for tor's and for ours: servers to reach, clients that measure, and the statistics.

pub mod client;
pub mod server;
pub mod socks;
mod stats;
pub mod tls;

pub use stats::Samples;

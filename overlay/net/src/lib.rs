//! The zMesh node: UDP driver, QUIC over circuits and the circuit socket API.
//!
//! Start with [`Node::builder`] to send through the network, with [`Relay::builder`] to forward for others.

mod api;
mod clock;
pub mod egress;
mod entropy;
mod seam;

pub use api::*;
pub use seam::{Network, RelayId, RelayKeys};

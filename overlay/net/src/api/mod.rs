//! The circuit socket API.

mod circuit;
mod error;
mod meeting;
mod node;
mod relay;
mod session;
mod spec;
mod stream;
mod udp;

pub use circuit::Circuit;
pub use error::{CircuitError, ConnectError, ConnectErrorKind, NodeError, UdpError};
pub use meeting::{DatagramCircuit, MESSAGE_MAX};
pub use node::{Node, NodeBuilder, NodeEvent};
pub use relay::{Relay, RelayBuilder, RelayHandle, RelayMetrics};
pub use session::Session;
pub use spec::{DEFAULT_HOPS, HopInfo, IsolationToken, Meet, MeetingSpec, PathSpec, Rebuilds};
pub use stream::Stream;
pub use udp::UdpSocket;
pub use zmesh_proto::path::{Explanation, Floor, GuardReport, Preference, Strength, Uncertainty};

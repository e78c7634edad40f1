//! The circuit socket API.

mod builder;
mod circuit;
mod error;
mod events;
mod measuring;
mod meeting;
mod node;
mod relay;
mod relay_metrics;
mod session;
mod spec;
mod stream;
mod traversal;
mod udp;

pub use builder::NodeBuilder;
pub use circuit::Circuit;
pub use error::{CircuitError, ConnectError, ConnectErrorKind, NodeError, UdpError};
pub use events::NodeEvent;
pub use meeting::{DatagramCircuit, MESSAGE_MAX};
pub(crate) use meeting::{joined, take_part};
pub use node::Node;
pub use relay::{Relay, RelayBuilder, RelayHandle};
pub use relay_metrics::RelayMetrics;
pub use session::Session;
pub use spec::{DEFAULT_HOPS, HopInfo, IsolationToken, Meet, MeetingSpec, PathSpec, Rebuilds};
pub use stream::Stream;
pub use udp::UdpSocket;
pub use zmesh_proto::path::{Explanation, Floor, GuardReport, Preference, Strength, Uncertainty};

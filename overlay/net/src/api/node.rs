//! A node as an origin: the start of everything that a program does with circuits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Circuit, CircuitError, DatagramCircuit, IsolationToken, Meet, MeetingSpec, NodeError, PathSpec,
    Session,
};
use crate::{Network, RelayId};

/// What happens to a node, for progress bars and status lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// The UDP sockets are open.
    Bound {
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// A circuit is being built for the first time.
    Building {
        /// How many relays.
        hops: usize,
    },
    /// A circuit is ready.
    CircuitReady {
        /// How many relays.
        hops: usize,
        /// From the first packet to the answer.
        took: Duration,
    },
    /// A circuit could not be built; another path is tried.
    CircuitFailed {
        /// Why.
        reason: String,
    },
    /// A session lost its circuit and builds another.
    Rebuilding,
}

/// Settings of a [`Node`]; made by [`Node::builder`].
#[derive(Debug, Default)]
pub struct NodeBuilder {}

impl NodeBuilder {
    /// The network to use. Required.
    #[must_use]
    pub fn network(self, network: Arc<Network>) -> Self {
        let _ = network;
        self
    }

    /// A local address for UDP; may be given twice, for IPv4 and IPv6. Without it: any port, both families.
    #[must_use]
    pub fn bind(self, address: SocketAddr) -> Self {
        let _ = address;
        self
    }

    /// Guards of an earlier run, most trusted first (see [`Node::guards`]).
    #[must_use]
    pub fn guards(self, guards: Vec<RelayId>) -> Self {
        let _ = guards;
        self
    }

    /// Opens the sockets and starts the node's thread. No packet is sent yet.
    ///
    /// # Errors
    /// [`NodeError::NoNetwork`], or what the operating system refused.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<Node, NodeError> {
        todo!()
    }
}

/// A running node that builds circuits for this program. Cheap to clone; the last clone's drop ends the node.
///
/// Must be used inside a tokio runtime with time enabled.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// Settings of a new node.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Builds a circuit to an exit: one round trip over the path, a few attempts on other paths if one fails.
    ///
    /// # Errors
    /// No path in this network, or every attempt failed.
    ///
    /// # Cancel safety
    /// Dropping the future gives the circuit up.
    pub async fn circuit(&self, spec: PathSpec) -> Result<Circuit, CircuitError> {
        let _ = spec;
        todo!()
    }

    /// The session of an isolation token: equal tokens give the same session, different ones share nothing.
    #[must_use]
    pub fn isolated(&self, token: IsolationToken) -> Session {
        let _ = token;
        todo!()
    }

    /// The session of an isolation token whose circuits have `hops` relays.
    #[must_use]
    pub fn isolated_with(&self, token: IsolationToken, spec: PathSpec) -> Session {
        let _ = (token, spec);
        todo!()
    }

    /// Builds a circuit to a meeting relay and waits there, or joins the circuit that waits there.
    ///
    /// Returns when the meeting relay has answered: for [`Meet::Wait`] when the cookie is in place, for [`Meet::Join`]
    /// when both circuits are spliced.
    ///
    /// # Errors
    /// No path, every attempt failed, or the meeting relay refused ([`CircuitError::Meeting`]).
    ///
    /// # Cancel safety
    /// Dropping the future gives the circuit up; a cookie that was used for a join is spent.
    pub async fn meet(
        &self,
        meet: Meet,
        spec: MeetingSpec,
    ) -> Result<DatagramCircuit, CircuitError> {
        let _ = (meet, spec);
        todo!()
    }

    /// Chooses a relay that splices circuits, at random.
    ///
    /// # Errors
    /// [`CircuitError::NoPath`] if the network has none.
    pub fn meeting_relay(&self) -> Result<RelayId, CircuitError> {
        todo!()
    }

    /// Start-up and circuit events from now on. A reader that lags loses the oldest.
    #[must_use]
    pub fn events(&self) -> tokio::sync::broadcast::Receiver<NodeEvent> {
        todo!()
    }

    /// The network document in use.
    #[must_use]
    pub fn network(&self) -> Arc<Network> {
        todo!()
    }

    /// Takes a newer network document into use.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old document in place.
    pub async fn set_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        let _ = network;
        todo!()
    }

    /// The guards that this node has chosen, to be kept for its next run.
    #[must_use]
    pub fn guards(&self) -> Vec<RelayId> {
        todo!()
    }

    /// Where the node's UDP sockets are bound.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        todo!()
    }

    /// Closes every circuit, tells the relays, and ends the node's thread. Every handle fails from then on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        todo!()
    }
}

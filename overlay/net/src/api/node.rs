//! A node as an origin: the start of everything that a program does with circuits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;
use zmesh_proto::link::{LinkConfig, LocalIdentity};
use zmesh_proto::node::NodeConfig;
use zmesh_proto::path::{Explanation, GuardReport, Preference};

use super::traversal::{Helpers, Traversal};
use super::{
    Circuit, CircuitError, DatagramCircuit, IsolationToken, Meet, MeetingSpec, NodeError, PathSpec, Rebuilds, Session,
};
use crate::carrier::Fallback;
use crate::chunks::{self, Address, ChunkError, ChunkOptions, ChunkProgress, Fetched, Liars, Published};
use crate::guard_file::GuardFile;
use crate::origin::{Choosing, Origin};
use crate::shard::{self, Started};
use crate::{Network, RelayId, clock, entropy};

/// Spare circuits that a node keeps unless told otherwise.
const SPARES: usize = 1;

/// What happens to a node, for progress bars and status lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A circuit is being built.
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
    /// A session lost its circuit, had none ready, and builds another.
    Rebuilding,
    /// A second circuit stands by under a session.
    Standby {
        /// How many inner relays it shares with the one in use, because the network has too few.
        shared: usize,
    },
    /// A session goes on by the circuit that stood by: the one in use stopped answering, or got worse than this one.
    Moved,
}

/// Settings of a [`Node`]; made by [`Node::builder`].
#[derive(Debug)]
pub struct NodeBuilder {
    network: Option<Arc<Network>>,
    bind: Vec<SocketAddr>,
    path: PathSpec,
    spares: usize,
    standby: bool,
    traversal: Traversal,
    preference: Preference,
    guards: Option<PathBuf>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            network: None,
            bind: Vec::new(),
            path: PathSpec::exit(),
            spares: SPARES,
            standby: true,
            preference: Preference::DEFAULT,
            guards: None,
            traversal: Traversal::default(),
        }
    }
}

impl NodeBuilder {
    /// The network to use. Required.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// A local address for UDP; may be given twice, for IPv4 and IPv6. Without it: any port, both families.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind.push(address);
        self
    }

    /// The path that sessions use unless they ask for another, and that spare circuits have.
    #[must_use]
    pub fn path(mut self, path: PathSpec) -> Self {
        self.path = path;
        self
    }

    /// How many circuits are built ahead of need, QUIC included. One unless set.
    #[must_use]
    pub fn spares(mut self, spares: usize) -> Self {
        self.spares = spares;
        self
    }

    /// Whether a second circuit stands by under each session, so that a relay that dies costs a moment instead of seconds.
    /// So it is unless set otherwise; it doubles the circuits.
    #[must_use]
    pub fn standby(mut self, standby: bool) -> Self {
        self.standby = standby;
        self
    }

    /// Has the node reach relays behind translators of addresses, by probes and through other relays.
    #[must_use]
    pub fn traversal(mut self, enabled: bool) -> Self {
        self.traversal.enabled = enabled;
        self
    }

    /// Relays that the node links to over WebSocket while UDP leads nowhere.
    #[must_use]
    pub fn fallbacks(mut self, fallbacks: Vec<Fallback>) -> Self {
        self.traversal.fallbacks = fallbacks;
        self
    }

    /// What the choice of paths prefers, within its anonymity floor. In proportion to capacity and mildly for quick paths
    /// unless set.
    #[must_use]
    pub fn preference(mut self, preference: Preference) -> Self {
        self.preference = preference;
        self
    }

    /// A file in which the guards are kept from one run to the next, readable by its owner only; it holds relay ids and
    /// days. Its directory must exist. Without it the guards are those of this run alone: nothing is left behind, and the
    /// more runs, the more first relays are met.
    #[must_use]
    pub fn guard_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.guards = Some(path.into());
        self
    }

    /// Opens the sockets and starts the node's thread, which builds the spare circuits.
    ///
    /// # Errors
    /// [`NodeError::NoNetwork`], [`NodeError::Guards`], or what the operating system refused.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<Node, NodeError> {
        let network = self.network.ok_or(NodeError::NoNetwork)?;
        let guards = self.guards.map(GuardFile::open).transpose().map_err(NodeError::Guards)?;
        let choosing = Choosing { preference: self.preference, guards };
        let link = LinkConfig::new(LocalIdentity::Anonymous);
        let mut config = NodeConfig::new(link, entropy::seed(), clock::unix_nanos());
        config.nat = self.traversal.config(false);
        let started =
            shard::start("zmesh-node", self.bind, config, Some(Arc::clone(&network)), || Ok(()), |_| {}).await?;
        let helpers = self.traversal.start(&started).await?;
        let shard = Arc::clone(&started.shard);
        let origin = Origin::start(shard, network, self.path, self.spares, self.standby, choosing);
        Ok(Node { inner: Arc::new(Inner { _helpers: helpers, origin, started, liars: Arc::default() }) })
    }
}

struct Inner {
    /// Dropped with the node.
    _helpers: Helpers,
    origin: Arc<Origin>,
    /// Relays that gave wrong chunks lately.
    liars: Arc<Liars>,
    started: Started,
}

/// A running node that builds circuits for this program. Cheap to clone; the last clone's drop ends the node.
///
/// Must be used inside a tokio runtime with time enabled.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

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
        self.inner.origin.exit_circuit(&spec).await.map(Circuit::new)
    }

    /// The session of an isolation token: equal tokens give the same session, different ones share nothing.
    #[must_use]
    pub fn isolated(&self, token: IsolationToken) -> Session {
        self.isolated_with(token, self.inner.origin.default_spec())
    }

    /// The session of an isolation token whose circuits have this path.
    #[must_use]
    pub fn isolated_with(&self, token: IsolationToken, path: PathSpec) -> Session {
        Session::new(self.inner.origin.session(token, path))
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
    pub async fn meet(&self, meet: Meet, spec: MeetingSpec) -> Result<DatagramCircuit, CircuitError> {
        DatagramCircuit::meet(&self.inner.origin, meet, &spec).await
    }

    /// Publishes data: relays keep it, encrypted, and whoever is given the address can fetch it, also when this node has
    /// gone. Circuits are this publication's own.
    ///
    /// # Errors
    /// See [`ChunkError`].
    ///
    /// # Cancel safety
    /// Dropping the future ends the publication; nobody can read what was taken until then.
    pub async fn put_chunk(&self, data: &[u8]) -> Result<Address, ChunkError> {
        let mut data = data;
        Ok(self.put_file(&mut data, ChunkOptions::default(), |_| ()).await?.address)
    }

    /// Publishes what `source` holds, of any length up to 2.1 GB, and tells how far it is.
    ///
    /// # Errors
    /// See [`ChunkError`].
    ///
    /// # Cancel safety
    /// As [`Node::put_chunk`].
    pub async fn put_file(
        &self,
        source: &mut (impl AsyncRead + Unpin),
        options: ChunkOptions,
        progress: impl FnMut(ChunkProgress),
    ) -> Result<Published, ChunkError> {
        chunks::publish(&self.inner.origin, source, options, progress).await
    }

    /// Fetches what was published under `address`, from several relays at once.
    ///
    /// # Errors
    /// See [`ChunkError`].
    ///
    /// # Cancel safety
    /// Cancel safe: nothing stays behind.
    pub async fn get_chunk(&self, address: &Address) -> Result<Vec<u8>, ChunkError> {
        let mut data = Vec::new();
        self.get_file(address, &mut data, ChunkOptions::default(), |_| ()).await?;
        Ok(data)
    }

    /// Fetches what was published under `address` into `sink`, in order, and tells how far it is. What is written is right,
    /// whatever relays do.
    ///
    /// # Errors
    /// See [`ChunkError`]; a part may have been written by then.
    ///
    /// # Cancel safety
    /// Dropping the future ends the fetch; what was written stays.
    pub async fn get_file(
        &self,
        address: &Address,
        sink: &mut (impl AsyncWrite + Unpin),
        options: ChunkOptions,
        progress: impl FnMut(ChunkProgress),
    ) -> Result<Fetched, ChunkError> {
        chunks::read(&self.inner.origin, &self.inner.liars, address, sink, options, progress).await
    }

    /// Chooses a relay that splices circuits, at random.
    ///
    /// # Errors
    /// [`CircuitError::NoPath`] if the network has none.
    pub fn meeting_relay(&self) -> Result<RelayId, CircuitError> {
        self.inner.origin.choose_meeting()
    }

    /// Chooses a further relay that splices circuits for a call that has `apart` in use already: from the few of `rebuilds`,
    /// and none of `apart` where the network has others.
    ///
    /// # Errors
    /// As [`Node::meeting_relay`].
    pub fn another_meeting_relay(&self, apart: &[RelayId], rebuilds: &Rebuilds) -> Result<RelayId, CircuitError> {
        self.inner.origin.choose_another_meeting(apart, &rebuilds.0)
    }

    /// Circuit events from now on. A reader that lags loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.inner.origin.events()
    }

    /// The network document in use.
    #[must_use]
    pub fn network(&self) -> Arc<Network> {
        self.inner.origin.network()
    }

    /// Takes a newer network document into use.
    ///
    /// # Errors
    /// [`NodeError::OtherNetwork`] or [`NodeError::OlderNetwork`], and the one in use stays; [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old document in place.
    pub async fn set_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        self.inner.started.shard.set_network(Arc::clone(&network)).await?;
        self.inner.origin.set_network(network);
        Ok(())
    }

    /// The guards that this node has chosen.
    #[must_use]
    pub fn guards(&self) -> Vec<RelayId> {
        self.inner.origin.guards()
    }

    /// How the guards that this node has chosen do: circuits that came up, and those that failed at them or behind them.
    #[must_use]
    pub fn guard_reports(&self) -> Vec<GuardReport> {
        self.inner.origin.guard_reports()
    }

    /// What the choice of a path to an exit leaves open, with this guard, and what it gives up against a uniform one.
    ///
    /// # Errors
    /// [`CircuitError::NoPath`] if the request is none, or names a relay that is not in the network.
    pub fn explain(&self, spec: &PathSpec, guard: Option<RelayId>) -> Result<Explanation, CircuitError> {
        self.inner.origin.explain(spec, guard)
    }

    /// Where the node's UDP sockets are bound.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.inner.started.addresses.clone()
    }

    /// Closes every circuit, tells the relays, and ends the node's thread. Every handle fails from then on.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        self.inner.started.shutdown().await;
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Node")
    }
}

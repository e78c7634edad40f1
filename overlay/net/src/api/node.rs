//! A node as an origin: the start of everything that a program does with circuits.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;
use zmesh_proto::directory::Warning;
use zmesh_proto::path::{Explanation, GuardReport};

use super::traversal::Helpers;
use super::{
    Circuit, CircuitError, DatagramCircuit, IsolationToken, Meet, MeetingSpec, NodeBuilder, NodeError, NodeEvent,
    PathSpec, Rebuilds, Session, Stream,
};
use crate::chunks::{self, Address, ChunkError, ChunkOptions, ChunkProgress, Fetched, Liars, Published};
use crate::directory::Outlook;
use crate::origin::Origin;
use crate::service::{DialError, Dialled, ListenError, Listener, ServiceAddress, ServiceKey, ServiceOptions};
use crate::shard::Started;
use crate::{Network, RelayId};

/// What a node is made of.
pub(super) struct Inner {
    /// Dropped with the node.
    pub(super) _helpers: Helpers,
    pub(super) origin: Arc<Origin>,
    /// Services that this node is connected to.
    pub(super) dialled: Arc<Dialled>,
    /// Relays that gave wrong chunks lately.
    pub(super) liars: Arc<Liars>,
    pub(super) outlook: Arc<Outlook>,
    pub(super) started: Started,
}

/// A running node that builds circuits for this program. Cheap to clone; the last clone's drop ends the node.
///
/// Must be used inside a tokio runtime with time enabled.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

impl Node {
    pub(super) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

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

    /// Publishes a service: from when this returns, whoever has the key's [address](ServiceKey::address) can reach it, and nobody learns
    /// where it is. A service that is to be up for days should be given a state file: see [`Node::listen_with`].
    ///
    /// # Errors
    /// See [`ListenError`].
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the service.
    pub async fn listen(&self, key: &ServiceKey) -> Result<Listener, ListenError> {
        self.listen_with(key, ServiceOptions::default()).await
    }

    /// The same with options.
    ///
    /// # Errors
    /// See [`ListenError`].
    ///
    /// # Cancel safety
    /// As [`Node::listen`].
    pub async fn listen_with(&self, key: &ServiceKey, options: ServiceOptions) -> Result<Listener, ListenError> {
        Listener::start(&self.inner.origin, key.clone(), options).await
    }

    /// Opens a stream to a port of a service, by circuits of its own: calls share nothing. Both sides stay unknown to each other, and
    /// what they say is encrypted end to end, under a key that only the service can have.
    ///
    /// # Errors
    /// See [`DialError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up what was built.
    pub async fn dial(&self, address: &ServiceAddress, port: u16) -> Result<Stream, DialError> {
        self.inner.dialled.dial_alone(&self.inner.origin, *address, port).await
    }

    /// The same, over the connection that this isolation token has to the service, if there is one.
    ///
    /// # Errors
    /// See [`DialError`].
    ///
    /// # Cancel safety
    /// As [`Node::dial`].
    pub async fn dial_isolated(
        &self,
        token: IsolationToken,
        address: &ServiceAddress,
        port: u16,
    ) -> Result<Stream, DialError> {
        self.inner.dialled.dial(&self.inner.origin, token, *address, port).await
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

    /// What stands between this node and its network, as far as comparing documents shows it; `None` when all is well, and for
    /// a node that was given a network document.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        self.inner.outlook.warning()
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

    /// Whom the node has links with, and how many datagrams went either way on each: what somebody who captures its traffic sees.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub fn link_peers(&self) -> Vec<(SocketAddr, u64)> {
        self.inner.started.shard.link_peers()
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

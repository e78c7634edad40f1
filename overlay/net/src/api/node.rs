//! A node as an origin: the start of everything that a program does with circuits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::broadcast;
use zmesh_proto::directory::Warning;
use zmesh_proto::link::{LinkConfig, LocalIdentity};
use zmesh_proto::node::NodeConfig;
use zmesh_proto::path::{Explanation, GuardReport, Preference};
use zmesh_proto::wire::bootstrap::Bootstrap;

use super::traversal::{Helpers, Traversal};
use super::{
    Circuit, CircuitError, DatagramCircuit, IsolationToken, Meet, MeetingSpec, NodeError, NodeEvent, PathSpec,
    Rebuilds, Session, Stream,
};
use crate::carrier::Fallback;
use crate::chunks::{self, Address, ChunkError, ChunkOptions, ChunkProgress, Fetched, Liars, Published};
use crate::directory::{Client, DirectoryEvent, Outlook, Settings, Teller, keep};
use crate::guard_file::GuardFile;
use crate::origin::{Choosing, Origin};
use crate::service::{DialError, Dialled, ListenError, Listener, ServiceAddress, ServiceKey, ServiceOptions};
use crate::shard::{self, Started};
use crate::{Network, RelayId, clock, entropy};

/// Spare circuits that a node keeps unless told otherwise.
const SPARES: usize = 1;

/// Told of what happens to the network's documents.
type DirectoryHook = Arc<dyn Fn(&DirectoryEvent) + Send + Sync>;

/// In which networks guards are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Always,
    /// In all but test networks.
    IfReal,
}

/// How paths are chosen in this network, with the guards of earlier runs if they are kept.
fn choosing(
    preference: Preference,
    guards: Option<(PathBuf, Wanted)>,
    network: &Network,
) -> Result<Choosing, NodeError> {
    let kept = guards.filter(|(_, wanted)| *wanted == Wanted::Always || !network.is_test_network());
    let guards = kept.map(|(path, _)| GuardFile::open(path)).transpose().map_err(NodeError::Guards)?;
    Ok(Choosing { preference, guards })
}

/// Settings of a [`Node`]; made by [`Node::builder`].
pub struct NodeBuilder {
    network: Option<Arc<Network>>,
    bootstrap: Option<Bootstrap>,
    directory: Option<PathBuf>,
    hook: Option<DirectoryHook>,
    bind: Vec<SocketAddr>,
    path: PathSpec,
    spares: usize,
    standby: bool,
    traversal: Traversal,
    preference: Preference,
    guards: Option<(PathBuf, Wanted)>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            network: None,
            bootstrap: None,
            directory: None,
            hook: None,
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
    /// The network to use. This or [`NodeBuilder::bootstrap`] is required.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// The line by which the node enters a network whose voters agree on documents: it fetches the newest one, verifies it by
    /// signatures alone, and stays up to date. Without effect when a network is given.
    #[must_use]
    pub fn bootstrap(mut self, line: Bootstrap) -> Self {
        self.bootstrap = Some(line);
        self
    }

    /// Where the newest document is kept between runs, so that the next one needs no entry relay. Nothing there tells of this
    /// node. Without it nothing is kept.
    #[must_use]
    pub fn directory(mut self, directory: PathBuf) -> Self {
        self.directory = Some(directory);
        self
    }

    /// Called with whatever happens to the network's documents, also during [`NodeBuilder::start`], when nobody can listen to
    /// [`Node::events`] yet. It must not wait.
    #[must_use]
    pub fn on_directory(mut self, hook: impl Fn(&DirectoryEvent) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
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
        self.guards = Some((path.into(), Wanted::Always));
        self
    }

    /// The same, but not in a test network, which is thrown away, and its guards with it. A bootstrap line does not say of what kind its
    /// network is; the genesis does, and nothing is read or written before it is there.
    #[must_use]
    pub fn guard_file_if_real(mut self, path: impl Into<PathBuf>) -> Self {
        self.guards = Some((path.into(), Wanted::IfReal));
        self
    }

    /// Opens the sockets and starts the node's thread, which builds the spare circuits. With a bootstrap line it returns when
    /// the node has a verified document, and keeps comparing and fetching newer ones.
    ///
    /// # Errors
    /// [`NodeError::NoNetwork`], [`NodeError::Directory`], [`NodeError::Guards`], or what the operating system refused.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<Node, NodeError> {
        let Self { network, bootstrap, directory, hook, bind, path, spares, standby, preference, guards, traversal } =
            self;
        if network.is_none() && bootstrap.is_none() {
            return Err(NodeError::NoNetwork);
        }
        // With a document a bad file is told before anything starts.
        let known = network.as_deref().map(|network| choosing(preference, guards.clone(), network)).transpose()?;
        let link = LinkConfig::new(LocalIdentity::Anonymous);
        let mut config = NodeConfig::new(link, entropy::seed(), clock::unix_nanos());
        config.nat = traversal.config(false);
        let started = shard::start("zmesh-node", bind, config, network.clone(), || Ok(()), |_| {}).await?;
        let helpers = traversal.start(&started).await?;
        let shard = Arc::clone(&started.shard);
        let (liars, outlook) = (Arc::<Liars>::default(), Arc::<Outlook>::default());
        let origin = match (network.zip(known), bootstrap) {
            (Some((network, choosing)), _) => Origin::start(shard, network, path, spares, standby, choosing),
            (None, None) => return Err(NodeError::NoNetwork),
            (None, Some(bootstrap)) => {
                let listener = Arc::<OnceLock<Weak<Origin>>>::default();
                let settings = Settings { bootstrap, directory, tell: teller(hook, Arc::clone(&listener)) };
                let client = Client::new(settings)?;
                let (held, network) = client.begin(&shard).await?;
                let choosing = choosing(preference, guards, &network)?;
                let origin = Origin::start(Arc::clone(&shard), network, path, spares, standby, choosing);
                let _ = listener.set(Arc::downgrade(&origin));
                let (of, from) = (Arc::downgrade(&origin), Arc::downgrade(&liars));
                shard.runtime.spawn(keep(client, of, from, held, Arc::clone(&outlook)));
                origin
            }
        };
        let dialled = Dialled::start(&origin);
        Ok(Node { inner: Arc::new(Inner { _helpers: helpers, origin, dialled, started, liars, outlook }) })
    }
}

/// Tells of documents: the hook, and once there is an origin whoever listens to the node's events.
fn teller(hook: Option<DirectoryHook>, listener: Arc<OnceLock<Weak<Origin>>>) -> Teller {
    Arc::new(move |event| {
        if let Some(hook) = &hook {
            hook(&event);
        }
        if let Some(origin) = listener.get().and_then(Weak::upgrade) {
            origin.tell(NodeEvent::Directory(event));
        }
    })
}

impl fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeBuilder")
    }
}

struct Inner {
    /// Dropped with the node.
    _helpers: Helpers,
    origin: Arc<Origin>,
    /// Services that this node is connected to.
    dialled: Arc<Dialled>,
    /// Relays that gave wrong chunks lately.
    liars: Arc<Liars>,
    outlook: Arc<Outlook>,
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

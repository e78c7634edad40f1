//! A relay: a node that forwards for others and may be their exit.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use zmesh_proto::link::{LinkConfig, LinkSecret, LocalIdentity};
use zmesh_proto::node::{NodeConfig, OnionKey, RelayConfig};
use zmesh_proto::wire::descriptor::Descriptor;

use super::traversal::{Helpers, Traversal};
use super::{NodeError, PathSpec, RelayMetrics};
use crate::chunks::{ChunkStore, Keeper, cut};
use crate::directory::{DocumentStore, Publication, PublishError};
use crate::egress::Egress;
use crate::exit::ExitServer;
use crate::origin::{Choosing, Origin};
use crate::quic::{self, CircuitSocket};
use crate::replay_file::{self, ReplayFile};
use crate::service::{Host, Lie};
use crate::shard::{self, Command, Shard, Started};
use crate::{Network, RelayId, RelayKeys, clock, entropy};

/// How often a relay looks whether its onion keys change.
const KEYS: Duration = Duration::from_secs(60);

/// Called with the keys whenever they have changed, so that they can be stored again.
type KeysChanged = Arc<dyn Fn(&RelayKeys) + Send + Sync>;

/// Settings of a relay; made by [`Relay::builder`].
#[derive(Default)]
pub struct RelayBuilder {
    keys: Option<RelayKeys>,
    keys_changed: Option<KeysChanged>,
    network: Option<Arc<Network>>,
    bind: Vec<SocketAddr>,
    egress: Option<Arc<dyn Egress>>,
    meeting: bool,
    rate_limit: Option<u64>,
    max_circuits: Option<usize>,
    replay_file: Option<PathBuf>,
    exit_keys: Option<RelayKeys>,
    chunks: Option<ChunkStore>,
    genesis: Option<Vec<u8>>,
    poison: bool,
    lie: Option<Lie>,
    pub(super) traversal: Traversal,
}

impl RelayBuilder {
    /// The relay's secret keys. Required.
    #[must_use]
    pub fn keys(mut self, keys: RelayKeys) -> Self {
        self.keys = Some(keys);
        self
    }

    /// What to do when onion keys have been erased, or a relay runs with the keys for the first time: store the keys
    /// again. Called where it may wait for a disk; the relay uses the keys that are left once it returns.
    #[must_use]
    pub fn keys_changed(mut self, changed: impl Fn(&RelayKeys) + Send + Sync + 'static) -> Self {
        self.keys_changed = Some(Arc::new(changed));
        self
    }

    /// The network document; the relay need not be in it. Without one, the relay accepts links and circuits that end
    /// with it, and forwards from [`RelayHandle::set_network`] on.
    #[must_use]
    pub fn network(mut self, network: Arc<Network>) -> Self {
        self.network = Some(network);
        self
    }

    /// A local UDP address; may be given twice, for IPv4 and IPv6. Port 0 takes any.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind.push(address);
        self
    }

    /// Makes the relay an exit.
    #[must_use]
    pub fn egress(mut self, egress: Arc<dyn Egress>) -> Self {
        self.egress = Some(egress);
        self
    }

    /// Makes the relay keep chunks, and give them to whoever asks.
    #[must_use]
    pub fn chunks(mut self, store: ChunkStore) -> Self {
        self.chunks = Some(store);
        self
    }

    /// Makes the relay give documents of the network with this genesis to whoever asks over a circuit: those that
    /// [`RelayHandle::publish`] is given.
    #[must_use]
    pub fn documents(mut self, genesis: Vec<u8>) -> Self {
        self.genesis = Some(genesis);
        self
    }

    /// Has the relay give wrong symbols of every chunk, to see that readers find out.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub(crate) fn poison(mut self, poison: bool) -> Self {
        self.poison = poison;
        self
    }

    /// Has the relay lie about descriptors of services, to see that clients find them elsewhere.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub(crate) fn lie(mut self, lie: Option<Lie>) -> Self {
        self.lie = lie;
        self
    }

    /// Lets the relay splice meetings, keep descriptors of services, and pass introductions on to them.
    #[must_use]
    pub fn meeting(mut self, allow: bool) -> Self {
        self.meeting = allow;
        self
    }

    /// The most that the relay sends, in bytes per second.
    #[must_use]
    pub fn rate_limit(mut self, bytes_per_second: Option<u64>) -> Self {
        self.rate_limit = bytes_per_second;
        self
    }

    /// The most circuits that may run through the relay.
    #[must_use]
    pub fn max_circuits(mut self, circuits: usize) -> Self {
        self.max_circuits = Some(circuits);
        self
    }

    /// Where the filter against replayed set-up packets is kept between runs. When the file says nothing of the last
    /// minutes (after a crash), or is missing although the keys may have been used, the relay refuses set-ups for up to
    /// ten minutes. Without a place for it that is so at every start with keys that come from a file.
    #[must_use]
    pub fn replay_file(mut self, path: PathBuf) -> Self {
        self.replay_file = Some(path);
        self
    }

    /// Has the exit prove the exit key of other keys than its own, to see that origins refuse it.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub(crate) fn exit_keys(mut self, keys: RelayKeys) -> Self {
        self.exit_keys = Some(keys);
        self
    }

    /// Opens the sockets and starts the relay's threads.
    ///
    /// # Errors
    /// A setting is missing or the operating system refused something.
    ///
    /// # Cancel safety
    /// Dropping the future stops whatever was started.
    pub async fn start(self) -> Result<RelayHandle, NodeError> {
        let mut keys = self.keys.ok_or_else(|| NodeError::Keys("no keys are given".into()))?;
        let system = |source| NodeError::System { what: "the replay file", source };
        let (file, left) = match self.replay_file {
            None => (None, None),
            Some(path) => {
                let (file, left) = ReplayFile::read(path).map_err(system)?;
                (Some(Arc::new(file)), left)
            }
        };
        let replay = replay_file::start_from(&keys, file.is_some(), left);
        let unix = clock::unix_seconds();
        let mut link = LinkConfig::new(LocalIdentity::Relay {
            identity: keys.identity_public(),
            link_secret: LinkSecret::from_bytes(*keys.link_secret()),
        });
        link.rate_limit = self.rate_limit;
        let mut relay = RelayConfig::new(keys.id(), OnionKey::around(keys.onion(), unix));
        relay.replay = replay;
        relay.allow_meeting = self.meeting;
        let documents = self.genesis.map(DocumentStore::new).transpose();
        let documents = documents.map_err(|error| NodeError::Documents(error.to_string()))?.map(Arc::new);
        let serves = self.egress.is_some() || self.chunks.is_some() || self.meeting || documents.is_some();
        relay.allow_local = serves;
        if let Some(circuits) = self.max_circuits {
            relay.max_circuits = circuits;
        }
        let mut config = NodeConfig::new(link, entropy::seed(), clock::unix_nanos());
        config.relay = Some(relay);
        config.nat = self.traversal.config(true);
        let server = if serves {
            let keys = self.exit_keys.as_ref().unwrap_or(&keys);
            let server = quic::exit_config(&keys.exit_pkcs8(), &keys.exit_public());
            Some(server.map_err(|error| NodeError::Keys(error.to_string()))?)
        } else {
            None
        };
        let keeper = match self.chunks {
            None => None,
            Some(store) => {
                let (me, poison) = (keys.id(), self.poison);
                let opened = tokio::task::spawn_blocking(move || Keeper::open(me, &store, poison)).await;
                Some(opened.map_err(|_| NodeError::ShutDown)??)
            }
        };
        let host = self.meeting.then_some((keys.id(), self.lie));
        let network = self.network.clone();
        let last_words = file.clone();
        let ready = move || file.map_or(Ok(()), |file| file.mark_running().map_err(system));
        let keep = move |state: Vec<u8>| {
            if let Some(file) = last_words
                && let Err(error) = file.close(&state)
            {
                tracing::warn!(%error, "the replay filter could not be stored");
            }
        };
        let started = shard::start("zmesh-relay", self.bind, config, self.network, ready, keep).await?;
        let helpers = self.traversal.start(&started).await?;
        if keys.mark_used()
            && let Some(changed) = &self.keys_changed
        {
            changed(&keys);
        }
        let exit = match server {
            None => None,
            Some(server) => {
                Some(start_exit(&started.shard, server, self.egress, keeper.clone(), documents.clone(), host)?)
            }
        };
        started.shard.runtime.spawn(turn_keys(Arc::downgrade(&started.shard), keys, self.keys_changed));
        let handle = RelayHandle { started, helpers, exit, keeper, documents, origin: Mutex::new(None) };
        if let Some(network) = network {
            handle.seed(network);
        }
        Ok(handle)
    }
}

impl fmt::Debug for RelayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayBuilder")
    }
}

fn start_exit(
    shard: &Arc<Shard>,
    server: quinn::ServerConfig,
    egress: Option<Arc<dyn Egress>>,
    keeper: Option<Arc<Keeper>>,
    documents: Option<Arc<DocumentStore>>,
    host: Option<(RelayId, Option<Lie>)>,
) -> Result<Arc<ExitServer>, NodeError> {
    let socket = CircuitSocket::exit(Arc::clone(shard));
    let endpoint = quic::endpoint(&shard.runtime, Arc::clone(&socket), Some(server))
        .map_err(|source| NodeError::System { what: "a QUIC endpoint", source })?;
    let host = host.map(|(me, lie)| Host::start(shard, me, lie));
    let exit = ExitServer::start(shard, endpoint, egress, keeper, host, documents);
    shard.set_exit(Arc::clone(&exit), socket);
    Ok(exit)
}

/// Erases old onion keys and hands the current ones to the node.
async fn turn_keys(shard: Weak<Shard>, mut keys: RelayKeys, changed: Option<KeysChanged>) {
    loop {
        let unix = clock::unix_seconds();
        match keys.erase_before(unix) {
            Ok(true) => {
                if let Some(changed) = changed.clone() {
                    // Not on the thread of the cells: storing waits for the disk.
                    let stored = tokio::task::spawn_blocking(move || {
                        changed(&keys);
                        keys
                    });
                    match stored.await {
                        Ok(back) => keys = back,
                        Err(_) => {
                            tracing::error!("onion keys are no longer turned: storing them failed");
                            return;
                        }
                    }
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "onion keys are not erased"),
        }
        let Some(shard) = shard.upgrade() else { return };
        if !shard.command(Command::SetOnionKeys(OnionKey::around(keys.onion(), unix))).await {
            return;
        }
        drop(shard);
        tokio::time::sleep(KEYS).await;
    }
}

/// The way to a relay: see [`Relay::builder`].
#[derive(Debug)]
pub struct Relay;

impl Relay {
    /// Settings of a new relay.
    #[must_use]
    pub fn builder() -> RelayBuilder {
        RelayBuilder::default()
    }
}

/// A running relay. Dropping it ends the relay without waiting; see [`RelayHandle::shutdown`].
pub struct RelayHandle {
    pub(super) started: Started,
    pub(super) helpers: Helpers,
    exit: Option<Arc<ExitServer>>,
    keeper: Option<Arc<Keeper>>,
    documents: Option<Arc<DocumentStore>>,
    /// Circuits of the relay's own, by which it passes chunks on.
    origin: Mutex<Option<Arc<Origin>>>,
}

impl RelayHandle {
    /// Finds other relays that keep chunks in this network from now on.
    fn seed(&self, network: Arc<Network>) {
        let Some(keeper) = &self.keeper else { return };
        let mut origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
        match &*origin {
            Some(origin) => origin.set_network(network),
            None => {
                let shard = &self.started.shard;
                let choosing = Choosing::default();
                let own = Origin::start(Arc::clone(shard), network, PathSpec::exit(), 0, false, choosing);
                keeper.use_origin(shard, &own);
                *origin = Some(own);
            }
        }
    }

    /// Where the relay listens.
    #[must_use]
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        self.started.addresses.clone()
    }

    /// Takes a newer network document into use.
    ///
    /// # Errors
    /// [`NodeError::OtherNetwork`] or [`NodeError::OlderNetwork`], and the one in use stays; [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old document in place.
    pub async fn set_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        self.started.shard.set_network(Arc::clone(&network)).await?;
        self.seed(network);
        Ok(())
    }

    /// The descriptor that the relay gives over a link to whoever has no circuit yet.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old descriptor in place.
    pub async fn set_descriptor(&self, descriptor: &Descriptor) -> Result<(), NodeError> {
        let told = self.started.shard.command(Command::SetDescriptor(Box::new(descriptor.clone()))).await;
        if told { Ok(()) } else { Err(NodeError::ShutDown) }
    }

    /// Gives a newer document to whoever asks over a circuit, and keeps those chunks of its snapshot that have their place
    /// here, if the relay keeps chunks. Cutting takes some milliseconds for each megabyte.
    ///
    /// # Errors
    /// See [`PublishError`]; what was given before still is.
    ///
    /// # Cancel safety
    /// Dropping the future may leave chunks unkept.
    pub async fn publish(&self, new: Publication) -> Result<(), PublishError> {
        let documents = self.documents.as_ref().ok_or(PublishError::NoGenesis)?;
        let snapshot = new.snapshot.clone();
        let cut = tokio::task::spawn_blocking(move || cut(&snapshot).ok()).await.ok().flatten();
        documents.publish(new, cut.as_ref().map(|cut| cut.address.to_snapshot()))?;
        if let (Some(keeper), Some(cut)) = (&self.keeper, cut) {
            keeper.keep_snapshot(cut).await;
        }
        Ok(())
    }

    /// The most that the relay sends from now on, in bytes per second.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the old limit in place.
    pub async fn set_rate_limit(&self, bytes_per_second: Option<u64>) -> Result<(), NodeError> {
        self.command(Command::SetRateLimit(bytes_per_second)).await
    }

    /// Takes no new circuits from now on (`true`), or takes them again. Circuits that stand go on.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the relay as it was.
    pub async fn set_draining(&self, draining: bool) -> Result<(), NodeError> {
        self.command(Command::SetDraining(draining)).await
    }

    /// Ends all circuits of others through this relay; their origins hear of it at once.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Dropping the future may leave the circuits as they are.
    pub async fn close_circuits(&self) -> Result<(), NodeError> {
        self.command(Command::CloseCircuits).await
    }

    async fn command(&self, command: Command) -> Result<(), NodeError> {
        if self.started.shard.command(command).await { Ok(()) } else { Err(NodeError::ShutDown) }
    }

    /// The relay's counters now.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn metrics(&self) -> Result<RelayMetrics, NodeError> {
        let (node, udp) = self.started.shard.metrics().await.ok_or(NodeError::ShutDown)?;
        let (sessions, streams) = self.exit.as_ref().map(|exit| exit.load()).unwrap_or_default();
        let (service_descriptors, service_introductions) =
            self.exit.as_ref().map(|exit| exit.services()).unwrap_or_default();
        Ok(RelayMetrics {
            node,
            datagrams_received: udp.received,
            datagrams_sent: udp.sent,
            datagrams_unsent: udp.unsent,
            bytes_received: udp.bytes_received,
            bytes_sent: udp.bytes_sent,
            sessions,
            streams,
            service_descriptors,
            service_introductions,
            chunks: self.keeper.as_ref().map(|keeper| keeper.metrics()).unwrap_or_default(),
            documents: self.documents.as_ref().map(|documents| documents.metrics()).unwrap_or_default(),
        })
    }

    /// Whom the relay has links with, and how many datagrams went either way on each: what somebody who captures its traffic sees.
    #[cfg(feature = "testnet")]
    #[must_use]
    pub fn link_peers(&self) -> Vec<(SocketAddr, u64)> {
        self.started.shard.link_peers()
    }

    /// Has the relay stop in the middle of every document that it gives, to see that clients find out.
    #[cfg(feature = "testnet")]
    pub fn cut_documents_short(&self) {
        if let Some(documents) = &self.documents {
            documents.cut_short();
        }
    }

    /// Ends the relay as if its process was killed.
    #[cfg(feature = "testnet")]
    pub(crate) async fn kill(&self) {
        self.started.shard.kill();
        self.started.shutdown().await;
    }

    /// Waits until the relay has ended, which it only does after [`RelayHandle::shutdown`] or a panic.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ended(&self) {
        self.started.shard.ended().await;
    }

    /// Closes every circuit, tells the neighbours, writes the replay filter, and ends the relay's threads.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self) {
        tokio::join!(self.started.shutdown(), self.helpers.give_back());
    }
}

impl fmt::Debug for RelayHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayHandle")
    }
}

//! The data plane: one thread that owns the sockets, the node and one timer, and runs QUIC beside them.
//!
//! A turn of the shard takes what other threads asked for, at most 64 datagrams, the results of public-key jobs and
//! what is due, then flushes the node and sends. QUIC's drivers are tasks of the same thread: their packets enter the
//! node by a function call ([`Shard::send`]), and the flush that follows sends them.

mod bell;
mod core;
mod driver;
mod jobs;
mod udp;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use zmesh_proto::crowd::Via;
use zmesh_proto::link::LinkPeer;
use zmesh_proto::nat::{NatReport, Way};
use zmesh_proto::node::{
    BuildFailure, CircuitId, DescriptorFailure, LocalId, Meet, MeetingOutcome, Metrics, NodeConfig, OnionKey,
};
use zmesh_proto::wire::descriptor::Descriptor;

pub(crate) use self::bell::Bell;
use self::core::Core;
#[cfg(test)]
pub(crate) use self::core::may_follow;
pub(crate) use self::core::{CircuitState, MessageQueue, Sink};
pub(crate) use self::udp::UdpCounters;
use crate::api::NodeError;
use crate::carrier::{Hub, Streams};
use crate::exit::ExitServer;
use crate::{Network, RelayId, clock};

/// Commands that may wait for the shard.
const COMMANDS: usize = 256;

/// Messages of datagram circuits that may wait for one turn of the shard.
const OUTBOX: usize = 4096;

/// What other threads ask of the shard by its channel.
pub(crate) enum Command {
    /// Build a circuit; the answer comes when it is ready or has failed.
    Build { path: Vec<RelayId>, sink: Sink, answer: oneshot::Sender<Result<Built, BuildStop>> },
    /// Measure the round trip to a hop.
    Ping { circuit: CircuitId, hop: usize, answer: oneshot::Sender<Result<Duration, String>> },
    /// Watch a circuit closely, because another is ready: its usual round trip. Suspicion appears in the circuit's state.
    Watch { circuit: CircuitId, rtt: Duration },
    /// Meet at the circuit's last relay; the outcomes appear in the circuit's state.
    Meet { circuit: CircuitId, meet: Meet, answer: oneshot::Sender<Result<(), String>> },
    /// Take other onion keys into use.
    SetOnionKeys(Vec<OnionKey>),
    /// Take another network document into use, if it may follow the one in use.
    SetNetwork(Arc<Network>, oneshot::Sender<Result<(), NodeError>>),
    /// Open a link to a relay before a circuit needs it; the answer says whether it can be tried.
    OpenLink { relay: RelayId, answer: oneshot::Sender<Result<(), String>> },
    /// How the link to a relay goes.
    Way { relay: RelayId, answer: oneshot::Sender<Option<Way>> },
    /// A carrier that is not UDP leads to this relay, by the connection that this address stands for.
    UseCarrier { relay: RelayId, address: SocketAddr },
    /// The TCP connection that an attempt wanted is there; the address stands for it.
    Connected { attempt: u32, address: SocketAddr },
    /// Whether a link goes by the connection that this address stands for.
    CarriesLink { address: SocketAddr, answer: oneshot::Sender<bool> },
    /// Ports that the router forwards.
    SetMapped(Vec<SocketAddr>),
    /// Whether UDP leads nowhere, and how many links other carriers hold.
    CutOff(oneshot::Sender<(bool, usize)>),
    /// Send no more than this from now on, in bytes per second.
    SetRateLimit(Option<u64>),
    /// Take no new circuits, or take them again.
    SetDraining(bool),
    /// End all circuits of others.
    CloseCircuits,
    /// Take another network document into use, whatever the one in use is.
    ReplaceNetwork(Arc<Network>),
    /// Give another descriptor to whoever asks over a link.
    SetDescriptor(Box<Descriptor>),
    /// Ask a relay for its descriptor over a link.
    FetchDescriptor(LinkPeer, oneshot::Sender<Result<Vec<u8>, FetchStop>>),
    /// Report the counters.
    Metrics(oneshot::Sender<(Metrics, UdpCounters)>),
}

/// Why a circuit was not built.
#[derive(Clone, Debug)]
pub(crate) enum BuildStop {
    /// It was tried and failed.
    Failed(BuildFailure),
    /// It cannot be tried.
    Refused(String),
    /// The shard has ended.
    ShutDown,
}

/// Why a relay's descriptor did not come.
#[derive(Clone, Debug)]
pub(crate) enum FetchStop {
    /// The relay did not give it.
    Failed(DescriptorFailure),
    /// It cannot be asked for.
    Refused(String),
    /// The shard has ended.
    ShutDown,
}

/// A circuit that is ready; dropping it closes the circuit.
pub(crate) struct Built {
    pub(crate) circuit: CircuitGuard,
    pub(crate) took: Duration,
}

/// Closes a circuit when dropped.
pub(crate) struct CircuitGuard {
    shard: Arc<Shard>,
    pub(crate) id: CircuitId,
    pub(crate) state: Arc<CircuitState>,
}

impl CircuitGuard {
    /// Closes the circuit now.
    pub(crate) fn close(&self) {
        self.shard.close(self.id);
    }
}

impl Drop for CircuitGuard {
    fn drop(&mut self) {
        self.close();
    }
}

/// How a shard ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Circuits are closed and the neighbours told.
    Farewell,
    /// Nobody is told, and no last word is kept.
    #[cfg(feature = "testnet")]
    Sudden,
}

/// What other threads ask without waiting. Bounded: closings by the circuits that exist, messages by [`OUTBOX`].
#[derive(Default)]
struct Asks {
    close: Vec<CircuitId>,
    close_local: Vec<LocalId>,
    messages: Vec<(CircuitId, Vec<u8>)>,
    stop: Option<Stop>,
}

/// One data plane, as the rest of the crate sees it.
pub(crate) struct Shard {
    core: Mutex<Core>,
    asks: Mutex<Asks>,
    bell: Arc<Bell>,
    commands: mpsc::Sender<Command>,
    /// The runtime of the shard's thread, for QUIC's drivers and whatever belongs near them.
    pub(crate) runtime: Handle,
    exit: OnceLock<Arc<ExitServer>>,
    /// Connections of carriers that are not UDP.
    pub(crate) hub: Arc<Hub>,
    /// Where TCP connections to others leave; nothing on a node that does not reach others so.
    pub(crate) streams: Option<Streams>,
    /// What the node knows of how it is seen.
    nat: watch::Sender<NatReport>,
    ended: watch::Receiver<bool>,
}

/// A shard that has started; dropping it ends the shard without waiting.
pub(crate) struct Started {
    pub(crate) shard: Arc<Shard>,
    pub(crate) addresses: Vec<SocketAddr>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Started {
    /// Ends the shard and waits until its threads have ended.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the end.
    pub(crate) async fn shutdown(&self) {
        self.shard.stop();
        self.shard.ended().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread has nothing left to do but to return.
            let _ = thread.join();
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.shard.stop();
    }
}

/// Starts a shard on a thread of its own.
///
/// `ready` is called on that thread when all is open and before the first datagram is taken; its error ends the start.
/// `last_words` is called on that thread at its end with the replay filter.
///
/// # Errors
/// What the operating system refused.
///
/// # Cancel safety
/// Dropping the future ends the thread.
pub(crate) async fn start(
    name: &str,
    bind: Vec<SocketAddr>,
    config: NodeConfig,
    network: Option<Arc<Network>>,
    ready: impl FnOnce() -> Result<(), NodeError> + Send + 'static,
    last_words: impl FnOnce(Vec<u8>) + Send + 'static,
) -> Result<Started, NodeError> {
    let (report, started) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || driver::run(&bind, config, network, report, ready, last_words))
        .map_err(|source| NodeError::System { what: "a thread", source })?;
    let (shard, addresses) = started.await.map_err(|_| NodeError::ShutDown)??;
    Ok(Started { shard, addresses, thread: Mutex::new(Some(thread)) })
}

impl Shard {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a command to the shard; false once the shard has ended.
    pub(crate) async fn command(&self, command: Command) -> bool {
        let sent = self.commands.send(command).await.is_ok();
        self.bell.ring();
        sent
    }

    /// Sends messages on a circuit of this node's own, from a task on the shard's thread.
    pub(crate) fn send<'a>(&self, circuit: CircuitId, messages: impl Iterator<Item = &'a [u8]>) {
        let now = clock::now();
        let mut core = self.core();
        for message in messages {
            // A dead circuit or a full queue loses the packet; QUIC sees loss, and the circuit's state says the rest.
            let _ = core.node.send(now, circuit, message);
        }
        drop(core);
        self.bell.ring();
    }

    /// Sends messages back on a circuit that ends here, from a task on the shard's thread.
    pub(crate) fn reply<'a>(&self, local: LocalId, messages: impl Iterator<Item = &'a [u8]>) {
        let now = clock::now();
        let mut core = self.core();
        for message in messages {
            let _ = core.node.reply(now, local, message);
        }
        drop(core);
        self.bell.ring();
    }

    /// Queues a message for a circuit from any thread; false when too many wait, and the message is dropped.
    pub(crate) fn queue(&self, circuit: CircuitId, message: Vec<u8>) -> bool {
        let mut asks = self.asks();
        if asks.messages.len() >= OUTBOX {
            return false;
        }
        asks.messages.push((circuit, message));
        drop(asks);
        self.bell.ring();
        true
    }

    /// Closes a circuit of this node's own.
    pub(crate) fn close(&self, circuit: CircuitId) {
        self.asks().close.push(circuit);
        self.bell.ring();
    }

    /// Closes a circuit that ends here.
    pub(crate) fn close_local(&self, local: LocalId) {
        self.asks().close_local.push(local);
        self.bell.ring();
    }

    /// Whether the shard has been asked to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.asks().stop.is_some() || self.commands.is_closed()
    }

    /// Ends the shard: circuits are closed, neighbours told, and the thread ends.
    pub(crate) fn stop(&self) {
        self.asks().stop.get_or_insert(Stop::Farewell);
        self.bell.ring();
    }

    /// Ends the shard as if its process was killed.
    #[cfg(feature = "testnet")]
    pub(crate) fn kill(&self) {
        self.asks().stop = Some(Stop::Sudden);
        self.bell.ring();
    }

    /// Waits until the shard's thread has let go of everything.
    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The sender's end, too, is the shard's end.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Makes this shard an exit.
    pub(crate) fn set_exit(&self, exit: Arc<ExitServer>, socket: Arc<crate::quic::CircuitSocket>) {
        let _ = self.exit.set(exit);
        self.core().set_exit(socket);
    }

    /// What serves circuits that end here, if anything does.
    pub(crate) fn exit(&self) -> Option<Arc<ExitServer>> {
        self.exit.get().cloned()
    }

    /// The guards of own circuits that ended because a cell was altered, since the last call.
    pub(crate) fn take_damaged(&self) -> Vec<RelayId> {
        self.core().take_damaged()
    }

    /// The network document in use.
    pub(crate) fn network(&self) -> Option<Arc<Network>> {
        self.core().network()
    }

    /// Whom this node has links with, and how many datagrams went either way on each.
    #[cfg(feature = "testnet")]
    pub(crate) fn link_peers(&self) -> Vec<(SocketAddr, u64)> {
        let core = self.core();
        core.node.link_stats().map(|link| (link.address, link.datagrams_sent + link.datagrams_received)).collect()
    }

    /// The link over which a circuit that ends here came.
    pub(crate) fn local_via(&self, local: LocalId) -> Option<Via> {
        self.core().node.local_via(local)
    }

    /// Takes another network document into use.
    ///
    /// # Errors
    /// [`NodeError::OtherNetwork`], [`NodeError::OlderNetwork`] or [`NodeError::ShutDown`].
    pub(crate) async fn set_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        let (answer, taken) = oneshot::channel();
        if !self.command(Command::SetNetwork(network, answer)).await {
            return Err(NodeError::ShutDown);
        }
        taken.await.unwrap_or(Err(NodeError::ShutDown))
    }

    /// Takes a network document into use that need not be newer: entry relays after a long pause.
    ///
    /// # Errors
    /// [`NodeError::ShutDown`].
    pub(crate) async fn replace_network(&self, network: Arc<Network>) -> Result<(), NodeError> {
        // Commands are carried out in their order, so what follows finds it in place.
        let told = self.command(Command::ReplaceNetwork(network)).await;
        if told { Ok(()) } else { Err(NodeError::ShutDown) }
    }

    /// Asks a relay for its descriptor over a link, before there is any circuit. What comes is not verified.
    ///
    /// # Errors
    /// See [`FetchStop`].
    pub(crate) async fn fetch_descriptor(&self, relay: LinkPeer) -> Result<Vec<u8>, FetchStop> {
        let (answer, fetched) = oneshot::channel();
        if !self.command(Command::FetchDescriptor(relay, answer)).await {
            return Err(FetchStop::ShutDown);
        }
        fetched.await.unwrap_or(Err(FetchStop::ShutDown))
    }

    /// Builds a circuit.
    ///
    /// # Errors
    /// What the node said.
    pub(crate) async fn build(&self, path: Vec<RelayId>, sink: Sink) -> Result<Built, BuildStop> {
        let (answer, built) = oneshot::channel();
        if !self.command(Command::Build { path, sink, answer }).await {
            return Err(BuildStop::ShutDown);
        }
        built.await.unwrap_or(Err(BuildStop::ShutDown))
    }

    /// Opens a link to a relay before a circuit needs it.
    ///
    /// # Errors
    /// Why it cannot be tried.
    pub(crate) async fn open_link(&self, relay: RelayId) -> Result<(), String> {
        let (answer, opened) = oneshot::channel();
        if !self.command(Command::OpenLink { relay, answer }).await {
            return Err("the node is shut down".into());
        }
        opened.await.unwrap_or_else(|_| Err("the node is shut down".into()))
    }

    /// How the link to a relay goes; `None` when there is none.
    pub(crate) async fn way_to(&self, relay: RelayId) -> Option<Way> {
        let (answer, way) = oneshot::channel();
        if !self.command(Command::Way { relay, answer }).await {
            return None;
        }
        way.await.ok().flatten()
    }

    /// Whether a link goes by the carrier's connection that this address stands for.
    pub(crate) async fn carries_link(&self, address: SocketAddr) -> bool {
        let (answer, told) = oneshot::channel();
        self.command(Command::CarriesLink { address, answer }).await && told.await.unwrap_or(false)
    }

    /// Whether UDP leads nowhere, and how many links other carriers hold; `None` once the shard has ended.
    pub(crate) async fn cut_off(&self) -> Option<(bool, usize)> {
        let (answer, told) = oneshot::channel();
        if !self.command(Command::CutOff(answer)).await {
            return None;
        }
        told.await.ok()
    }

    /// Follows what the node knows of how it is seen.
    pub(crate) fn nat(&self) -> watch::Receiver<NatReport> {
        self.nat.subscribe()
    }

    /// The node knows more of how it is seen.
    fn tell_nat(&self, report: NatReport) {
        self.nat.send_if_modified(|known| {
            let news = *known != report;
            *known = report;
            news
        });
    }

    /// Counters of the node and its sockets; `None` once the shard has ended.
    pub(crate) async fn metrics(&self) -> Option<(Metrics, UdpCounters)> {
        let (answer, metrics) = oneshot::channel();
        if !self.command(Command::Metrics(answer)).await {
            return None;
        }
        metrics.await.ok()
    }
}

/// The last outcome that a meeting relay reported for a circuit.
pub(crate) type LastOutcome = Option<MeetingOutcome>;

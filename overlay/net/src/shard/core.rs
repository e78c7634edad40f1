//! The node and who listens to its circuits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot, watch};
use zmesh_proto::node::{CircuitId, CloseReason, Event, FetchId, LocalId, Node};

use super::{Asks, BuildStop, Built, CircuitGuard, Command, FetchStop, LastOutcome, Shard, UdpCounters};
use crate::api::NodeError;
use crate::quic::CircuitSocket;
use crate::{Network, RelayId};

/// Probes of one circuit that may be under way.
const PROBES: usize = 64;

/// Messages that may wait for the reader of a datagram circuit; the oldest go first.
const QUEUE: usize = 512;

/// Damaged circuits that are remembered until the next path is chosen.
const DAMAGED: usize = 64;

/// Where the messages of an own circuit go.
#[derive(Clone)]
pub(crate) enum Sink {
    /// To QUIC, which sends by this circuit from the moment that it is ready.
    Quic(Arc<CircuitSocket>),
    /// To QUIC, which sends by another circuit until somebody says otherwise.
    QuicStandby(Arc<CircuitSocket>),
    /// To the reader of a datagram circuit.
    Queue(Arc<MessageQueue>),
}

/// Messages for the reader of a datagram circuit.
#[derive(Default)]
pub(crate) struct MessageQueue {
    messages: Mutex<VecDeque<Vec<u8>>>,
    arrived: Notify,
}

impl MessageQueue {
    fn push(&self, message: Vec<u8>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() == QUEUE {
            messages.pop_front();
        }
        messages.push_back(message);
        drop(messages);
        self.arrived.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<Vec<u8>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits until there may be a message.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// What the holders of a circuit can see of it.
pub(crate) struct CircuitState {
    closed: watch::Sender<Option<String>>,
    suspect: watch::Sender<bool>,
    meeting: watch::Sender<LastOutcome>,
}

impl CircuitState {
    fn new() -> Arc<Self> {
        let (closed, suspect) = (watch::Sender::new(None), watch::Sender::new(false));
        Arc::new(Self { closed, suspect, meeting: watch::Sender::new(None) })
    }

    /// Why the circuit has ended, if it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.closed.borrow().clone()
    }

    /// Waits until the circuit has ended and says why.
    pub(crate) async fn closed(&self) -> String {
        let mut closed = self.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the node is gone".into(),
        }
    }

    /// Waits until a circuit that is watched is silent for longer than it should.
    pub(crate) async fn suspect(&self) {
        let mut suspect = self.suspect.subscribe();
        if suspect.wait_for(|suspect| *suspect).await.is_err() {
            std::future::pending().await
        }
    }

    /// Follows what the meeting relay says.
    pub(crate) fn meeting(&self) -> watch::Receiver<LastOutcome> {
        self.meeting.subscribe()
    }
}

/// A circuit of this node's own.
struct Own {
    state: Arc<CircuitState>,
    sink: Sink,
    /// The first relay of the path.
    guard: Option<RelayId>,
    building: Option<oneshot::Sender<Result<Built, BuildStop>>>,
    probes: Vec<(usize, oneshot::Sender<Result<Duration, String>>)>,
}

/// Who waits for a relay's descriptor.
type Fetching = oneshot::Sender<Result<Vec<u8>, FetchStop>>;

/// The node with its listeners; only the shard's thread locks it for long.
pub(crate) struct Core {
    pub(crate) node: Node,
    network: Option<Arc<Network>>,
    own: HashMap<CircuitId, Own>,
    fetches: HashMap<FetchId, Fetching>,
    exit: Option<Arc<CircuitSocket>>,
    closed_locals: Vec<LocalId>,
    damaged: Vec<RelayId>,
}

impl Core {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            network: None,
            own: HashMap::new(),
            fetches: HashMap::new(),
            exit: None,
            closed_locals: Vec::new(),
            damaged: Vec::new(),
        }
    }

    /// Takes a network document into use, whatever the one before was.
    pub(crate) fn use_network(&mut self, network: Arc<Network>) {
        self.network = Some(Arc::clone(&network));
        self.node.set_network(network);
    }

    pub(crate) fn network(&self) -> Option<Arc<Network>> {
        self.network.clone()
    }

    pub(crate) fn set_exit(&mut self, socket: Arc<CircuitSocket>) {
        self.exit = Some(socket);
    }

    /// Carries out what was asked without waiting.
    pub(crate) fn asked(&mut self, now: Instant, asks: Asks) {
        for (circuit, message) in asks.messages {
            let _ = self.node.send(now, circuit, &message);
        }
        for circuit in asks.close {
            if let Some(own) = self.own.remove(&circuit) {
                self.node.close(now, circuit);
                own.end("closed here");
            }
        }
        for local in asks.close_local {
            self.node.close_local(now, local);
        }
    }

    /// Carries out a command.
    pub(crate) fn command(&mut self, now: Instant, command: Command, udp: UdpCounters) {
        match command {
            Command::Build { path, sink, answer } => match self.node.build(now, &path) {
                Ok(circuit) => {
                    let building = Some(answer);
                    let guard = path.first().copied();
                    let own = Own { state: CircuitState::new(), sink, guard, building, probes: Vec::new() };
                    self.own.insert(circuit, own);
                }
                Err(error) => drop(answer.send(Err(BuildStop::Refused(error.to_string())))),
            },
            Command::Ping { circuit, hop, answer } => {
                let Some(own) = self.own.get_mut(&circuit) else {
                    return drop(answer.send(Err("the circuit has ended".into())));
                };
                own.probes.retain(|(_, answer)| !answer.is_closed());
                if own.probes.len() >= PROBES {
                    return drop(answer.send(Err("too many probes are under way".into())));
                }
                match self.node.ping(now, circuit, hop) {
                    Ok(()) => own.probes.push((hop, answer)),
                    Err(error) => drop(answer.send(Err(error.to_string()))),
                }
            }
            Command::Watch { circuit, rtt } => {
                if let Some(own) = self.own.get(&circuit) {
                    own.state.suspect.send_replace(false);
                }
                self.node.watch(now, circuit, Some(rtt));
            }
            Command::Meet { circuit, meet, answer } => {
                let met = self.node.meet(now, circuit, meet).map_err(|error| error.to_string());
                drop(answer.send(met));
            }
            Command::SetOnionKeys(keys) => self.node.set_onion_keys(keys),
            Command::SetNetwork(network, answer) => {
                let allowed = may_follow(self.network.as_deref(), &network);
                if allowed.is_ok() {
                    self.use_network(network);
                }
                drop(answer.send(allowed));
            }
            Command::OpenLink { relay, answer } => {
                let opened = self.node.open_link(now, &relay).map_err(|error| error.to_string());
                drop(answer.send(opened));
            }
            Command::Way { relay, answer } => drop(answer.send(self.node.way_to(&relay))),
            Command::UseCarrier { relay, address } => {
                if let Err(error) = self.node.use_carrier(now, &relay, address) {
                    tracing::debug!(%error, "a fallback's relay cannot be linked to");
                }
            }
            Command::Connected { attempt, address } => self.node.connected(now, attempt, address),
            Command::CarriesLink { address, answer } => drop(answer.send(self.node.carries_link(address))),
            Command::SetMapped(mapped) => self.node.set_mapped_addresses(mapped),
            Command::CutOff(answer) => drop(answer.send((self.node.is_cut_off(now), self.node.carried_links()))),
            Command::SetRateLimit(limit) => self.node.set_rate_limit(now, limit),
            Command::SetDraining(draining) => self.node.set_draining(draining),
            Command::CloseCircuits => self.node.close_circuits(now),
            Command::ReplaceNetwork(network) => self.use_network(network),
            Command::SetDescriptor(descriptor) => self.node.set_descriptor(&descriptor),
            Command::FetchDescriptor(relay, answer) => match self.node.fetch_descriptor(now, &relay) {
                Ok(fetch) => drop(self.fetches.insert(fetch, answer)),
                Err(error) => drop(answer.send(Err(FetchStop::Refused(error.to_string())))),
            },
            Command::Metrics(answer) => drop(answer.send((self.node.metrics(), udp))),
        }
    }

    /// Hands every event of the node to whoever waits for it.
    pub(crate) fn events(&mut self, now: Instant, shard: &Arc<Shard>) {
        while let Some(event) = self.node.poll_event() {
            match event {
                Event::Message { circuit, message } => {
                    if let Some(own) = self.own.get(&circuit) {
                        own.deliver(message);
                    }
                }
                Event::LocalMessage { local, message } => match &self.exit {
                    Some(exit) => {
                        self.node.keep_local_order(local);
                        exit.deliver(Some(local), message);
                    }
                    None => self.node.close_local(now, local),
                },
                Event::LocalClosed { local } => self.closed_locals.push(local),
                Event::CircuitReady { circuit, took } => self.ready(now, shard, circuit, took),
                Event::CircuitFailed { circuit, reason } => {
                    if let Some(mut own) = self.own.remove(&circuit) {
                        if let Some(answer) = own.building.take() {
                            let _ = answer.send(Err(BuildStop::Failed(reason)));
                        }
                        own.end(&reason.to_string());
                    }
                }
                Event::CircuitClosed { circuit, reason } => {
                    if let Some(own) = self.own.remove(&circuit) {
                        if reason == CloseReason::Damaged && self.damaged.len() < DAMAGED {
                            self.damaged.extend(own.guard);
                        }
                        own.end(&reason.to_string());
                    }
                }
                Event::CircuitSuspect { circuit } => {
                    if let Some(own) = self.own.get(&circuit) {
                        own.state.suspect.send_replace(true);
                    }
                }
                Event::Pong { circuit, hop, rtt } => {
                    if let Some(own) = self.own.get_mut(&circuit)
                        && let Some(index) = own.probes.iter().position(|(probed, _)| *probed == hop)
                    {
                        let (_, answer) = own.probes.remove(index);
                        let _ = answer.send(Ok(rtt));
                    }
                }
                Event::Meeting { circuit, outcome } => {
                    if let Some(own) = self.own.get(&circuit) {
                        own.state.meeting.send_replace(Some(outcome));
                    }
                }
                Event::Descriptor { fetch, descriptor } => self.fetched(fetch, Ok(descriptor)),
                Event::DescriptorFailed { fetch, reason } => self.fetched(fetch, Err(FetchStop::Failed(reason))),
                Event::NatChanged => shard.tell_nat(self.node.nat_report()),
                _ => tracing::debug!("an event that this driver does not know"),
            }
        }
    }

    fn fetched(&mut self, fetch: FetchId, outcome: Result<Vec<u8>, FetchStop>) {
        if let Some(answer) = self.fetches.remove(&fetch) {
            // Nobody may wait any more.
            let _ = answer.send(outcome);
        }
    }

    fn ready(&mut self, now: Instant, shard: &Arc<Shard>, circuit: CircuitId, took: Duration) {
        let Some(own) = self.own.get_mut(&circuit) else {
            return;
        };
        let Some(answer) = own.building.take() else {
            return;
        };
        if answer.is_closed() {
            self.own.remove(&circuit);
            self.node.close(now, circuit);
            return;
        }
        match &own.sink {
            Sink::Quic(socket) => {
                self.node.keep_order(circuit);
                socket.attach(circuit);
            }
            Sink::QuicStandby(_) => self.node.keep_order(circuit),
            Sink::Queue(_) => {}
        }
        let circuit = CircuitGuard { shard: Arc::clone(shard), id: circuit, state: Arc::clone(&own.state) };
        // If the caller went away this very moment, the guard that comes back closes the circuit.
        drop(answer.send(Ok(Built { circuit, took })));
    }

    /// The guards of own circuits that ended because a cell was altered, since the last call.
    pub(crate) fn take_damaged(&mut self) -> Vec<RelayId> {
        std::mem::take(&mut self.damaged)
    }

    /// Circuits of others that have ended here since the last call.
    pub(crate) fn take_closed_locals(&mut self) -> Vec<LocalId> {
        std::mem::take(&mut self.closed_locals)
    }

    /// Closes every circuit, this node's own and those of others, and lets go of every socket.
    pub(crate) fn close_all(&mut self, now: Instant) {
        self.node.close_circuits(now);
        for (circuit, own) in self.own.drain() {
            self.node.close(now, circuit);
            own.end("the node is shut down");
        }
        self.fetches.clear();
        self.exit = None;
    }
}

/// Whether a network document may take the place of the one in use: an older one brings back relays that were taken out.
pub(crate) fn may_follow(in_use: Option<&Network>, given: &Network) -> Result<(), NodeError> {
    let Some(in_use) = in_use else { return Ok(()) };
    if given.network_id() != in_use.network_id() {
        return Err(NodeError::OtherNetwork);
    }
    if given.valid_after() < in_use.valid_after() {
        return Err(NodeError::OlderNetwork { given: given.valid_after(), in_use: in_use.valid_after() });
    }
    Ok(())
}

impl Own {
    fn deliver(&self, message: Vec<u8>) {
        match &self.sink {
            Sink::Quic(socket) | Sink::QuicStandby(socket) => socket.deliver(None, message),
            Sink::Queue(queue) => queue.push(message),
        }
    }

    fn end(self, reason: &str) {
        self.state.closed.send_replace(Some(reason.to_owned()));
        if let Some(answer) = self.building {
            let _ = answer.send(Err(BuildStop::Refused(reason.to_owned())));
        }
        for (_, answer) in self.probes {
            let _ = answer.send(Err(reason.to_owned()));
        }
        if let Sink::Queue(queue) = &self.sink {
            queue.arrived.notify_one();
        }
    }
}

//! The machine that drivers and the simulator drive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::core::{Core, Owner, Timer};
use super::entry::{Fetches, Giver};
use super::job::{JobDone, Outcome, Work};
use super::{
    BuildError, CircuitId, Event, FetchError, FetchId, Health, LocalId, Meet, Metrics, NodeConfig, OnionKey, SendError,
};
use crate::crowd::Via;
use crate::directory::Network;
use crate::link::{Control, HandshakeJob, Inbound, LinkEvent, LinkId, LinkPeer, LinkStats, Links, Transmit};
use crate::nat::Nat;
use crate::origin::Origin;
use crate::random::Generator;
use crate::relay::Relay;
use crate::relay::budget::WorkBudget;
use crate::relay::kind::reason;
use crate::relay::neighbour::Neighbours;
use crate::wire::cell::Cell;
use crate::wire::descriptor::Descriptor;

/// How often memory of quiet circuits is given back and waiting meetings are looked through.
const SWEEP: Duration = Duration::from_secs(5);
/// Public-key work that may be saved up and done at once.
const WORK_BURST: Duration = Duration::from_millis(50);
/// A node: its links, the circuits of others through it, and its own circuits.
///
/// The driver owns sockets, clock and threads, and no decision. It calls
///
/// 1. [`handle_datagram`](Self::handle_datagram) for each datagram of a batch (at most 64),
///    [`handle_timeout`](Self::handle_timeout) when [`next_timeout`](Self::next_timeout) has come, and
///    [`handle_job`](Self::handle_job) for work that is done, and any commands;
/// 2. [`poll_event`](Self::poll_event) until it is empty, acting on each event (which may be more commands);
/// 3. [`poll_job`](Self::poll_job) until it is empty, and runs the jobs here or on another thread;
/// 4. [`flush`](Self::flush), sends what [`transmits`](Self::transmits) yields, then
///    [`clear_transmits`](Self::clear_transmits).
///
/// `now` never runs backwards. Nothing blocks; what does not fit is dropped and counted in
/// [`metrics`](Self::metrics). The same seed, inputs and times give the same outputs.
pub struct Node {
    pub(super) core: Core,
    pub(super) relay: Option<Relay>,
    pub(super) origin: Origin,
    /// What a relay gives over links before there is a circuit; missing on other nodes.
    pub(super) giver: Option<Giver>,
    fetches: Fetches,
    pub(super) nat: Option<Box<Nat>>,
    pub(super) budget: WorkBudget,
    /// Work of this node itself, not subject to the budget.
    pub(super) own_work: VecDeque<Work>,
    /// A handshake that the budget did not allow yet.
    pub(super) handshake: Option<HandshakeJob>,
    pub(super) handshakes_next: bool,
    pub(super) jobs_out: u64,
    inbox: Vec<Inbound>,
    /// The latest time that an input carried.
    pub(super) now: Instant,
    flush_datagrams: usize,
    /// Set when a flush was cut short, or the budget delays work: when to go on.
    pub(super) resume: Option<Instant>,
}

impl Node {
    /// A node without links.
    #[must_use]
    pub fn new(config: NodeConfig, now: Instant) -> Self {
        let mut rng = Generator::new(&config.seed);
        let links = Links::new(config.link, rng.fork(), now, config.unix_now);
        let neighbours = Neighbours::new(&config.queue, &mut rng);
        let mut core = Core::new(links, neighbours, rng, now, config.unix_now);
        core.timers.set(Timer::Sweep, now + SWEEP);
        let percent = config.relay.as_ref().map_or(100, |relay| relay.work_percent);
        let giver = config.relay.as_ref().map(|_| Giver::new(now));
        let relay = config.relay.map(|relay| Relay::new(relay, &mut core, now));
        let nat = Self::nat_of(config.nat, relay.as_ref(), &mut core, now);
        Self {
            core,
            relay,
            giver,
            fetches: Fetches::new(),
            nat,
            origin: Origin::new(config.origin),
            budget: WorkBudget::new(percent, WORK_BURST, now),
            own_work: VecDeque::new(),
            handshake: None,
            handshakes_next: true,
            jobs_out: 0,
            inbox: Vec::new(),
            now,
            flush_datagrams: config.queue.flush_datagrams,
            resume: None,
        }
    }

    /// The relays that this node may use and connect to. Circuits that are open stay.
    pub fn set_network(&mut self, network: Arc<Network>) {
        self.core.set_network(network);
    }

    /// The wall clock: nanoseconds since 1970 at `now`.
    pub fn set_clock(&mut self, now: Instant, unix_nanos: u64) {
        self.core.set_clock(now, unix_nanos);
    }

    /// Replaces a relay's onion keys; does nothing on other nodes.
    pub fn set_onion_keys(&mut self, keys: Vec<OnionKey>) {
        if let Some(relay) = &mut self.relay {
            relay.set_onion_keys(keys);
        }
    }

    /// A relay takes no new circuits from now on, or takes them again; those that stand go on. Does nothing on other nodes.
    pub fn set_draining(&mut self, draining: bool) {
        if let Some(relay) = &mut self.relay {
            relay.set_draining(draining);
        }
    }

    /// Ends all circuits of others through this relay, and tells the neighbours. Those that end here follow as events.
    pub fn close_circuits(&mut self, now: Instant) {
        self.now = now;
        if let Some(relay) = &mut self.relay {
            relay.close_all(&mut self.core, now);
        }
    }

    /// The most that this node sends from now on, in bytes per second.
    pub fn set_rate_limit(&mut self, now: Instant, limit: Option<u64>) {
        self.core.links.set_rate_limit(now, limit);
    }

    /// A datagram came in. Its bytes are decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        self.now = now;
        let Some((from, part)) = self.sort(now, from, datagram) else { return };
        let mut inbox = std::mem::take(&mut self.inbox);
        self.core.links.handle_datagram(now, from, &mut datagram[part], &mut inbox);
        self.drain_link_events(now);
        for inbound in &mut inbox {
            match inbound {
                Inbound::Cell(link, cell) => self.handle_cell(now, *link, cell),
                Inbound::Control(link, Control::Signal(signal)) => self.handle_signal(now, *link, signal),
                Inbound::Control(link, control) => self.handle_control(now, *link, control),
                Inbound::DescriptorAsked(link, part) => match &mut self.giver {
                    Some(giver) => giver.asked(&mut self.core, now, *link, *part),
                    None => self.core.metrics.descriptors.parts_refused += 1,
                },
                Inbound::DescriptorPart(link, part) => self.fetches.handle_part(&mut self.core, now, *link, part),
                Inbound::Observed(link, seen) => self.handle_observed(now, *link, *seen),
            }
        }
        inbox.clear();
        self.inbox = inbox;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.resume = self.resume.filter(|at| *at > now);
        self.core.links.handle_timeout(now);
        self.drain_link_events(now);
        self.nat_timeout(now);
        while let Some(timer) = self.core.timers.pop_due(now) {
            match (timer, &mut self.relay) {
                (Timer::Hop(key), Some(relay)) => relay.handle_timer(&mut self.core, now, key),
                (Timer::Hop(_), None) => {}
                (Timer::Own(key), _) => self.origin.handle_timer(&mut self.core, now, key),
                (Timer::Fetch(key), _) => self.fetches.handle_timer(&mut self.core, now, key),
                (Timer::Sweep, relay) => {
                    if let Some(relay) = relay {
                        relay.sweep(now);
                    }
                    self.core.neighbours.shrink();
                    self.core.timers.set(Timer::Sweep, now + SWEEP);
                }
            }
        }
    }

    /// Work is done.
    pub fn handle_job(&mut self, now: Instant, done: JobDone) {
        self.now = now;
        self.jobs_out = self.jobs_out.saturating_sub(1);
        match (done.0, &mut self.relay) {
            (Outcome::Handshake(done), _) => {
                self.core.links.handle_job(now, done);
                self.drain_link_events(now);
            }
            (Outcome::Peeled { hop, result }, Some(relay)) => {
                relay.handle_peeled(&mut self.core, now, hop, result.map(|peeled| *peeled));
            }
            (Outcome::Finished { hop, result }, Some(relay)) => {
                relay.handle_finished(&mut self.core, now, hop, result.map(|unwrapped| *unwrapped));
            }
            (Outcome::Created { circuit, result }, _) => {
                self.origin.handle_created(&mut self.core, now, circuit, result.map(|made| *made));
            }
            (Outcome::Completed { circuit, result }, _) => {
                self.origin.handle_completed(&mut self.core, now, circuit, result.map(|circuit| *circuit));
            }
            (Outcome::Exchange(done), _) => {
                if let Some(nat) = &mut self.nat {
                    nat.handle_done(&mut self.core, now, done);
                }
            }
            (Outcome::Peeled { .. } | Outcome::Finished { .. }, None) => {}
        }
    }

    /// The descriptor that a relay gives to whoever asks over a link; does nothing on other nodes.
    pub fn set_descriptor(&mut self, descriptor: &Descriptor) {
        if let Some(giver) = &mut self.giver {
            giver.set(descriptor);
        }
    }

    /// Asks a relay for its descriptor over a link, which needs neither a network document nor a circuit.
    /// [`Event::Descriptor`] or [`Event::DescriptorFailed`] follows.
    ///
    /// # Errors
    /// When it cannot even be tried; see [`FetchError`].
    pub fn fetch_descriptor(&mut self, now: Instant, relay: &LinkPeer) -> Result<FetchId, FetchError> {
        self.now = now;
        self.fetches.begin(&mut self.core, now, relay)
    }

    /// Builds a circuit through these relays, first hop first. [`Event::CircuitReady`] or [`Event::CircuitFailed`]
    /// follows.
    ///
    /// # Errors
    /// When the path cannot even be tried; see [`BuildError`].
    pub fn build(&mut self, now: Instant, path: &[RelayId]) -> Result<CircuitId, BuildError> {
        self.now = now;
        let own = self.relay.as_ref().map(|relay| *relay.id());
        let (circuit, work) = self.origin.build(&mut self.core, now, path, own.as_ref())?;
        self.own_work.push_back(work);
        Ok(circuit)
    }

    /// Sends a message to the last hop of a circuit. Unreliable: it may be lost on the way or by a full queue.
    ///
    /// # Errors
    /// [`SendError`] when the circuit is not ready or the message is empty or longer than [`super::MESSAGE_MAX`].
    pub fn send(&mut self, now: Instant, circuit: CircuitId, message: &[u8]) -> Result<(), SendError> {
        self.origin.send(&mut self.core, now, circuit, message)
    }

    /// Sends a message back on a circuit that ends here, to its origin. Unreliable like [`send`](Self::send).
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reply(&mut self, now: Instant, local: LocalId, message: &[u8]) -> Result<(), SendError> {
        let relay = self.relay.as_mut().ok_or(SendError::NoCircuit)?;
        relay.reply(&mut self.core, now, local, message)
    }

    /// From now on messages of an own circuit come in the order of their sending, as far as waiting for those that links send again
    /// pays; see [`InOrder`](crate::relay::in_order::InOrder). For QUIC, not for voice.
    pub fn keep_order(&mut self, circuit: CircuitId) {
        self.origin.keep_order(circuit);
    }

    /// The same for a circuit that ends here, once it has carried a message.
    pub fn keep_local_order(&mut self, local: LocalId) {
        if let Some(relay) = &mut self.relay {
            relay.keep_order(local);
        }
    }

    /// Probes a hop (0 = first relay). [`Event::Pong`] follows, unless the probe or its answer is lost.
    ///
    /// # Errors
    /// [`SendError`] when the circuit is not ready, has no such hop, or too many probes are unanswered.
    pub fn ping(&mut self, now: Instant, circuit: CircuitId, hop: usize) -> Result<(), SendError> {
        self.origin.ping(&mut self.core, now, circuit, hop)
    }

    /// Watches a circuit closely, because another one is ready to take over: probes go out after a much shorter silence,
    /// and [`Event::CircuitSuspect`] says when it has lasted too long for a circuit of this round trip. `None` ends it.
    pub fn watch(&mut self, now: Instant, circuit: CircuitId, rtt: Option<Duration>) {
        self.origin.watch(&mut self.core, now, circuit, rtt);
    }

    /// Meets another circuit at the last hop. Repeated inside until the relay answers; [`Event::Meeting`] follows.
    ///
    /// # Errors
    /// [`SendError`] when the circuit is not ready or takes part in a meeting already.
    pub fn meet(&mut self, now: Instant, circuit: CircuitId, role: Meet) -> Result<(), SendError> {
        self.origin.meet(&mut self.core, now, circuit, role)
    }

    /// Ends an own circuit, ready or not. No event follows.
    pub fn close(&mut self, now: Instant, circuit: CircuitId) {
        self.origin.close(&mut self.core, now, circuit);
    }

    /// The link over which a circuit that ends here came, and who is behind it: what a driver's bounds count by.
    #[must_use]
    pub fn local_via(&self, local: LocalId) -> Option<Via> {
        self.relay.as_ref()?.local_via(&self.core, local)
    }

    /// Ends a circuit that ends here. No event follows.
    pub fn close_local(&mut self, now: Instant, local: LocalId) {
        if let Some(relay) = &mut self.relay {
            relay.close_local(&mut self.core, now, local);
        }
    }

    /// After a batch of input: cells leave their queues as far as the links let them, two in a datagram where two
    /// wait, and links send what else is due.
    pub fn flush(&mut self, now: Instant) {
        self.traverse(now);
        let Core { neighbours, links, metrics, .. } = &mut self.core;
        neighbours.send_destroys(now, links);
        if let Some(at) = neighbours.flush(now, links, metrics, self.flush_datagrams) {
            self.resume_at(at);
        }
        self.core.links.finish_batch(now);
    }

    /// Runs of equal datagrams to send.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.core.links.transmits()
    }

    /// Forgets what [`transmits`](Self::transmits) yields.
    pub fn clear_transmits(&mut self) {
        self.core.links.clear_transmits();
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.core.poll_event()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), then drain and [`flush`](Self::flush), at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let (links, timers) = (self.core.links.next_timeout(), self.core.timers.next());
        [links, timers, self.resume, self.nat_due()].into_iter().flatten().min()
    }

    /// A snapshot of all counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.core.metrics.clone();
        metrics.queue.cells = self.core.neighbours.cells() as u64;
        metrics.queue.memory = self.core.neighbours.memory() as u64;
        metrics.links_up = self.core.neighbours.links_up() as u64;
        metrics.links = *self.core.links.counters();
        self.origin.gauges(&mut metrics);
        if let Some(relay) = &self.relay {
            relay.gauges(&mut metrics);
        }
        metrics.work.running = self.jobs_out;
        metrics
    }

    /// The replay filter's state, to be kept over a restart; empty on a node that is no relay.
    #[must_use]
    pub fn replay_state(&self) -> Vec<u8> {
        self.relay.as_ref().map(Relay::replay_state).unwrap_or_default()
    }

    /// What probes say about an own circuit's hops.
    #[must_use]
    pub fn health(&self, circuit: CircuitId) -> Option<&Health> {
        self.origin.health(circuit)
    }

    /// How all links of this node fare.
    pub fn link_stats(&self) -> impl Iterator<Item = LinkStats> {
        self.core.links.all_stats()
    }

    fn handle_cell(&mut self, now: Instant, link: LinkId, cell: &mut Cell) {
        self.core.metrics.cells_received += 1;
        match (self.core.owner(link, cell.circuit), &mut self.relay) {
            (Some(Owner::FromOrigin(key)), Some(relay)) => relay.forward(&mut self.core, now, key, cell),
            (Some(Owner::FromFar(key)), Some(relay)) => relay.backward(&mut self.core, now, key, cell),
            (Some(Owner::Own(key)), _) => self.origin.handle_cell(&mut self.core, now, key, cell),
            _ => {
                self.core.metrics.drops.unknown_circuit += 1;
                if self.core.neighbours.may_turn_down(now, link) {
                    self.core.refuse(now, link, cell.circuit, reason::UNKNOWN);
                }
            }
        }
    }

    fn handle_control(&mut self, now: Instant, link: LinkId, control: &Control) {
        let owner = self.core.owner(link, control.circuit());
        match (control, owner, &mut self.relay) {
            (Control::Setup { circuit, packet }, _, Some(relay)) => {
                relay.handle_setup(&mut self.core, now, link, *circuit, *packet);
            }
            (Control::Setup { circuit, .. }, _, None) => {
                self.core.metrics.circuits.protocol_errors += 1;
                self.core.refuse(now, link, *circuit, reason::REFUSED);
            }
            (Control::SetupReply { reply, .. }, Some(Owner::FromFar(key)), Some(relay)) => {
                relay.handle_reply(&mut self.core, now, key, reply);
            }
            (Control::SetupReply { reply, .. }, Some(Owner::Own(key)), _) => {
                self.own_work.extend(self.origin.handle_reply(&mut self.core, now, key, *reply));
            }
            (Control::SetupReply { .. }, _, _) => self.core.metrics.circuits.protocol_errors += 1,
            (Control::Destroy { reason, .. }, Some(Owner::Own(key)), _) => {
                self.origin.handle_destroy(&mut self.core, now, key, *reason);
            }
            (Control::Destroy { reason, .. }, Some(owner), Some(relay)) => {
                relay.handle_destroy(&mut self.core, now, owner, *reason);
            }
            (Control::Destroy { .. } | Control::Signal(_), ..) => {}
        }
    }

    fn drain_link_events(&mut self, now: Instant) {
        while let Some(event) = self.core.links.poll_event() {
            match event {
                LinkEvent::Up(link, info) => {
                    self.fetches.link_up(&mut self.core, now, link);
                    self.nat_link_up(now, link);
                    for owner in self.core.link_up(link, info) {
                        match (owner, &mut self.relay) {
                            (Owner::Own(key), _) => self.origin.link_up(&mut self.core, now, key),
                            (Owner::FromOrigin(key) | Owner::FromFar(key), Some(relay)) => {
                                relay.link_up(&mut self.core, now, key);
                            }
                            _ => {}
                        }
                    }
                }
                LinkEvent::Down(link, _) => {
                    self.nat_link_down(now, link);
                    if let Some(relay) = &mut self.relay {
                        relay.link_down(&mut self.core, now, link);
                    }
                    self.origin.link_down(&mut self.core, now, link);
                    self.fetches.link_down(&mut self.core, link);
                    if let Some(giver) = &mut self.giver {
                        giver.link_down(link);
                    }
                    self.core.neighbours.remove(link);
                }
            }
        }
    }

    pub(super) fn resume_at(&mut self, at: Instant) {
        self.resume = Some(self.resume.map_or(at, |old| old.min(at)));
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("relay", &self.relay.is_some()).finish_non_exhaustive()
    }
}

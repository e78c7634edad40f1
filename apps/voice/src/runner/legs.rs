//! The circuits under a call's legs: builds them, carries their messages, and says in words what happened to them.

use super::{DatagramTransport, TransportError};
use crate::call::{MESSAGE_LEN, Message, Role};
use crate::legs::{Cause, LegEvent, LegId, Legs, Mode, Reach, Seed, Step};
use serde::Serialize;
use snow::resolvers::{CryptoResolver, RingResolver};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use zmesh_overlay::{CircuitError, DatagramCircuit, Meet, MeetingSpec, Node, Rebuilds, RelayId};

/// Messages of all legs that wait for the call; more are dropped.
const INBOX: usize = 512;
/// How long a leg may take to come up here.
const BUILD: Duration = Duration::from_secs(12);
/// How long a hop may take to answer when it is asked whether it is to blame.
const ASK: Duration = Duration::from_millis(1_200);
/// News that wait to be shown.
const NEWS: usize = 32;

/// Something that happened to the paths of a call, for programs and in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathNews {
    /// What happened.
    #[serde(flatten)]
    pub event: LegEvent,
    /// The same for people.
    pub words: String,
    /// The relays of this side's half of a path that stands by from now on, by name, guard first; empty for anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
}

impl PathNews {
    fn new(event: LegEvent, words: String) -> Self {
        Self { event, words, path: Vec::new() }
    }
}

/// What the tasks of the circuits report.
enum In {
    Message(LegId, Vec<u8>),
    Opened { leg: LegId, relay: RelayId, cookie: [u8; 16], reach: Reach, circuit: Arc<DatagramCircuit> },
    Failed(LegId),
    Lost(LegId),
    News(PathNews),
}

/// One or two circuits of this side as the transport of a call. Closes them when it is dropped.
pub struct LegCircuits {
    inner: Arc<Inner>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<In>>,
}

struct Inner {
    node: Node,
    hops: usize,
    role: Role,
    rebuilds: Rebuilds,
    start: Instant,
    first: Arc<DatagramCircuit>,
    state: Mutex<State>,
    reports: mpsc::Sender<In>,
}

struct State {
    legs: Legs,
    circuits: BTreeMap<LegId, Arc<DatagramCircuit>>,
    /// Circuits that were given up lately, so that their relays can still be asked.
    left: Option<(LegId, Arc<DatagramCircuit>)>,
    asides: VecDeque<Vec<u8>>,
    news: VecDeque<PathNews>,
    tasks: JoinSet<()>,
}

impl LegCircuits {
    /// A call over `circuit`, which `node` built with so many `hops` of its own choice, and in this `mode`.
    ///
    /// # Errors
    /// [`TransportError`] if the system gives no random bytes.
    pub fn new(
        node: Node,
        circuit: Arc<DatagramCircuit>,
        role: Role,
        mode: Mode,
        hops: usize,
    ) -> Result<Self, TransportError> {
        let legs = match role {
            Role::Caller => Legs::caller(mode),
            Role::Answerer => Legs::answerer(mode, Seed::new(random()?)),
        };
        let (reports, inbox) = mpsc::channel(INBOX);
        let rebuilds = Rebuilds::new();
        let state = State {
            legs,
            circuits: BTreeMap::from([(LegId(0), Arc::clone(&circuit))]),
            left: None,
            asides: VecDeque::new(),
            news: VecDeque::new(),
            tasks: JoinSet::new(),
        };
        let start = Instant::now();
        let inner =
            Arc::new(Inner { node, hops, role, rebuilds, start, first: circuit, state: Mutex::new(state), reports });
        inner.read(LegId(0), &inner.first);
        Ok(Self { inner, inbox: tokio::sync::Mutex::new(inbox) })
    }

    /// The circuit that carries every message of this side.
    #[must_use]
    pub fn active(&self) -> Arc<DatagramCircuit> {
        let state = self.inner.state();
        state.circuits.get(&state.legs.active()).cloned().unwrap_or_else(|| Arc::clone(&self.inner.first))
    }

    /// The circuit of each leg that there is, by number: this side's halves.
    #[must_use]
    pub fn circuits(&self) -> Vec<(LegId, Arc<DatagramCircuit>)> {
        self.inner.state().circuits.iter().map(|(leg, circuit)| (*leg, Arc::clone(circuit))).collect()
    }

    /// Whether a second leg is up and heard.
    #[must_use]
    pub fn has_standby(&self) -> bool {
        self.inner.state().legs.has_standby()
    }

    fn take_in(&self, report: In) -> Option<Vec<u8>> {
        let inner = &self.inner;
        let now = inner.start.elapsed();
        let mut state = inner.state();
        let message = match report {
            In::Message(leg, bytes) => state.legs.handle_message(now, leg, &bytes),
            In::Opened { leg, relay, cookie, reach, circuit } => {
                inner.read_in(&mut state, leg, &circuit);
                state.circuits.insert(leg, circuit);
                state.legs.opened(now, leg, relay.0, cookie, reach);
                None
            }
            In::Failed(leg) => {
                state.legs.failed(now, leg);
                None
            }
            In::Lost(leg) => {
                if let Some(circuit) = state.circuits.remove(&leg) {
                    state.left = Some((leg, circuit));
                }
                state.legs.lost(now, leg);
                None
            }
            In::News(news) => {
                state.tell(news);
                None
            }
        };
        inner.settle(&mut state);
        message
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the legs ask for, and takes up what they say.
    fn settle(self: &Arc<Self>, state: &mut State) {
        while let Some(said) = state.legs.poll_aside() {
            state.asides.push_back(said);
        }
        while let Some(step) = state.legs.poll_step() {
            match step {
                Step::Offer(leg) => self.build(state, leg, None),
                Step::Join { leg, relay, cookie } => self.build(state, leg, Some((RelayId(relay), cookie))),
                Step::Close(leg) => {
                    if let Some(circuit) = state.circuits.remove(&leg) {
                        state.left = Some((leg, circuit));
                    }
                }
            }
        }
        while let Some(event) = state.legs.poll_event() {
            self.explain(state, event);
        }
        while state.tasks.try_join_next().is_some() {}
    }

    /// Says what happened; who stopped answering is found out first.
    fn explain(self: &Arc<Self>, state: &mut State, event: LegEvent) {
        let words = match event {
            LegEvent::Ready { reach: Reach { shared: 0 }, .. } => "a second path stands by".to_owned(),
            LegEvent::Ready { reach: Reach { shared }, .. } => {
                format!(
                    "a second path stands by; it shares {shared} of its relays with the first: the network is small"
                )
            }
            LegEvent::Moved { from, cause: cause @ (Cause::Silent | Cause::Ended), .. } => {
                let held = state.left.as_ref().filter(|(leg, _)| *leg == from).map(|(_, circuit)| circuit);
                if let Some(circuit) = state.circuits.get(&from).or(held).cloned() {
                    let reports = self.reports.clone();
                    state.tasks.spawn(async move {
                        let words = format!("moved to another path: {}", blame(&circuit, cause).await);
                        let _ = reports.send(In::News(PathNews::new(event, words))).await;
                    });
                    return;
                }
                format!("moved to another path: {cause}")
            }
            LegEvent::Moved { cause, .. } => format!("moved to another path: of the one in use, {cause}"),
            LegEvent::Gone { cause, .. } => format!("a path was given up: {cause}"),
            LegEvent::BudgetSpent => "no further path for now: too many were lost in a short time".to_owned(),
        };
        let mut news = PathNews::new(event, words);
        if let LegEvent::Ready { leg, .. } = event
            && let Some(circuit) = state.circuits.get(&leg)
        {
            news.path = circuit.path().into_iter().map(|hop| hop.nickname).collect();
        }
        state.tell(news);
    }

    /// Reads a circuit from now on.
    fn read(self: &Arc<Self>, leg: LegId, circuit: &Arc<DatagramCircuit>) {
        self.read_in(&mut self.state(), leg, circuit);
    }

    fn read_in(self: &Arc<Self>, state: &mut State, leg: LegId, circuit: &Arc<DatagramCircuit>) {
        let (circuit, reports) = (Arc::clone(circuit), self.reports.clone());
        state.tasks.spawn(async move {
            while let Ok(bytes) = circuit.recv().await {
                // A call that takes nothing in loses messages, as everywhere.
                let _ = reports.try_send(In::Message(leg, bytes));
            }
            let _ = reports.send(In::Lost(leg)).await;
        });
    }

    /// Builds this side's circuit of a leg: to a meeting relay of its own choice, or to the one that was offered.
    fn build(self: &Arc<Self>, state: &mut State, leg: LegId, offered: Option<(RelayId, [u8; 16])>) {
        let mine: Vec<RelayId> = state.circuits.values().flat_map(|circuit| circuit.path()).map(|hop| hop.id).collect();
        let inner = Arc::clone(self);
        state.tasks.spawn(async move {
            let built = match timeout(BUILD, inner.circuit(offered, &mine)).await {
                Ok(Ok((relay, cookie, circuit))) => {
                    let shared = circuit.path().iter().filter(|hop| mine.contains(&hop.id)).count();
                    let circuit = Arc::new(circuit);
                    In::Opened { leg, relay, cookie, reach: Reach { shared }, circuit }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a leg could not be built");
                    In::Failed(leg)
                }
                Err(_) => In::Failed(leg),
            };
            let _ = inner.reports.send(built).await;
        });
    }

    async fn circuit(
        &self,
        offered: Option<(RelayId, [u8; 16])>,
        mine: &[RelayId],
    ) -> Result<(RelayId, [u8; 16], DatagramCircuit), CircuitError> {
        let (relay, cookie, meet, spec) = match (self.role, offered) {
            (Role::Caller, Some((relay, cookie))) => {
                // Chosen by the other side: it comes on top of one's own relays.
                (relay, cookie, Meet::join(cookie), MeetingSpec::given(relay).hops(self.hops + 1))
            }
            _ => {
                let relay = self.node.another_meeting_relay(mine, &self.rebuilds)?;
                let cookie = random().map_err(|_| CircuitError::ShutDown)?;
                (relay, cookie, Meet::wait(cookie), MeetingSpec::chosen(relay).hops(self.hops))
            }
        };
        let spec = spec.apart_from(mine.iter().copied()).rebuilt(&self.rebuilds);
        Ok((relay, cookie, self.node.meet(meet, spec).await?))
    }
}

impl State {
    fn tell(&mut self, news: PathNews) {
        if self.news.len() < NEWS {
            self.news.push_back(news);
        }
    }
}

/// Asks all hops of this side's half of a leg at once, and says who does not answer. An answer comes by way of all hops before the
/// one that gives it, so the first silent hop behind the last that answered is to blame, however late the others are.
async fn blame(circuit: &Arc<DatagramCircuit>, cause: Cause) -> String {
    if cause == Cause::Ended {
        return "the circuit under it ended".to_owned();
    }
    let hops = circuit.path().len();
    let mut asked = JoinSet::new();
    for hop in 0..hops {
        let circuit = Arc::clone(circuit);
        asked.spawn(async move { (hop, timeout(ASK, circuit.ping(hop)).await) });
    }
    let answers = asked.join_all().await;
    let silent = answers.iter().filter(|(_, answer)| matches!(answer, Ok(Ok(_)))).map(|(hop, _)| hop + 1).max();
    let silent = silent.unwrap_or(0);
    if answers.iter().any(|(hop, answer)| *hop >= silent && matches!(answer, Ok(Err(_)))) {
        return "the circuit under it ended".to_owned();
    }
    match silent {
        silent if silent == hops => "a relay of the other side's half stopped answering",
        silent if silent + 1 == hops => "the meeting relay stopped answering",
        0 => "the first relay stopped answering",
        1 => "the second relay stopped answering",
        _ => "the third relay stopped answering",
    }
    .to_owned()
}

fn random<const N: usize>() -> Result<[u8; N], TransportError> {
    let none = || TransportError("the system gives no random bytes".to_owned());
    let mut bytes = [0; N];
    RingResolver.resolve_rng().ok_or_else(none)?.try_fill_bytes(&mut bytes).map_err(|_| none())?;
    Ok(bytes)
}

impl DatagramTransport for LegCircuits {
    async fn joined(&self) -> Result<(), TransportError> {
        DatagramTransport::joined(&self.inner.first).await
    }

    fn send(&self, message: &[u8]) -> Result<(), TransportError> {
        let now = self.inner.start.elapsed();
        let mut state = self.inner.state();
        let message: &Message =
            message.try_into().map_err(|_| TransportError(format!("a message of a call has {MESSAGE_LEN} bytes")))?;
        let out: Vec<_> = state.legs.transmit(now, message).collect();
        for (leg, bytes) in out {
            if let Some(circuit) = state.circuits.get(&leg) {
                // A circuit that is gone says so to its reader.
                let _ = circuit.send(&bytes);
            }
        }
        self.inner.settle(&mut state);
        Ok(())
    }

    async fn recv(&self) -> Result<Vec<u8>, TransportError> {
        let mut inbox = self.inbox.lock().await;
        loop {
            let report = inbox.recv().await.ok_or_else(|| TransportError("the circuits are gone".to_owned()))?;
            if let Some(message) = self.take_in(report) {
                return Ok(message);
            }
            if !self.inner.state().legs.has_any() {
                return Err(TransportError("every path to the other side is lost".to_owned()));
            }
        }
    }

    fn connected(&self, interval: Duration) {
        let now = self.inner.start.elapsed();
        let mut state = self.inner.state();
        state.legs.set_interval(interval);
        state.legs.connected(now);
        self.inner.settle(&mut state);
    }

    fn handle_aside(&self, bytes: &[u8]) {
        let now = self.inner.start.elapsed();
        let mut state = self.inner.state();
        state.legs.handle_aside(now, bytes);
        self.inner.settle(&mut state);
    }

    fn poll_aside(&self) -> Option<Vec<u8>> {
        self.inner.state().asides.pop_front()
    }

    fn poll_news(&self) -> Option<PathNews> {
        self.inner.state().news.pop_front()
    }
}

impl Drop for LegCircuits {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        state.tasks.abort_all();
        state.circuits.clear();
        state.left = None;
    }
}

impl std::fmt::Debug for LegCircuits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LegCircuits")
    }
}

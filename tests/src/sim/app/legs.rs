//! One side of a call over legs: the voice application's own planner of circuits, over real circuits of the simulator.
//!
//! Only the sound is missing: a message holds what the two say about legs, and the time, where a call's sealed frame would be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_proto::node::{CircuitId, Event, Meet, MeetingOutcome, Node};
use zmesh_sphinx::RelayId;
use zmesh_voice::call::{MESSAGE_LEN, Role};
use zmesh_voice::legs::{LegEvent, LegId, Legs, Mode, Reach, Seed, Step};

use super::super::node::App;

/// A message every 20 ms.
const INTERVAL: Duration = Duration::from_millis(20);
/// Asking a meeting relay again that did not know the cookie yet.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The kind of a sealed frame of a call.
const FRAME: u8 = 3;

/// The relays that a side takes for its legs, in order; the last of each path is where the two meet.
#[derive(Debug, Clone)]
pub struct LegPaths {
    /// Paths up to the meeting relay, one after the other; they begin again when they are used up.
    pub own: Vec<Vec<RelayId>>,
    /// Meeting relays by leg; the answerer's choice.
    pub meeting: Vec<RelayId>,
}

/// What one side of a call saw.
#[derive(Debug, Default)]
pub struct LegReport {
    /// When both sides were spliced for the first time.
    pub joined: Option<Instant>,
    /// When each message arrived first, by its number.
    pub received: BTreeMap<u64, Instant>,
    /// What happened to the legs.
    pub events: Vec<(Instant, LegEvent)>,
    /// Messages sent, those of a standby included.
    pub cells: u64,
    /// Slots.
    pub slots: u64,
    /// No leg was left.
    pub ended: Option<Instant>,
}

impl LegReport {
    /// The longest time between two messages that were new, from `from` to `until`.
    #[must_use]
    pub fn longest_silence(&self, from: Instant, until: Instant) -> Duration {
        let mut last = from;
        let mut longest = Duration::ZERO;
        let mut times: Vec<Instant> = self.received.values().copied().filter(|at| (from..until).contains(at)).collect();
        times.sort_unstable();
        for at in times.into_iter().chain([until]) {
            longest = longest.max(at.saturating_duration_since(last));
            last = at;
        }
        longest
    }

    /// The numbers of the messages that never came, between the first that did and the last but 20: a leg that has just come up
    /// may be faster than the other, so what the other carries is still under way.
    #[must_use]
    pub fn lost(&self) -> Vec<u64> {
        let first = self.received.keys().next().copied().unwrap_or_default();
        let last = self.received.keys().next_back().copied().unwrap_or_default();
        (first..last.saturating_sub(20)).filter(|number| !self.received.contains_key(number)).collect()
    }

    /// Messages that never came, between the first and the last that did; and those of them that none of the `copies` messages
    /// behind them could make good.
    #[must_use]
    pub fn missing(&self, copies: u64) -> (u64, u64) {
        let lost = self.lost();
        let unmended = lost.iter().filter(|number| !(1..=copies).any(|on| self.received.contains_key(&(*number + on))));
        (lost.len() as u64, unmended.count() as u64)
    }
}

/// A circuit of a leg.
#[derive(Debug)]
struct LegCircuit {
    id: CircuitId,
    meet: Meet,
    relay: RelayId,
    cookie: [u8; 16],
    ready: bool,
    up: bool,
    ask_at: Option<Instant>,
}

/// What the two say about legs, one thing at a time until it has arrived.
#[derive(Debug, Default)]
struct Aside {
    said: Option<Vec<u8>>,
    number: u8,
    heard: u8,
}

/// One side of a call over legs.
#[derive(Debug)]
pub struct LegCall {
    role: Role,
    legs: Legs,
    paths: LegPaths,
    taken: usize,
    start: Option<Instant>,
    next: Option<Instant>,
    counter: u64,
    circuits: BTreeMap<LegId, LegCircuit>,
    aside: Aside,
    /// What happened.
    pub report: LegReport,
}

impl LegCall {
    /// A side that takes these paths.
    #[must_use]
    pub fn new(role: Role, mode: Mode, paths: LegPaths) -> LegCall {
        let legs = match role {
            Role::Caller => Legs::caller(mode),
            Role::Answerer => Legs::answerer(mode, Seed::new([9; 32])),
        };
        LegCall {
            role,
            legs,
            paths,
            taken: 0,
            start: None,
            next: None,
            counter: 0,
            circuits: BTreeMap::new(),
            aside: Aside::default(),
            report: LegReport::default(),
        }
    }

    /// The leg that carries every message of this side.
    #[must_use]
    pub fn active(&self) -> LegId {
        self.legs.active()
    }

    /// Whether a second leg stands by.
    #[must_use]
    pub fn has_standby(&self) -> bool {
        self.legs.has_standby()
    }

    fn cookie(leg: LegId) -> [u8; 16] {
        [leg.0 + 1; 16]
    }

    fn begin(&mut self, now: Instant, node: &mut Node, leg: LegId, relay: RelayId, cookie: [u8; 16]) -> bool {
        let mut path = self.paths.own[self.taken % self.paths.own.len()].clone();
        self.taken += 1;
        path.push(relay);
        let Ok(id) = node.build(now, &path) else { return false };
        let meet = match self.role {
            Role::Answerer => Meet::Wait(cookie),
            Role::Caller => Meet::Join(cookie),
        };
        let circuit = LegCircuit { id, meet, relay, cookie, ready: false, up: false, ask_at: None };
        self.circuits.insert(leg, circuit);
        true
    }

    fn meeting(&self, leg: LegId) -> RelayId {
        self.paths.meeting[usize::from(leg.0) % self.paths.meeting.len()]
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start))
    }

    fn by_circuit(&mut self, id: CircuitId) -> Option<(LegId, &mut LegCircuit)> {
        self.circuits.iter_mut().find(|(_, circuit)| circuit.id == id).map(|(leg, circuit)| (*leg, circuit))
    }

    fn ask(now: Instant, node: &mut Node, circuit: &mut LegCircuit) {
        circuit.ask_at = node.meet(now, circuit.id, circuit.meet).is_err().then_some(now + ASK_AGAIN);
    }

    fn steps(&mut self, now: Instant, node: &mut Node) {
        let at = self.elapsed(now);
        while let Some(step) = self.legs.poll_step() {
            match step {
                Step::Offer(leg) => {
                    if !self.begin(now, node, leg, self.meeting(leg), Self::cookie(leg)) {
                        self.legs.failed(at, leg);
                    }
                }
                Step::Join { leg, relay, cookie } => {
                    if !self.begin(now, node, leg, RelayId(relay), cookie) {
                        self.legs.failed(at, leg);
                    }
                }
                Step::Close(leg) => {
                    if let Some(circuit) = self.circuits.remove(&leg) {
                        node.close(now, circuit.id);
                    }
                }
            }
        }
        while let Some(event) = self.legs.poll_event() {
            self.report.events.push((now, event));
        }
    }

    fn slot(&mut self, now: Instant, node: &mut Node) {
        if self.aside.said.is_none() {
            self.aside.said = self.legs.poll_aside();
            self.aside.number = self.aside.number.wrapping_add(u8::from(self.aside.said.is_some()));
        }
        let mut message = [0; MESSAGE_LEN];
        message[0] = FRAME;
        message[1..9].copy_from_slice(&self.counter.to_be_bytes());
        (message[9], message[10]) = (self.aside.number, self.aside.heard);
        if let Some(said) = &self.aside.said {
            message[11] = u8::try_from(said.len()).expect("at most 64");
            message[12..12 + said.len()].copy_from_slice(said);
        }
        self.counter += 1;
        self.report.slots += 1;
        let out: Vec<_> = self.legs.transmit(self.elapsed(now), &message).collect();
        for (leg, bytes) in out {
            if let Some(circuit) = self.circuits.get(&leg)
                && node.send(now, circuit.id, &bytes).is_ok()
            {
                self.report.cells += 1;
            }
        }
        self.steps(now, node);
    }

    fn message(&mut self, now: Instant, leg: LegId, bytes: &[u8]) {
        let at = self.elapsed(now);
        let Some(message) = self.legs.handle_message(at, leg, bytes) else { return };
        let counter = u64::from_be_bytes(message[1..9].try_into().expect("8 bytes"));
        self.report.received.entry(counter).or_insert(now);
        if message[10] == self.aside.number {
            self.aside.said = None;
        }
        let said = usize::from(message[11]);
        if said > 0 && message[9] != self.aside.heard {
            self.aside.heard = message[9];
            self.legs.handle_aside(at, &message[12..12 + said]);
        }
    }

    fn lost(&mut self, now: Instant, id: CircuitId, built: bool) {
        let at = self.elapsed(now);
        let Some((leg, _)) = self.by_circuit(id) else { return };
        self.circuits.remove(&leg);
        if built {
            self.legs.lost(at, leg);
        } else {
            self.legs.failed(at, leg);
        }
        if !self.legs.has_any() {
            self.report.ended.get_or_insert(now);
            self.next = None;
        }
    }

    fn met(&mut self, now: Instant, node: &mut Node, id: CircuitId, outcome: MeetingOutcome) {
        let (role, at) = (self.role, self.elapsed(now));
        let Some((leg, circuit)) = self.by_circuit(id) else { return };
        let (relay, cookie) = (circuit.relay.0, circuit.cookie);
        match outcome {
            MeetingOutcome::UnknownCookie => circuit.ask_at = Some(now + ASK_AGAIN),
            MeetingOutcome::Joined if leg.0 == 0 => {
                self.start = Some(now);
                self.next = Some(now);
                self.report.joined = Some(now);
                self.legs.connected(Duration::ZERO);
            }
            MeetingOutcome::Waiting | MeetingOutcome::Joined
                if !circuit.up && leg.0 > 0 && (role == Role::Answerer || outcome == MeetingOutcome::Joined) =>
            {
                circuit.up = true;
                self.legs.opened(at, leg, relay, cookie, Reach::default());
            }
            MeetingOutcome::Refused | MeetingOutcome::NoAnswer => {
                node.close(now, id);
                self.lost(now, id, false);
            }
            _ => {}
        }
    }
}

impl App for LegCall {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        if self.start.is_none() && self.circuits.is_empty() {
            let leg = LegId(0);
            assert!(self.begin(now, node, leg, self.meeting(leg), Self::cookie(leg)), "the first path is refused");
        }
        for circuit in self.circuits.values_mut() {
            if circuit.ready && circuit.ask_at.is_some_and(|at| at <= now) {
                Self::ask(now, node, circuit);
            }
        }
        while let Some(due) = self.next
            && due <= now
        {
            self.next = Some(due + INTERVAL);
            self.slot(now, node);
        }
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, .. } => {
                if let Some((_, circuit)) = self.by_circuit(circuit) {
                    circuit.ready = true;
                    Self::ask(now, node, circuit);
                }
            }
            Event::CircuitFailed { circuit, .. } => self.lost(now, circuit, false),
            Event::CircuitClosed { circuit, .. } => self.lost(now, circuit, true),
            Event::Meeting { circuit, outcome } => self.met(now, node, circuit, outcome),
            Event::Message { circuit, message } => {
                if let Some((leg, _)) = self.by_circuit(circuit) {
                    self.message(now, leg, &message);
                }
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.circuits.values().filter_map(|circuit| circuit.ask_at).chain(self.next).min()
    }
}

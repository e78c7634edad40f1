//! One end of a real call as an app of a simulated node: the voice application's own state machines, fed with speech, its sound recorded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_proto::node::{CircuitId, Event, Meet, MeetingOutcome, Node};
use zmesh_sphinx::RelayId;
use zmesh_voice::call::{Call, CallEvent, CallStats, EndReason, Role};
use zmesh_voice::legs::{LegId, Legs, Reach, Step};
use zmesh_voice::runner::OUTPUT_LEAD;

use super::speech::Speech;
use crate::sim::node::App;

/// Time until a meeting relay is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Asides that may wait in the call at a time.
const MOST_ASIDES: usize = 16;

/// What one end said and heard, on the clock of the simulation.
#[derive(Debug, Clone, Default)]
pub struct Tape {
    /// When the first sample was said and the first was given out, since the start of the simulation.
    pub start: Duration,
    /// When the call was connected, since the same start.
    pub connected: Option<Duration>,
    /// Frames said.
    pub said: u64,
    /// Where in the speech the first frame stands, in samples.
    pub offset: usize,
    /// What was heard, from [`Tape::heard_from`] on.
    pub heard: Vec<i16>,
}

impl Tape {
    /// When the first sample of [`Tape::heard`] leaves the loudspeaker: devices take sound [`OUTPUT_LEAD`] before it is due.
    #[must_use]
    pub fn heard_from(&self) -> Duration {
        self.start + OUTPUT_LEAD
    }
}

/// The relays that an end takes for its legs.
#[derive(Debug, Clone)]
pub struct Relays {
    /// Guard and middle, one after the other; they begin again when they are used up.
    pub own: Vec<Vec<RelayId>>,
    /// Meeting relays by leg; the answerer's choice.
    pub meeting: Vec<RelayId>,
    /// What the first leg meets by.
    pub cookie: [u8; 16],
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

/// One end of a measured call.
#[derive(Debug)]
pub struct VoiceEnd {
    epoch: Instant,
    call: Call,
    legs: Legs,
    relays: Relays,
    taken: usize,
    circuits: BTreeMap<LegId, LegCircuit>,
    /// When the first leg was spliced: the start of the call.
    start: Option<Instant>,
    speech: Speech,
    sound: Vec<i16>,
    tape: Tape,
    ended: Option<EndReason>,
}

impl VoiceEnd {
    /// An end of `call` over `legs`; `epoch` is the start of the simulation. It says `speech` from `offset` samples on.
    #[must_use]
    pub fn new(call: Call, mut legs: Legs, relays: Relays, speech: (Speech, usize), epoch: Instant) -> VoiceEnd {
        let (speech, offset) = speech;
        legs.set_interval(call.class().interval());
        VoiceEnd {
            epoch,
            call,
            legs,
            relays,
            taken: 0,
            circuits: BTreeMap::new(),
            start: None,
            speech,
            sound: Vec::with_capacity(2_048),
            tape: Tape { offset, ..Tape::default() },
            ended: None,
        }
    }

    /// What was said and heard so far.
    #[must_use]
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Gives the tape away.
    pub fn take_tape(&mut self) -> Tape {
        std::mem::take(&mut self.tape)
    }

    /// The call's own figures.
    #[must_use]
    pub fn stats(&self) -> CallStats {
        self.call.stats()
    }

    /// Why the call ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.ended
    }

    /// What the call's clock shows.
    fn time(&self, now: Instant) -> Duration {
        self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start))
    }

    fn meeting(&self, leg: LegId) -> RelayId {
        self.relays.meeting[usize::from(leg.0) % self.relays.meeting.len()]
    }

    fn begin(&mut self, now: Instant, node: &mut Node, leg: LegId, relay: RelayId, cookie: [u8; 16]) -> bool {
        let mut path = self.relays.own[self.taken % self.relays.own.len()].clone();
        self.taken += 1;
        path.push(relay);
        let Ok(id) = node.build(now, &path) else { return false };
        let meet = match self.call.role() {
            Role::Answerer => Meet::Wait(cookie),
            Role::Caller => Meet::Join(cookie),
        };
        let circuit = LegCircuit { id, meet, relay, cookie, ready: false, up: false, ask_at: None };
        self.circuits.insert(leg, circuit);
        true
    }

    fn by_circuit(&mut self, id: CircuitId) -> Option<(LegId, &mut LegCircuit)> {
        self.circuits.iter_mut().find(|(_, circuit)| circuit.id == id).map(|(leg, circuit)| (*leg, circuit))
    }

    fn ask(now: Instant, node: &mut Node, circuit: &mut LegCircuit) {
        circuit.ask_at = node.meet(now, circuit.id, circuit.meet).is_err().then_some(now + ASK_AGAIN);
    }

    /// Does what the call and its legs want done.
    fn settle(&mut self, now: Instant, node: &mut Node) {
        let at = self.time(now);
        while let Some(event) = self.call.poll_event() {
            match event {
                CallEvent::Connected(_) => {
                    self.tape.connected = Some(now.saturating_duration_since(self.epoch));
                    self.legs.connected(at);
                }
                CallEvent::Aside(aside) => self.legs.handle_aside(at, &aside),
                CallEvent::Ended(reason) => self.ended = Some(reason),
                _ => {}
            }
        }
        // What finds no room would find none in the program either: the legs say it again.
        while self.call.unconfirmed_asides() < MOST_ASIDES
            && let Some(aside) = self.legs.poll_aside()
        {
            let _ = self.call.push_aside(&aside);
        }
        while let Some(step) = self.legs.poll_step() {
            match step {
                Step::Offer(leg) => {
                    let cookie = [leg.0 + 1; 16];
                    if !self.begin(now, node, leg, self.meeting(leg), cookie) {
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
        while self.legs.poll_event().is_some() {}
    }

    fn lost(&mut self, now: Instant, id: CircuitId, built: bool) {
        let at = self.time(now);
        let Some((leg, _)) = self.by_circuit(id) else { return };
        self.circuits.remove(&leg);
        if built {
            self.legs.lost(at, leg);
        } else {
            self.legs.failed(at, leg);
        }
        if !self.legs.has_any() {
            self.call.circuit_lost();
        }
    }

    fn met(&mut self, now: Instant, node: &mut Node, id: CircuitId, outcome: MeetingOutcome) {
        let (role, at, waiting) = (self.call.role(), self.time(now), self.start.is_none());
        let Some((leg, circuit)) = self.by_circuit(id) else { return };
        let (relay, cookie) = (circuit.relay.0, circuit.cookie);
        match outcome {
            MeetingOutcome::UnknownCookie => circuit.ask_at = Some(now + ASK_AGAIN),
            MeetingOutcome::Joined if leg.0 == 0 && waiting => {
                self.start = Some(now);
                self.tape.start = now.saturating_duration_since(self.epoch);
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

    /// Sends what is due and plays what is due.
    fn keep_time(&mut self, now: Instant, node: &mut Node) {
        let time = self.time(now);
        while self.call.next_slot().is_some_and(|due| due <= time) {
            let said = self.speech.frame(self.tape.offset, self.tape.said);
            self.tape.said += 1;
            let Some(message) = self.call.poll_transmit(time, &said) else { continue };
            for (leg, bytes) in self.legs.transmit(time, &message) {
                if let Some(circuit) = self.circuits.get(&leg) {
                    // A message that finds no room is lost, as it would be in the program.
                    let _ = node.send(now, circuit.id, &bytes);
                }
            }
        }
        while !self.call.has_ended() && self.call.next_playout() <= time {
            self.sound.clear();
            self.call.play(&mut self.sound);
            self.tape.heard.extend_from_slice(&self.sound);
        }
    }
}

impl App for VoiceEnd {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        if self.start.is_none() && self.circuits.is_empty() {
            let leg = LegId(0);
            self.begin(now, node, leg, self.meeting(leg), self.relays.cookie);
        }
        for circuit in self.circuits.values_mut() {
            if circuit.ready && circuit.ask_at.is_some_and(|at| at <= now) {
                VoiceEnd::ask(now, node, circuit);
            }
        }
        if self.start.is_some() {
            self.keep_time(now, node);
            self.settle(now, node);
        }
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, .. } => {
                if let Some((_, circuit)) = self.by_circuit(circuit) {
                    circuit.ready = true;
                    VoiceEnd::ask(now, node, circuit);
                }
            }
            Event::CircuitFailed { circuit, .. } => self.lost(now, circuit, false),
            Event::CircuitClosed { circuit, .. } => self.lost(now, circuit, true),
            Event::Meeting { circuit, outcome } => self.met(now, node, circuit, outcome),
            Event::Message { circuit, message } => {
                let at = self.time(now);
                if let Some((leg, _)) = self.by_circuit(circuit)
                    && let Some(datagram) = self.legs.handle_message(at, leg, &message)
                    && self.start.is_some()
                {
                    self.call.handle_datagram(at, &datagram);
                }
            }
            _ => {}
        }
        if self.start.is_some() {
            self.settle(now, node);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let start = self.start.filter(|_| !self.call.has_ended());
        let slot = start.and_then(|start| Some(start + self.call.next_slot()?));
        let playout = start.map(|start| start + self.call.next_playout());
        self.circuits.values().filter_map(|circuit| circuit.ask_at).chain(slot).chain(playout).min()
    }
}

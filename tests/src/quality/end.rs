//! One end of a real call as an app of a simulated node: the voice application's own state machine, fed with speech, its sound recorded.

use std::time::{Duration, Instant};

use zmesh_proto::node::{Event, Meet, MeetingOutcome, Node};
use zmesh_sphinx::RelayId;
use zmesh_voice::call::{Call, CallEvent, CallStats, EndReason, Role};
use zmesh_voice::runner::OUTPUT_LEAD;

use super::speech::Speech;
use crate::sim::app::Circuit;
use crate::sim::node::App;

/// Time until a meeting relay is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

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

/// One end of a measured call.
#[derive(Debug)]
pub struct VoiceEnd {
    epoch: Instant,
    circuit: Circuit,
    cookie: [u8; 16],
    /// The call, until the circuits are spliced.
    waiting: Option<Call>,
    call: Option<(Instant, Call)>,
    ask_at: Option<Instant>,
    speech: Speech,
    record: bool,
    sound: Vec<i16>,
    tape: Tape,
    ended: Option<EndReason>,
}

impl VoiceEnd {
    /// An end that meets the other at the last relay of `path`; `epoch` is the start of the simulation. It says `speech` from `offset`
    /// samples on.
    #[must_use]
    pub fn new(
        call: Call,
        path: Vec<RelayId>,
        cookie: [u8; 16],
        speech: Speech,
        offset: usize,
        epoch: Instant,
    ) -> VoiceEnd {
        VoiceEnd {
            epoch,
            circuit: Circuit::new(path),
            cookie,
            waiting: Some(call),
            call: None,
            ask_at: None,
            speech,
            record: true,
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

    /// The call's own figures, once it runs.
    #[must_use]
    pub fn stats(&self) -> Option<CallStats> {
        self.call.as_ref().map(|(_, call)| call.stats())
    }

    /// Why the call ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<EndReason> {
        self.ended
    }

    /// What the call's clock shows at `now`.
    fn call_time(start: Instant, now: Instant) -> Duration {
        now.saturating_duration_since(start)
    }

    fn ask(&mut self, now: Instant, node: &mut Node) {
        self.ask_at = None;
        let Some(circuit) = self.circuit.ready() else { return };
        let role = self.waiting.as_ref().or(self.call.as_ref().map(|(_, call)| call)).map(Call::role);
        let meet = match role {
            Some(Role::Caller) => Meet::Join(self.cookie),
            _ => Meet::Wait(self.cookie),
        };
        if node.meet(now, circuit, meet).is_err() {
            self.ask_at = Some(now + ASK_AGAIN);
        }
    }

    fn joined(&mut self, now: Instant) {
        if let Some(call) = self.waiting.take() {
            self.tape.start = now.saturating_duration_since(self.epoch);
            self.call = Some((now, call));
        }
    }

    fn take_events(&mut self, now: Instant) {
        let Some((_, call)) = &mut self.call else { return };
        while let Some(event) = call.poll_event() {
            match event {
                CallEvent::Connected(_) => self.tape.connected = Some(now.saturating_duration_since(self.epoch)),
                CallEvent::Ended(reason) => self.ended = Some(reason),
                _ => {}
            }
        }
    }
}

impl App for VoiceEnd {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        self.circuit.begin(now, node);
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask(now, node);
        }
        let (Some((start, call)), Some(circuit)) = (&mut self.call, self.circuit.ready()) else { return };
        let time = VoiceEnd::call_time(*start, now);
        while call.next_slot().is_some_and(|due| due <= time) {
            let said = self.speech.frame(self.tape.offset, self.tape.said);
            self.tape.said += 1;
            if let Some(message) = call.poll_transmit(time, &said) {
                // A message that finds no room is lost, as it would be in the program.
                let _ = node.send(now, circuit, &message);
            }
        }
        while !call.has_ended() && call.next_playout() <= time {
            self.sound.clear();
            call.play(&mut self.sound);
            if self.record {
                self.tape.heard.extend_from_slice(&self.sound);
            }
        }
        self.take_events(now);
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, took } if self.circuit.became_ready(circuit, took) => self.ask(now, node),
            Event::CircuitClosed { circuit, .. } if self.circuit.is(circuit) => {
                self.circuit.ended();
                if let Some((_, call)) = &mut self.call {
                    call.circuit_lost();
                }
            }
            Event::Meeting { outcome, .. } => match outcome {
                MeetingOutcome::Joined => self.joined(now),
                MeetingOutcome::UnknownCookie => self.ask_at = Some(now + ASK_AGAIN),
                _ => {}
            },
            Event::Message { message, .. } => {
                if let Some((start, call)) = &mut self.call {
                    call.handle_datagram(VoiceEnd::call_time(*start, now), &message);
                }
            }
            _ => {}
        }
        self.take_events(now);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let call = self.call.as_ref().filter(|(_, call)| !call.has_ended());
        let slot = call.and_then(|(start, call)| Some(*start + call.next_slot()?));
        let playout = call.map(|(start, call)| *start + call.next_playout());
        [slot, playout, self.ask_at].into_iter().flatten().min()
    }
}

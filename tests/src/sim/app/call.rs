//! One side of a call: constant rate and size, by a meeting relay, whatever is said.

use std::time::{Duration, Instant};

use zmesh_proto::node::{CloseReason, Event, Meet, MeetingOutcome, Node};
use zmesh_sphinx::RelayId;

use super::super::node::App;
use super::{Circuit, age, stamp};
use crate::load::Samples;

/// A frame every 20 ms, as the voice application sends.
const INTERVAL: Duration = Duration::from_millis(20);

/// A frame fills one cell.
const FRAME_LEN: usize = 480;

/// Which side of the meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Waits for the other side.
    Callee,
    /// Joins the side that waits; asks again until it is there.
    Caller,
}

/// One side of a call.
#[derive(Debug)]
pub struct Call {
    epoch: Instant,
    role: Role,
    cookie: [u8; 16],
    next: Option<Instant>,
    ask_at: Option<Instant>,
    circuit: Circuit,
    /// What happened.
    pub report: CallReport,
}

/// What one side of a call saw.
#[derive(Debug, Default)]
pub struct CallReport {
    /// When both sides were spliced.
    pub joined: Option<Instant>,
    /// Frames sent.
    pub sent: u64,
    /// When each frame arrived, and how long it took one way.
    pub received: Vec<(Instant, Duration)>,
    /// When and why the circuit ended.
    pub closed: Option<(Instant, CloseReason)>,
    /// What the meeting relay said last.
    pub meeting: Option<MeetingOutcome>,
}

impl CallReport {
    /// One-way delays of the frames that arrived from `from` on and before `until`.
    #[must_use]
    pub fn one_way(&self, from: Instant, until: Instant) -> Samples {
        Samples::new(self.received.iter().filter(|(at, _)| (from..until).contains(at)).map(|(_, took)| *took).collect())
    }
}

impl Call {
    /// A side that meets the other at the last relay of `path`. `epoch` is the same for both sides.
    #[must_use]
    pub fn new(role: Role, path: Vec<RelayId>, cookie: [u8; 16], epoch: Instant) -> Call {
        Call {
            epoch,
            role,
            cookie,
            next: None,
            ask_at: None,
            circuit: Circuit::new(path),
            report: CallReport::default(),
        }
    }

    fn ask(&mut self, now: Instant, node: &mut Node) {
        self.ask_at = None;
        let Some(circuit) = self.circuit.ready() else {
            return;
        };
        let role = match self.role {
            Role::Callee => Meet::Wait(self.cookie),
            Role::Caller => Meet::Join(self.cookie),
        };
        if node.meet(now, circuit, role).is_err() {
            self.ask_at = Some(now + Duration::from_millis(100));
        }
    }
}

impl App for Call {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        self.circuit.begin(now, node);
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask(now, node);
        }
        let Some(circuit) = self.circuit.ready() else {
            return;
        };
        while let Some(due) = self.next
            && due <= now
        {
            let mut frame = vec![0; FRAME_LEN];
            frame[..8].copy_from_slice(&stamp(self.epoch, now));
            if node.send(now, circuit, &frame).is_ok() {
                self.report.sent += 1;
            }
            self.next = Some(due + INTERVAL);
        }
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, took } if self.circuit.became_ready(circuit, took) => {
                self.ask(now, node);
            }
            Event::CircuitClosed { reason, .. } => {
                self.circuit.ended();
                self.next = None;
                self.report.closed = Some((now, reason));
            }
            Event::Meeting { outcome, .. } => {
                self.report.meeting = Some(outcome);
                match outcome {
                    MeetingOutcome::Joined => {
                        self.report.joined = Some(now);
                        self.next = Some(now);
                    }
                    MeetingOutcome::UnknownCookie => {
                        self.ask_at = Some(now + Duration::from_millis(100));
                    }
                    _ => {}
                }
            }
            Event::Message { message, .. } => {
                self.report.received.extend(age(&message, self.epoch, now).map(|took| (now, took)));
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.next, self.ask_at].into_iter().flatten().min()
    }
}

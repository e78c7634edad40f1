//! Messages at a steady rate to the last hop, which sends them back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zmesh_proto::node::{BuildFailure, CloseReason, Event, Node};
use zmesh_sphinx::RelayId;

use super::super::node::App;
use super::{Circuit, age, stamp};
use crate::load::Samples;

/// Builds a circuit and sends one message each interval; notes the round trip of every answer.
#[derive(Debug)]
pub struct Echo {
    epoch: Instant,
    interval: Duration,
    length: usize,
    start: Instant,
    tag: u64,
    next: Option<Instant>,
    /// The circuit.
    pub circuit: Circuit,
    /// How many messages were sent.
    pub sent: u64,
    /// Round trips of those that came back, with the time of their arrival.
    pub received: Vec<(Instant, Duration)>,
    /// Why the circuit could not be built.
    pub failed: Option<BuildFailure>,
    /// When and why the circuit ended.
    pub closed: Option<(Instant, CloseReason)>,
}

impl Echo {
    /// Sends `length` bytes (16 to one message) through `path` every `interval`. `epoch` is any instant before the start.
    #[must_use]
    pub fn new(path: Vec<RelayId>, interval: Duration, length: usize, epoch: Instant) -> Echo {
        Echo {
            epoch,
            interval,
            length: length.max(16),
            start: epoch,
            tag: 0,
            next: None,
            circuit: Circuit::new(path),
            sent: 0,
            received: Vec::new(),
            failed: None,
            closed: None,
        }
    }

    /// Sends nothing before `start`.
    #[must_use]
    pub fn starting_at(mut self, start: Instant) -> Echo {
        self.start = start;
        self
    }

    /// Puts a number in every message, by which a [`Reflector`] can tell whose it is.
    #[must_use]
    pub fn tagged(mut self, tag: u64) -> Echo {
        self.tag = tag;
        self
    }

    /// Round trips of the answers that came at or after `from`.
    #[must_use]
    pub fn round_trips(&self, from: Instant) -> Samples {
        Samples::new(self.received.iter().filter(|(at, _)| *at >= from).map(|(_, took)| *took).collect())
    }

    /// How many answers came from `from` on and before `until`.
    #[must_use]
    pub fn received_between(&self, from: Instant, until: Instant) -> usize {
        self.received.iter().filter(|(at, _)| (from..until).contains(at)).count()
    }
}

impl App for Echo {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        self.circuit.begin(now, node);
        let Some(circuit) = self.circuit.ready() else {
            return;
        };
        while let Some(due) = self.next
            && due <= now
        {
            let mut message = vec![0; self.length];
            message[..8].copy_from_slice(&stamp(self.epoch, now));
            message[8..16].copy_from_slice(&self.tag.to_be_bytes());
            if node.send(now, circuit, &message).is_ok() {
                self.sent += 1;
            }
            self.next = Some(due + self.interval);
        }
    }

    fn event(&mut self, now: Instant, _: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, took } if self.circuit.became_ready(circuit, took) => {
                self.next = Some(now.max(self.start));
            }
            Event::CircuitFailed { reason, .. } => self.failed = Some(reason),
            Event::CircuitClosed { reason, .. } => {
                self.circuit.ended();
                self.next = None;
                self.closed = Some((now, reason));
            }
            Event::Message { message, .. } => {
                self.received.extend(age(&message, self.epoch, now).map(|took| (now, took)));
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

/// A relay's app that sends every message for this relay back.
#[derive(Debug, Default)]
pub struct Reflector {
    /// How many messages came.
    pub messages: u64,
    /// When messages came, by the circuit's handle: what the relay itself knows.
    pub arrivals: BTreeMap<u64, Vec<Instant>>,
    /// The tag that the messages of each circuit carry: the truth, which a relay does not know.
    pub tags: BTreeMap<u64, u64>,
}

impl App for Reflector {
    fn turn(&mut self, _: Instant, _: &mut Node) {}

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        if let Event::LocalMessage { local, message } = event {
            self.messages += 1;
            let circuit = local.as_u64();
            self.arrivals.entry(circuit).or_default().push(now);
            if let Some(Ok(tag)) = message.get(8..16).map(<[u8; 8]>::try_from) {
                self.tags.insert(circuit, u64::from_be_bytes(tag));
            }
            // A circuit that has just ended takes no answer.
            let _ = node.reply(now, local, &message);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

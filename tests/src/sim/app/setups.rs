//! An attacker's app: as many set-ups as it can be made to send.

use std::time::{Duration, Instant};

use zmesh_proto::node::{Event, Node};
use zmesh_sphinx::RelayId;

use super::super::node::App;

/// Begins a circuit every `interval` and never uses one.
#[derive(Debug)]
pub struct SetupFlood {
    path: Vec<RelayId>,
    interval: Duration,
    next: Option<Instant>,
    /// Set-ups begun.
    pub begun: u64,
    /// Circuits that became ready.
    pub ready: u64,
    /// Circuits that did not.
    pub failed: u64,
}

impl SetupFlood {
    /// Begins a circuit through `path` every `interval`, from `start` on.
    #[must_use]
    pub fn new(path: Vec<RelayId>, interval: Duration, start: Instant) -> SetupFlood {
        SetupFlood { path, interval, next: Some(start), begun: 0, ready: 0, failed: 0 }
    }
}

impl App for SetupFlood {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        while let Some(due) = self.next
            && due <= now
        {
            if node.build(now, &self.path).is_ok() {
                self.begun += 1;
            }
            self.next = Some(due + self.interval);
        }
    }

    fn event(&mut self, _: Instant, _: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { .. } => self.ready += 1,
            Event::CircuitFailed { .. } => self.failed += 1,
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next
    }
}

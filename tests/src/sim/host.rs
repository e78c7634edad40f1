//! What lives at an address of the simulation.

use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A datagram as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// Who sent it.
    pub from: SocketAddr,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A datagram on its way out.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The sender that it claims, if not the host's own address.
    pub(super) from: Option<SocketAddr>,
    pub(super) to: SocketAddr,
    pub(super) data: Vec<u8>,
}

/// What a turn sends.
#[derive(Debug, Default)]
pub struct Outbox {
    pub(super) datagrams: Vec<Leaving>,
}

impl Outbox {
    /// Sends one datagram.
    pub fn send(&mut self, to: SocketAddr, data: Vec<u8>) {
        self.datagrams.push(Leaving { from: None, to, data });
    }

    /// Sends one datagram under somebody else's address, as an attacker can where nobody filters.
    pub fn send_as(&mut self, from: SocketAddr, to: SocketAddr, data: Vec<u8>) {
        self.datagrams.push(Leaving { from: Some(from), to, data });
    }

    /// How many datagrams it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether nothing is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }
}

/// A machine with one core. The engine calls [`Host::turn`] with what stands in the receive buffer, when a timeout is due, or when
/// [`Host::wants_turn`]; between turns it lets one job run.
pub trait Host: Any {
    /// Handles a batch and every timeout due at `now`, and returns the CPU time of it. What is put in `out` leaves after that time.
    fn turn(&mut self, now: Instant, batch: &mut [Received], out: &mut Outbox) -> Duration;

    /// When the host wants its next turn even if nothing comes in.
    fn next_timeout(&self) -> Option<Instant>;

    /// Whether it wants a turn at once: it was given a command.
    fn wants_turn(&self) -> bool {
        false
    }

    /// Starts one job of public-key work, if there is one, and returns the CPU time of it.
    fn start_job(&mut self) -> Option<Duration> {
        None
    }

    /// Takes up the result of the job that was started last; returns CPU time like [`Host::turn`].
    fn finish_job(&mut self, now: Instant, out: &mut Outbox) -> Duration {
        let _ = (now, out);
        Duration::ZERO
    }
}

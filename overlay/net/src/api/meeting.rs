//! A circuit that a meeting relay splices to somebody else's: datagrams end to end.

use std::time::Duration;

use super::{CircuitError, HopInfo};

/// The longest message of a [`DatagramCircuit`] in bytes.
pub const MESSAGE_MAX: usize = 1446;

/// A circuit to a meeting relay, spliced (sooner or later) to the other side's: unreliable datagrams, in whatever
/// order they come. What they say is for the two ends to encrypt: the meeting relay reads the bytes.
///
/// Closed on drop. Use it from several tasks through an `Arc`.
#[derive(Debug)]
pub struct DatagramCircuit {}

impl DatagramCircuit {
    /// Sends one message of at most [`MESSAGE_MAX`] bytes. Never waits: what cannot be sent now is dropped.
    ///
    /// # Errors
    /// [`CircuitError::TooLarge`] or [`CircuitError::Closed`].
    pub fn send(&self, message: &[u8]) -> Result<(), CircuitError> {
        let _ = message;
        todo!()
    }

    /// Waits for the next message. When nobody receives, the oldest are dropped.
    ///
    /// # Errors
    /// [`CircuitError::Closed`] once the circuit has ended and every message is read.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv(&self) -> Result<Vec<u8>, CircuitError> {
        todo!()
    }

    /// Waits until the other side has joined.
    ///
    /// # Errors
    /// [`CircuitError::Closed`] or [`CircuitError::Meeting`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn joined(&self) -> Result<(), CircuitError> {
        todo!()
    }

    /// Round-trip time between this node and hop `hop` (0 is the guard).
    ///
    /// # Errors
    /// As [`Circuit::ping`](super::Circuit::ping).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ping(&self, hop: usize) -> Result<Duration, CircuitError> {
        let _ = hop;
        todo!()
    }

    /// The relays, guard first, the meeting relay last.
    #[must_use]
    pub fn path(&self) -> Vec<HopInfo> {
        todo!()
    }

    /// From the set-up packet to the answer.
    #[must_use]
    pub fn build_time(&self) -> Duration {
        todo!()
    }

    /// Waits until the circuit has ended and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> CircuitError {
        todo!()
    }

    /// Closes the circuit; the other side sees it end.
    pub fn close(&self) {
        todo!()
    }
}

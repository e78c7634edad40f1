//! One circuit to an exit, and what can be opened through it.

use std::net::IpAddr;
use std::time::Duration;

use super::{CircuitError, ConnectError, HopInfo, Stream, UdpSocket};
use crate::egress::Target;

/// A circuit to an exit. Cheap to clone; closed when the last clone and every stream over it are gone.
#[derive(Clone, Debug)]
pub struct Circuit {}

impl Circuit {
    /// Opens a byte stream from the exit to `target`: one path round trip once QUIC is up.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub async fn connect(&self, target: impl Into<Target>) -> Result<Stream, ConnectError> {
        let _ = target.into();
        todo!()
    }

    /// Opens a UDP socket at the exit.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future gives the socket up.
    pub async fn bind_udp(&self) -> Result<UdpSocket, ConnectError> {
        todo!()
    }

    /// Asks the exit for the addresses of a name.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the request.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let _ = name;
        todo!()
    }

    /// Asks the exit for the names of an address.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the request.
    pub async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        let _ = ip;
        todo!()
    }

    /// Round-trip time between this node and the circuit's hop `hop` (0 is the guard).
    ///
    /// # Errors
    /// [`CircuitError::NoSuchHop`], [`CircuitError::Timeout`] (5 s) or [`CircuitError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ping(&self, hop: usize) -> Result<Duration, CircuitError> {
        let _ = hop;
        todo!()
    }

    /// The relays, guard first.
    #[must_use]
    pub fn path(&self) -> Vec<HopInfo> {
        todo!()
    }

    /// From the set-up packet to the answer.
    #[must_use]
    pub fn build_time(&self) -> Duration {
        todo!()
    }

    /// Waits until QUIC to the exit is up, so that the next [`Circuit::connect`] costs one round trip.
    ///
    /// # Errors
    /// [`CircuitError::ExitKey`], [`CircuitError::Timeout`], [`CircuitError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe: the handshake goes on.
    pub async fn ready(&self) -> Result<(), CircuitError> {
        todo!()
    }

    /// Waits until the circuit has ended and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> CircuitError {
        todo!()
    }

    /// Closes the circuit with every stream over it.
    pub fn close(&self) {
        todo!()
    }
}

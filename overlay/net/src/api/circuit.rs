//! One circuit to an exit, and what can be opened through it.

use std::net::IpAddr;
use std::time::Duration;

use std::fmt;
use std::sync::Arc;

use super::{CircuitError, ConnectError, HopInfo, Stream, UdpSocket};
use crate::egress::Target;
use crate::origin::ExitCircuit;

/// A circuit to an exit. Cheap to clone; closed when the last clone and every stream over it are gone.
#[derive(Clone)]
pub struct Circuit {
    circuit: Arc<ExitCircuit>,
}

impl Circuit {
    pub(crate) fn new(circuit: Arc<ExitCircuit>) -> Self {
        Self { circuit }
    }

    /// Whether both handles are of one circuit, whatever relays it goes by.
    #[must_use]
    pub fn same_as(&self, other: &Circuit) -> bool {
        Arc::ptr_eq(&self.circuit, &other.circuit)
    }

    /// Opens a byte stream from the exit to `target`: one path round trip once QUIC is up.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub async fn connect(&self, target: impl Into<Target>) -> Result<Stream, ConnectError> {
        let opened = self.circuit.connect(&target.into()).await?;
        Ok(Stream::new(opened, Arc::clone(&self.circuit)))
    }

    /// Opens a UDP socket at the exit.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future gives the socket up.
    pub async fn bind_udp(&self) -> Result<UdpSocket, ConnectError> {
        let flow = self.circuit.bind_udp().await?;
        Ok(UdpSocket::new(flow, Arc::clone(&self.circuit)))
    }

    /// Asks the exit for the addresses of a name.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the request.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        self.circuit.resolve(name).await
    }

    /// Asks the exit for the names of an address.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future abandons the request.
    pub async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        self.circuit.resolve_ptr(ip).await
    }

    /// Round-trip time between this node and the circuit's hop `hop` (0 is the guard).
    ///
    /// # Errors
    /// [`CircuitError::NoSuchHop`], [`CircuitError::Timeout`] (5 s) or [`CircuitError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ping(&self, hop: usize) -> Result<Duration, CircuitError> {
        self.circuit.ping(hop).await
    }

    /// The relays, guard first.
    #[must_use]
    pub fn path(&self) -> Vec<HopInfo> {
        self.circuit.path()
    }

    /// From the set-up packet to the answer.
    #[must_use]
    pub fn build_time(&self) -> Duration {
        self.circuit.carrier().took
    }

    /// Waits until QUIC to the exit is up, so that the next [`Circuit::connect`] costs one round trip.
    ///
    /// # Errors
    /// [`CircuitError::ExitKey`], [`CircuitError::Timeout`], [`CircuitError::Closed`].
    ///
    /// # Cancel safety
    /// Cancel safe: the handshake goes on.
    pub async fn ready(&self) -> Result<(), CircuitError> {
        self.circuit.ready().await.map(drop)
    }

    /// Waits until the circuit has ended and says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn closed(&self) -> CircuitError {
        self.circuit.ended().await
    }

    /// Closes the circuit with every stream over it.
    pub fn close(&self) {
        self.circuit.close();
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Circuit")
    }
}

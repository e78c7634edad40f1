//! A UDP socket at an exit.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::UdpError;
use crate::egress::Target;
use crate::origin::ExitCircuit;
use crate::quic::{self, Flow, PAYLOAD_MAX};

/// A UDP socket at an exit, as unreliable as any. Closed on drop.
pub struct UdpSocket {
    flow: Flow,
    circuit: Arc<ExitCircuit>,
}

impl UdpSocket {
    pub(crate) fn new(flow: Flow, circuit: Arc<ExitCircuit>) -> Self {
        Self { flow, circuit }
    }

    /// Sends one datagram to `target`. Never waits: what the circuit cannot carry now is dropped, as UDP may.
    ///
    /// # Errors
    /// [`UdpError::TooLarge`], [`UdpError::BadName`], or [`UdpError::Lost`] when the circuit has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn send_to(&self, payload: &[u8], target: impl Into<Target>) -> Result<(), UdpError> {
        let target = target.into();
        let host = quic::host(&target.host).map_err(|_| UdpError::BadName)?;
        if target.port == 0 {
            return Err(UdpError::BadName);
        }
        self.flow.send(host, target.port, payload).map_err(|error| self.explain(error))
    }

    /// Waits for a datagram, writes it to `buffer` and returns its length and sender. What does not fit is cut off.
    ///
    /// # Errors
    /// [`UdpError::Lost`] when the circuit has ended or the exit closed the socket.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), UdpError> {
        let (from, payload) = self.flow.recv().await.map_err(|error| self.explain(error))?;
        let len = payload.len().min(buffer.len());
        buffer[..len].copy_from_slice(&payload[..len]);
        Ok((len, from))
    }

    /// The longest payload, in bytes. Payloads of up to about 1,380 bytes travel in one packet; longer ones travel
    /// reliably between origin and exit, and are slower.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        PAYLOAD_MAX
    }

    /// Says why the circuit has ended, where it has.
    fn explain(&self, error: UdpError) -> UdpError {
        match (error, self.circuit.end()) {
            (UdpError::Lost(_), Some(end)) => UdpError::Lost(end.to_string()),
            (error, _) => error,
        }
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UdpSocket")
    }
}

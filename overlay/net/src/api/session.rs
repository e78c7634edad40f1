//! Circuits of one isolation token, kept ready and replaced when they die.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Circuit, ConnectError, Stream, UdpSocket};
use crate::egress::Target;
use crate::origin::SessionCore;

/// The circuits of one isolation token. Cheap to clone.
///
/// A session takes the node's spare circuit, QUIC up, and keeps it, so that opening a stream costs one path round trip. When a
/// circuit dies it is rebuilt to the same exit under the running streams; when the exit itself is gone its streams end
/// with an error, and the next request uses another exit.
#[derive(Clone)]
pub struct Session {
    core: Arc<SessionCore>,
}

impl Session {
    pub(crate) fn new(core: Arc<SessionCore>) -> Self {
        Self { core }
    }

    /// Opens a byte stream to `target` over a circuit of this session.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream; a circuit being built stays.
    pub async fn connect(&self, target: impl Into<Target>) -> Result<Stream, ConnectError> {
        let (opened, circuit) = self.core.connect(&target.into()).await?;
        Ok(Stream::new(opened, circuit))
    }

    /// Opens a UDP socket at an exit.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn bind_udp(&self) -> Result<UdpSocket, ConnectError> {
        let (flow, circuit) = self.core.bind_udp().await?;
        Ok(UdpSocket::new(flow, circuit))
    }

    /// Asks an exit for the addresses of a name.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        self.core.resolve(name).await
    }

    /// Asks an exit for the names of an address.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        self.core.resolve_ptr(ip).await
    }

    /// Builds the session's circuits now, instead of at the first request; returns when one is ready.
    ///
    /// # Errors
    /// No circuit could be had.
    ///
    /// # Cancel safety
    /// Cancel safe: the circuit being built stays.
    pub async fn warm(&self) -> Result<(), ConnectError> {
        self.core.circuit(0, false).await?.ready().await?;
        Ok(())
    }

    /// The circuits that this session has now, the one in use first.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        self.core.circuits().into_iter().map(Circuit::new).collect()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

//! Circuits of one isolation token, kept ready and replaced when they die.

use std::net::IpAddr;

use super::{Circuit, ConnectError, Stream, UdpSocket};
use crate::egress::Target;

/// The circuits of one isolation token. Cheap to clone.
///
/// A session keeps a circuit with QUIC up, and a spare one, so that opening a stream costs one path round trip. When a
/// circuit dies it is rebuilt to the same exit under the running streams; when the exit itself is gone its streams end
/// with an error, and the next request uses another exit.
#[derive(Clone, Debug)]
pub struct Session {}

impl Session {
    /// Opens a byte stream to `target` over a circuit of this session.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream; a circuit being built stays.
    pub async fn connect(&self, target: impl Into<Target>) -> Result<Stream, ConnectError> {
        let _ = target.into();
        todo!()
    }

    /// Opens a UDP socket at an exit.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn bind_udp(&self) -> Result<UdpSocket, ConnectError> {
        todo!()
    }

    /// Asks an exit for the addresses of a name.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let _ = name;
        todo!()
    }

    /// Asks an exit for the names of an address.
    ///
    /// # Errors
    /// See [`ConnectError::kind`](super::ConnectError::kind).
    ///
    /// # Cancel safety
    /// As [`Session::connect`].
    pub async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        let _ = ip;
        todo!()
    }

    /// Builds the session's circuits now, instead of at the first request; returns when one is ready.
    ///
    /// # Errors
    /// No circuit could be had.
    ///
    /// # Cancel safety
    /// Cancel safe: the circuit being built stays.
    pub async fn warm(&self) -> Result<(), ConnectError> {
        todo!()
    }

    /// The circuits that this session has now, the one in use first.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        todo!()
    }
}

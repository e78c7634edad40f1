//! What the proxy needs from the network below it.

use std::future::Future;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::isolation::Token;
use crate::target::{Name, Target};

/// Opens streams and datagram sockets through circuits. Calls with different tokens never share a circuit.
///
/// [`Circuits`](crate::Circuits) is one; tests use one that connects on the spot.
pub trait Connector: Send + Sync + 'static {
    /// A reliable stream to a target.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;
    /// A socket for datagrams to any target.
    type Udp: UdpRelay;

    /// Opens a stream to `target`.
    ///
    /// # Errors
    /// A [`ConnectError`] that says at which step it failed.
    fn connect(&self, token: Token, target: &Target)
    -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;

    /// Opens a datagram socket at an exit.
    ///
    /// # Errors
    /// A [`ConnectError`] that says at which step it failed.
    fn udp(&self, token: Token) -> impl Future<Output = Result<Self::Udp, ConnectError>> + Send;

    /// Looks a name up at an exit.
    ///
    /// # Errors
    /// A [`ConnectError`] that says at which step it failed.
    fn resolve(&self, token: Token, name: &Name) -> impl Future<Output = Result<Vec<IpAddr>, ConnectError>> + Send;

    /// Looks up, at an exit, the name of an address.
    ///
    /// # Errors
    /// A [`ConnectError`] that says at which step it failed.
    fn resolve_ptr(&self, token: Token, ip: IpAddr) -> impl Future<Output = Result<Name, ConnectError>> + Send;

    /// Nobody uses this token any more: its circuits may be closed.
    fn forget(&self, token: Token);
}

/// The longest payload of a UDP datagram, in bytes: 65,535 less the headers of UDP and IPv4.
pub const PAYLOAD_MAX: usize = 65_507;

/// A datagram socket whose other side is an exit. Datagrams may be lost, and are lost rather than delayed.
pub trait UdpRelay: Send + Sync + 'static {
    /// Sends one datagram. One that is too long, or that the circuit cannot take now, is dropped without an error.
    ///
    /// # Errors
    /// A [`ConnectError`] when the socket is at its end.
    fn send_to(&self, target: &Target, payload: &[u8]) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Waits for a datagram, writes its payload to `buffer` and gives its source and the payload's length. The buffer
    /// takes the longest payload there is ([`PAYLOAD_MAX`]): what did not fit would be cut off.
    ///
    /// # Errors
    /// A [`ConnectError`] when the socket is at its end.
    ///
    /// # Cancel safety
    /// No datagram is lost when the future is dropped.
    fn recv_from(&self, buffer: &mut [u8]) -> impl Future<Output = Result<(Target, usize), ConnectError>> + Send;
}

/// Why a target was not reached. Says nothing about which target it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No exit's policy allows this target.
    #[error("the exit policy does not allow this destination")]
    Policy,
    /// The name does not exist.
    #[error("the name was not found")]
    NameNotFound,
    /// The exit found no way to the target's network.
    #[error("the network is unreachable from the exit")]
    NetworkUnreachable,
    /// The exit found no way to the target.
    #[error("the destination is unreachable from the exit")]
    HostUnreachable,
    /// The target said no.
    #[error("the destination refused the connection")]
    Refused,
    /// Nothing answered in time.
    #[error("no answer in time")]
    Timeout,
    /// No circuit could be built.
    #[error("no circuit could be built: no exit takes this port, or too few relays answer")]
    NoCircuit,
    /// A quota of the exit or of this machine is used up.
    #[error("too many streams at once")]
    Quota,
    /// The exit cannot do this.
    #[error("the exit does not support this")]
    Unsupported,
    /// The circuit ended.
    #[error("the circuit ended")]
    Closed,
}

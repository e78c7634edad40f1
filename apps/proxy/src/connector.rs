//! What the proxy needs from the network below it.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

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

/// So that a program can keep an eye on what its server uses.
impl<C: Connector> Connector for Arc<C> {
    type Stream = C::Stream;
    type Udp = C::Udp;

    fn connect(
        &self,
        token: Token,
        target: &Target,
    ) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send {
        C::connect(self, token, target)
    }

    fn udp(&self, token: Token) -> impl Future<Output = Result<Self::Udp, ConnectError>> + Send {
        C::udp(self, token)
    }

    fn resolve(&self, token: Token, name: &Name) -> impl Future<Output = Result<Vec<IpAddr>, ConnectError>> + Send {
        C::resolve(self, token, name)
    }

    fn resolve_ptr(&self, token: Token, ip: IpAddr) -> impl Future<Output = Result<Name, ConnectError>> + Send {
        C::resolve_ptr(self, token, ip)
    }

    fn forget(&self, token: Token) {
        C::forget(self, token);
    }
}

/// A datagram socket whose other side is an exit. Datagrams may be lost, and are lost rather than delayed.
pub trait UdpRelay: Send + Sync + 'static {
    /// Sends one datagram. One that is too long, or that the circuit cannot take now, is dropped without an error.
    ///
    /// # Errors
    /// A [`ConnectError`] when the socket is at its end.
    fn send_to(&self, target: &Target, payload: &[u8]) -> impl Future<Output = Result<(), ConnectError>> + Send;

    /// Waits for a datagram; gives its source and payload.
    ///
    /// # Errors
    /// A [`ConnectError`] when the socket is at its end.
    ///
    /// # Cancel safety
    /// No datagram is lost when the future is dropped.
    fn recv_from(&self) -> impl Future<Output = Result<(Target, Vec<u8>), ConnectError>> + Send;
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
    #[error("no circuit could be built: too few relays answer")]
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

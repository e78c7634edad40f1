//! Where traffic leaves an exit: the seam between the overlay and the `exits` crate.
//!
//! An exit relay terminates QUIC over circuits and hands every request to one [`Egress`]. The overlay knows nothing of
//! sockets to the outside, of policies or of DNS: an implementation decides all of that, per request, and answers with
//! a typed [`EgressError`] whose code travels back to the origin.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future on the heap that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Longest host name that a target may carry, in bytes (RFC 1035).
pub const NAME_MAX: usize = 253;

/// A circuit that ends at this exit, as an egress sees it: an opaque number for quotas and clean-up.
///
/// Unique for the life of the relay's process, never reused, and meaningless outside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CircuitHandle(pub u64);

/// The host half of a [`Target`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// A DNS name that the exit resolves, at most [`NAME_MAX`] bytes.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

/// Where a stream or a datagram is to go.
///
/// Made from what people have at hand: `("example.org", 443)`, a [`SocketAddr`], or `(IpAddr, u16)`. A name that is an
/// address literal (brackets around IPv6 allowed) becomes an address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name or address.
    pub host: TargetHost,
    /// TCP or UDP port.
    pub port: u16,
}

impl Target {
    /// A target from a host as a person writes it.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let host = match bare.parse::<IpAddr>() {
            Ok(ip) => TargetHost::Ip(ip),
            Err(_) => TargetHost::Name(host.to_owned()),
        };
        Self { host, port }
    }
}

impl From<(&str, u16)> for Target {
    fn from((host, port): (&str, u16)) -> Self {
        Self::new(host, port)
    }
}

impl From<(String, u16)> for Target {
    fn from((host, port): (String, u16)) -> Self {
        Self::new(&host, port)
    }
}

impl From<(IpAddr, u16)> for Target {
    fn from((ip, port): (IpAddr, u16)) -> Self {
        Self { host: TargetHost::Ip(ip), port }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { host: TargetHost::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// For people who asked for it: the destination in clear. Logs use `Debug`, which redacts.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target([redacted])")
    }
}

/// Why an exit could not do what an origin asked. The kind travels to the origin, nothing else does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The exit's policy forbids this destination.
    #[error("the exit's policy refuses this destination")]
    Refused,
    /// No route to the destination, or the network reported it unreachable.
    #[error("the destination is unreachable from the exit")]
    Unreachable,
    /// The destination refused the connection.
    #[error("the destination refused the connection")]
    ConnectionRefused,
    /// The destination, or a name server, did not answer in time.
    #[error("the destination did not answer the exit in time")]
    Timeout,
    /// The name does not exist or has no address.
    #[error("the exit found no address for this name")]
    NameNotFound,
    /// This circuit, or the exit as a whole, has used up its quota.
    #[error("the exit's quota for this circuit is used up")]
    QuotaExceeded,
    /// The exit does not offer this kind of request.
    #[error("the exit does not offer this kind of request")]
    Unsupported,
}

/// A byte stream to the outside.
pub trait EgressStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> EgressStream for T {}

/// A UDP socket to the outside, one per flow of a circuit.
///
/// The overlay calls `send_to` and `recv_from` from two tasks at once, each for one datagram at a time.
pub trait EgressUdp: Send + Sync {
    /// Sends one datagram; names are resolved, and the policy is asked for every destination.
    ///
    /// # Errors
    /// The policy's refusal, a failed resolution or a full quota. A datagram that the operating system drops is not an
    /// error.
    ///
    /// # Cancel safety
    /// Dropping the future may or may not send the datagram; never a part of it.
    fn send_to<'a>(&'a self, payload: &'a [u8], target: &'a Target) -> BoxFuture<'a, Result<(), EgressError>>;

    /// Waits for one datagram and writes it to `buffer`; returns its length and sender. What does not fit is cut off.
    ///
    /// # Errors
    /// The socket is gone for good: the flow ends.
    ///
    /// # Cancel safety
    /// Must be cancel safe: the overlay drops this future when the flow ends.
    fn recv_from<'a>(&'a self, buffer: &'a mut [u8]) -> BoxFuture<'a, Result<(usize, SocketAddr), EgressError>>;
}

/// What an exit relay does with the requests that reach it.
///
/// Implementations keep their own time limits (connect and resolve end by themselves) and their own quotas per circuit;
/// the overlay bounds streams per circuit and stops every future of a circuit when the circuit ends.
pub trait Egress: Send + Sync + 'static {
    /// Opens a byte stream (TCP) to `target`.
    ///
    /// # Errors
    /// See [`EgressError`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempt and leaks nothing.
    fn connect(
        &self,
        circuit: CircuitHandle,
        target: Target,
    ) -> BoxFuture<'_, Result<Box<dyn EgressStream>, EgressError>>;

    /// Opens a UDP socket.
    ///
    /// # Errors
    /// See [`EgressError`].
    ///
    /// # Cancel safety
    /// As [`Egress::connect`].
    fn bind_udp(&self, circuit: CircuitHandle) -> BoxFuture<'_, Result<Box<dyn EgressUdp>, EgressError>>;

    /// Resolves a name to its addresses, best first, never an empty list.
    ///
    /// # Errors
    /// See [`EgressError`].
    ///
    /// # Cancel safety
    /// As [`Egress::connect`].
    fn resolve<'a>(&'a self, circuit: CircuitHandle, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, EgressError>>;

    /// Resolves an address to its names, never an empty list.
    ///
    /// # Errors
    /// See [`EgressError`].
    ///
    /// # Cancel safety
    /// As [`Egress::connect`].
    fn resolve_ptr(&self, circuit: CircuitHandle, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, EgressError>>;

    /// The circuit has ended: forget its quotas. Called once per circuit that made a request, and never followed by
    /// another call for it.
    fn closed(&self, circuit: CircuitHandle);
}

//! Errors of the circuit socket API, each saying who or what is to blame.

use std::io;

use crate::RelayId;
use crate::directory::DirectoryError;

use crate::egress::EgressError;

/// Why a node could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The builder was given no network document and no bootstrap line.
    #[error("no network is known: give the node a network document or a bootstrap line")]
    NoNetwork,
    /// No document of the network could be had.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The UDP socket could not be opened.
    #[error("cannot open a UDP socket on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused something else: a thread, a runtime, random bytes.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The relay's keys do not fit the network document or each other.
    #[error("the relay's keys cannot be used: {0}")]
    Keys(String),
    /// The documents that the relay should give cannot be given.
    #[error("the documents cannot be given: {0}")]
    Documents(String),
    /// A link cannot be opened.
    #[error("the link cannot be opened: {0}")]
    Link(String),
    /// The network document is another network's than the one in use.
    #[error("this document belongs to another network")]
    OtherNetwork,
    /// The network document is older than the one in use, and may list relays that were taken out since.
    #[error("this network document is older than the one in use: it holds from {given}, that one from {in_use} (unix)")]
    OlderNetwork {
        /// From when the document holds that was given, unix seconds.
        given: u64,
        /// From when the one in use holds.
        in_use: u64,
    },
    /// The file of the guards cannot be used. A damaged one is not replaced by itself, as new guards would be drawn.
    #[error("the file of the guards cannot be used: {0}")]
    Guards(io::Error),
    /// The node was shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// Why a circuit could not be built, or ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// The network has too few suitable relays for the path asked for.
    #[error("no path: {0}")]
    NoPath(String),
    /// The newest network document that could be had no longer holds.
    #[error("the newest network document ended at {since} (unix time) and no newer one can be had: you may be cut off")]
    Expired {
        /// When it ended, unix seconds.
        since: u64,
    },
    /// The path asked for makes no sense.
    #[error("the path cannot be built: {0}")]
    BadPath(&'static str),
    /// Every attempt failed; the reason is the last one's.
    #[error("no circuit after {attempts} attempts: {reason}")]
    Build {
        /// How many paths were tried.
        attempts: u32,
        /// What ended the last one.
        reason: String,
    },
    /// No answer in time.
    #[error("the circuit did not answer in time")]
    Timeout,
    /// The circuit has ended.
    #[error("the circuit has ended: {0}")]
    Closed(String),
    /// The exit did not prove that it holds the key in the network document.
    #[error("the last relay {0:?} did not prove the key that the network document names")]
    ExitKey(RelayId),
    /// The exit does not speak the stream protocol, or broke it.
    #[error("the last relay {exit:?} failed: {reason}")]
    Exit {
        /// Which exit.
        exit: RelayId,
        /// What it did.
        reason: String,
    },
    /// The hop number is past the circuit's last.
    #[error("the circuit has no hop {0}")]
    NoSuchHop(usize),
    /// A message is longer than the circuit carries.
    #[error("a message of {len} bytes is longer than the {max} bytes that a circuit carries")]
    TooLarge {
        /// What was given.
        len: usize,
        /// What fits.
        max: usize,
    },
    /// The meeting relay does not know the cookie, or refused.
    #[error("the meeting relay refused: {0}")]
    Meeting(&'static str),
    /// The node was shut down.
    #[error("the node is shut down")]
    ShutDown,
}

/// Who or what made a connect, a resolve or a UDP flow fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// What the caller asked for cannot be right (a name too long, port 0).
    Misuse,
    /// No circuit could be had; nothing is known of the destination.
    Circuit,
    /// The circuit or its exit died under the request; asking again may work.
    Lost,
    /// The exit answered for the destination.
    Egress(EgressError),
    /// The exit broke the protocol.
    Protocol,
    /// No answer in time.
    Timeout,
}

/// A connect, a resolve or a UDP flow failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
}

impl ConnectError {
    pub(crate) fn new(kind: ConnectErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Who or what is to blame.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// What the exit said of the destination, if it got that far.
    #[must_use]
    pub fn egress(&self) -> Option<EgressError> {
        match self.kind {
            ConnectErrorKind::Egress(error) => Some(error),
            _ => None,
        }
    }
}

impl From<CircuitError> for ConnectError {
    fn from(error: CircuitError) -> Self {
        let kind = match error {
            CircuitError::Timeout | CircuitError::Closed(_) => ConnectErrorKind::Lost,
            _ => ConnectErrorKind::Circuit,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<EgressError> for ConnectError {
    fn from(error: EgressError) -> Self {
        Self::new(ConnectErrorKind::Egress(error), error.to_string())
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        let kind = match error.kind {
            ConnectErrorKind::Misuse => io::ErrorKind::InvalidInput,
            ConnectErrorKind::Circuit | ConnectErrorKind::Lost => io::ErrorKind::ConnectionAborted,
            ConnectErrorKind::Timeout | ConnectErrorKind::Egress(EgressError::Timeout) => io::ErrorKind::TimedOut,
            ConnectErrorKind::Egress(EgressError::ConnectionRefused) => io::ErrorKind::ConnectionRefused,
            ConnectErrorKind::Egress(EgressError::Unreachable) => io::ErrorKind::HostUnreachable,
            ConnectErrorKind::Egress(EgressError::Refused) => io::ErrorKind::PermissionDenied,
            ConnectErrorKind::Egress(EgressError::NameNotFound) => io::ErrorKind::NotFound,
            ConnectErrorKind::Egress(EgressError::QuotaExceeded) => io::ErrorKind::QuotaExceeded,
            ConnectErrorKind::Egress(EgressError::Unsupported) => io::ErrorKind::Unsupported,
            ConnectErrorKind::Protocol => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// A datagram was not sent or none can come any more.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdpError {
    /// The datagram is longer than the circuit carries for this destination.
    #[error("a datagram of {len} bytes is longer than the {max} bytes that fit")]
    TooLarge {
        /// What was given.
        len: usize,
        /// What fits, for this destination.
        max: usize,
    },
    /// The destination is no host name or address, or its port is 0.
    #[error("this cannot be a destination: not a host name, or port 0")]
    BadName,
    /// The circuit or the exit has ended.
    #[error("the circuit under this socket has ended: {0}")]
    Lost(String),
}

impl From<UdpError> for io::Error {
    fn from(error: UdpError) -> Self {
        let kind = match error {
            UdpError::TooLarge { .. } | UdpError::BadName => io::ErrorKind::InvalidInput,
            UdpError::Lost(_) => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}

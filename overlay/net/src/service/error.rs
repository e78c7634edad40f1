//! Why a service could not be reached, or not be published.

use std::io;

use super::ServiceAddressError;
use crate::api::CircuitError;

/// Why a service was not reached.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The text is no address.
    #[error(transparent)]
    Address(#[from] ServiceAddressError),
    /// No relay that should have it has the service's descriptor: it is not up, or the address is wrong.
    #[error("the service was not found: it is not up, or the address is wrong")]
    NotFound,
    /// The service asks for more work than this program does.
    #[error("the service is under load and asks for {asked} units of work, more than the {most} that are done here")]
    WorkRefused {
        /// What it asks for.
        asked: u32,
        /// The most that is done.
        most: u32,
    },
    /// The service is known, but did not come: it went down, or is overloaded.
    #[error("the service did not answer: {0}")]
    Gone(String),
    /// Whoever came had not read the introduction: it is not the service.
    #[error("whoever answered did not prove the service's key")]
    WrongKey,
    /// The service has nothing at this port.
    #[error("the service has nothing at this port")]
    NoSuchPort,
    /// The service takes no more streams of this client now.
    #[error("the service takes no more streams now")]
    Busy,
    /// The network has too few relays.
    #[error("the network is too small: {0}")]
    NetworkTooSmall(String),
    /// No circuit could be built.
    #[error(transparent)]
    Circuit(CircuitError),
    /// It took too long.
    #[error("the service was not reached in time")]
    Timeout,
    /// Port 0 cannot be dialled.
    #[error("port 0 cannot be dialled")]
    BadPort,
}

impl From<CircuitError> for DialError {
    fn from(error: CircuitError) -> Self {
        match error {
            CircuitError::NoPath(why) => Self::NetworkTooSmall(why),
            other => Self::Circuit(other),
        }
    }
}

impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        let kind = match &error {
            DialError::Address(_) | DialError::BadPort => io::ErrorKind::InvalidInput,
            DialError::NotFound => io::ErrorKind::NotFound,
            DialError::Gone(_) => io::ErrorKind::HostUnreachable,
            DialError::WrongKey => io::ErrorKind::InvalidData,
            DialError::NoSuchPort => io::ErrorKind::ConnectionRefused,
            DialError::WorkRefused { .. } | DialError::Busy => io::ErrorKind::QuotaExceeded,
            DialError::NetworkTooSmall(_) | DialError::Circuit(_) => io::ErrorKind::ConnectionAborted,
            DialError::Timeout => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, error)
    }
}

/// Why a service is not reachable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The network has too few relays.
    #[error("the network is too small: {0}")]
    NetworkTooSmall(String),
    /// No relay passes introductions on.
    #[error("no relay passes introductions on: {0}")]
    NoIntroduction(String),
    /// No relay took the descriptor.
    #[error("no relay took the service's descriptor: {0}")]
    NotPublished(String),
    /// Relays have a descriptor of this service that is at least as new: the service ran until some seconds ago, or runs elsewhere.
    #[error(
        "relays have a descriptor of this service that is as new: it ran until some seconds ago, or runs elsewhere"
    )]
    Stale,
    /// The file of second relays cannot be used.
    #[error("the state file cannot be used: {0}")]
    State(#[source] io::Error),
    /// The number of relays is not offered.
    #[error("a service's circuits have 2 or 3 relays of its own choice, not {0}")]
    Hops(usize),
    /// The node was shut down.
    #[error("the node is shut down")]
    ShutDown,
}

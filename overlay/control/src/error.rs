//! What can go wrong.

use crate::StoreError;

/// Why a node of the control plane did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system does not let it listen.
    #[error("cannot listen: {0}")]
    Listen(String),
    /// A setting is missing or contradicts another.
    #[error("{0}")]
    Setting(&'static str),
    /// A fault of this crate.
    #[error("the control plane cannot be set up: {0}; this is a fault of zmesh")]
    Fault(&'static str),
}

/// Why a message was not published.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Longer than any message.
    #[error("the message is longer than the control plane carries")]
    TooLong,
    /// The same was published or received a short while ago: everybody has it.
    #[error("the message is known already")]
    Known,
    /// Nobody is connected who wants it.
    #[error("nobody is connected to take the message")]
    Nobody,
    /// The queues to all peers are full.
    #[error("no peer takes messages at the moment")]
    Busy,
    /// A node with a passing identity publishes nothing.
    #[error("a node with a passing identity publishes nothing")]
    Passing,
}

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Longer than any question.
    #[error("the question is too long")]
    TooLong,
    /// The peer is not connected.
    #[error("the peer is not connected")]
    NotConnected,
    /// No answer came in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer refused, or broke off.
    #[error("the peer gave no answer")]
    Refused,
}

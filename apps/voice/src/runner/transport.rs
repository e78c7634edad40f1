//! What a call needs of the circuit under it.

use super::legs::PathNews;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The circuit is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(
    /// What happened, for people.
    pub String,
);

/// Moves messages between the two ends of a call: unreliable, unordered, whole messages.
pub trait DatagramTransport: Send {
    /// Waits until the other side is there. Nothing is sent before.
    ///
    /// # Errors
    /// [`TransportError`] if the circuit is gone.
    fn joined(&self) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Sends a message. Never waits; what cannot be sent now is lost, and that is no error.
    ///
    /// # Errors
    /// [`TransportError`] if the circuit is gone.
    fn send(&self, message: &[u8]) -> Result<(), TransportError>;

    /// Waits for the next message.
    ///
    /// # Errors
    /// [`TransportError`] if the circuit is gone.
    ///
    /// # Cancel safety
    /// Must be cancel safe: it is dropped and called again at every turn.
    fn recv(&self) -> impl Future<Output = Result<Vec<u8>, TransportError>> + Send;

    /// The call's channel stands, with a message in each `interval`: from here on the two transports can speak to each other
    /// beside the sound.
    fn connected(&self, interval: Duration) {
        let _ = interval;
    }

    /// The other side's transport says this.
    fn handle_aside(&self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Something to say to the other side's transport, at most [`crate::legs::AGREE_MAX`] bytes.
    fn poll_aside(&self) -> Option<Vec<u8>> {
        None
    }

    /// Something that happened to the paths under the call.
    fn poll_news(&self) -> Option<PathNews> {
        None
    }
}

/// Shared between the call and somebody who looks at the circuit meanwhile.
impl<T: DatagramTransport + Sync> DatagramTransport for Arc<T> {
    fn joined(&self) -> impl Future<Output = Result<(), TransportError>> + Send {
        T::joined(self)
    }

    fn send(&self, message: &[u8]) -> Result<(), TransportError> {
        T::send(self, message)
    }

    fn recv(&self) -> impl Future<Output = Result<Vec<u8>, TransportError>> + Send {
        T::recv(self)
    }

    fn connected(&self, interval: Duration) {
        T::connected(self, interval);
    }

    fn handle_aside(&self, bytes: &[u8]) {
        T::handle_aside(self, bytes);
    }

    fn poll_aside(&self) -> Option<Vec<u8>> {
        T::poll_aside(self)
    }

    fn poll_news(&self) -> Option<PathNews> {
        T::poll_news(self)
    }
}

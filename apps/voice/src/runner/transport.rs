//! What a call needs of the circuit under it.

use std::future::Future;
use std::sync::Arc;

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
}

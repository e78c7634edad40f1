//! Public-key work of a handshake.

/// Public-key work that may run on another thread.
#[derive(Debug)]
pub struct HandshakeJob {}

/// The outcome of a [`HandshakeJob`].
#[derive(Debug)]
pub struct HandshakeDone {}

impl HandshakeJob {
    /// Does the work. Pure: no clock, no randomness but what the job carries.
    #[must_use]
    pub fn run(self) -> HandshakeDone {
        HandshakeDone {}
    }
}

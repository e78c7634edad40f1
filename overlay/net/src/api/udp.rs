//! A UDP socket at an exit.

use std::net::SocketAddr;

use super::UdpError;
use crate::egress::Target;

/// A UDP socket at an exit, as unreliable as any. Closed on drop.
#[derive(Debug)]
pub struct UdpSocket {}

impl UdpSocket {
    /// Sends one datagram to `target`. Never waits: what the circuit cannot carry now is dropped, as UDP may.
    ///
    /// # Errors
    /// [`UdpError::TooLarge`], [`UdpError::BadName`], or [`UdpError::Lost`] when the circuit has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn send_to(&self, payload: &[u8], target: impl Into<Target>) -> Result<(), UdpError> {
        let _ = (payload, target.into());
        todo!()
    }

    /// Waits for a datagram, writes it to `buffer` and returns its length and sender. What does not fit is cut off.
    ///
    /// # Errors
    /// [`UdpError::Lost`] when the circuit has ended or the exit closed the socket.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), UdpError> {
        let _ = buffer;
        todo!()
    }

    /// The longest payload that fits for `target`, in bytes.
    #[must_use]
    pub fn max_payload(&self, target: &Target) -> usize {
        let _ = target;
        todo!()
    }
}

//! Bytes that mean nothing, for this relay itself: it measures another one by having them come by way of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;
use zmesh_proto::wire::request::{Failure, Response};

use super::ExitServer;
use super::reply::{Reply, refuse};
use super::stream::Asked;
use crate::entropy;
use crate::quic::codes;

/// How long they may take to leave. Who measures stops earlier.
const TRANSFER: Duration = Duration::from_secs(30);
/// What is handed to QUIC at once. It encrypts them, so whoever passes them on knows none ahead.
static PIECE: [u8; 16 << 10] = [0; 16 << 10];

/// The one ticket that is good: whoever shows it is this relay. Nobody else gets a byte.
#[derive(Default)]
pub(super) struct Tickets(Mutex<Option<([u8; 16], u32)>>);

impl Tickets {
    /// Writes a ticket for so many bytes; the one before is void.
    fn write(&self, bytes: u32) -> [u8; 16] {
        let ticket = entropy::bytes();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((ticket, bytes));
        ticket
    }

    /// Takes a ticket: for how many bytes it was.
    fn take(&self, shown: &[u8; 16]) -> Option<u32> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.take_if(|(ticket, _)| bool::from(ticket[..].ct_eq(&shown[..]))).map(|(_, bytes)| bytes)
    }
}

impl ExitServer {
    /// Lets this node ask itself for so many bytes, once.
    pub(crate) fn ticket(&self, bytes: u32) -> [u8; 16] {
        self.tickets.write(bytes)
    }
}

impl Asked {
    pub(super) async fn load(&self, ticket: &[u8; 16], mut send: Reply) {
        let Some(len) = self.place.server.tickets.take(ticket) else { return refuse(send, Failure::Refused).await };
        let sent = timeout(TRANSFER, async {
            send.write_all(&Response::Document { len }.encode()).await?;
            let mut left = len as usize;
            while left > 0 {
                let piece = left.min(PIECE.len());
                send.write_chunk(Bytes::from_static(&PIECE[..piece])).await?;
                left -= piece;
            }
            Ok::<_, quinn::WriteError>(())
        });
        if matches!(sent.await, Ok(Ok(()))) {
            let _ = send.finish();
        } else {
            let _ = send.reset(codes::CANCELLED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_no_other_is() {
        let tickets = Tickets::default();
        assert_eq!(tickets.take(&[0; 16]), None);
        let (first, second) = (tickets.write(5), tickets.write(7));
        assert_eq!(tickets.take(&first), None, "the one before is void");
        assert_eq!(tickets.take(&second), Some(7));
        assert_eq!(tickets.take(&second), None);
    }
}

//! Requests about the network's documents.

use std::time::Duration;

use quinn::SendStream;
use tokio::time::timeout;
use zmesh_proto::wire::request::{DocumentAsk, Failure, Response};

use super::stream::{Asked, answer, refuse};
use crate::directory::Answer;
use crate::quic::codes;

/// How long a document may take to leave. QUIC takes no more of it at once than its windows.
const TRANSFER: Duration = Duration::from_secs(180);
/// What is charged to the relay's rate at once.
const PIECE: usize = 16 << 10;

impl Asked {
    pub(super) async fn document(&self, ask: DocumentAsk, mut send: SendStream) {
        let Some(store) = &self.place.server.documents else { return refuse(send, Failure::Unsupported).await };
        let (parts, mut grant) = match store.answer(ask) {
            Ok(Answer::Head(head)) => return answer(send, Response::Head(head)).await,
            Ok(Answer::Bytes(parts, grant)) => (parts, grant),
            Err(failure) => return refuse(send, failure).await,
        };
        let len = parts.iter().map(bytes::Bytes::len).sum::<usize>();
        let Ok(len) = u32::try_from(len) else { return refuse(send, Failure::Internal).await };
        let mut left = store.given(len as usize);
        let sent = timeout(TRANSFER, async {
            send.write_all(&Response::Document { len }.encode()).await?;
            for mut part in parts {
                part.truncate(left);
                left -= part.len();
                while !part.is_empty() {
                    let piece = part.split_to(part.len().min(PIECE));
                    let bytes = piece.len();
                    send.write_chunk(piece).await?;
                    grant.sent(bytes);
                }
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

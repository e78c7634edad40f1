//! Requests about the network's documents.

use std::time::Duration;

use tokio::time::timeout;
use zmesh_proto::wire::request::{DocumentAsk, Failure, Response};

use super::reply::{Reply, answer, refuse};
use super::stream::Asked;
use crate::directory::Answer;
use crate::quic::codes;

/// How long a document may take to leave. QUIC takes no more of it at once than its windows.
const TRANSFER: Duration = Duration::from_secs(180);
/// What leaves in one turn.
const PIECE: usize = 64 << 10;

impl Asked {
    pub(super) async fn document(&self, ask: DocumentAsk, mut send: Reply) {
        let Some(store) = &self.place.server.documents else { return refuse(send, Failure::Unsupported).await };
        let parts = match store.answer(ask) {
            Ok(Answer::Head(head)) => return answer(send, Response::Head(head)).await,
            Ok(Answer::Bytes(parts)) => parts,
            Err(failure) => return refuse(send, failure).await,
        };
        let len = parts.iter().map(bytes::Bytes::len).sum::<usize>();
        let link = self.source.via.link;
        let Ok(announced) = u32::try_from(len) else { return refuse(send, Failure::Internal).await };
        let Some(_room) = self.reader.begin(len) else {
            store.refuse();
            return refuse(send, Failure::QuotaExceeded).await;
        };
        let mut left = store.given(len);
        // Who comes when too many wait hears so, and asks elsewhere.
        if !store.leave(link, len, left.min(PIECE)).await {
            return refuse(send, Failure::QuotaExceeded).await;
        }
        let mut paid = left.min(PIECE);
        let sent = timeout(TRANSFER, async {
            send.write_all(&Response::Document { len: announced }.encode()).await.ok()?;
            for mut part in parts {
                part.truncate(left);
                left -= part.len();
                while !part.is_empty() {
                    if paid == 0 {
                        paid = (part.len() + left).min(PIECE);
                        store.leave(link, len, paid).await.then_some(())?;
                    }
                    let piece = part.split_to(part.len().min(paid));
                    paid -= piece.len();
                    send.write_chunk(piece).await.ok()?;
                }
            }
            Some(())
        });
        if matches!(sent.await, Ok(Some(()))) {
            let _ = send.finish();
        } else {
            let _ = send.reset(codes::CANCELLED);
        }
    }
}

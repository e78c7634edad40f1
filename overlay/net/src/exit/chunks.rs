//! Requests about chunks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::RecvStream;
use tokio::time::timeout;
use zmesh_proto::wire::request::{ChunkRef, Failure, Response, SymbolRun};

use super::reply::{Reply, answer, refuse};
use super::stream::Asked;
use crate::chunks::{Admission, Announced, Keeper, Taken, is_small};
use crate::quic::codes;

/// How long a chunk may take to come, and symbols to leave.
const TRANSFER: Duration = Duration::from_secs(30);
/// How long the next bytes of a chunk may take to come.
const STALL: Duration = Duration::from_secs(5);

impl Asked {
    pub(super) async fn symbols(&self, run: SymbolRun, mut send: Reply) {
        let Some(keeper) = self.keeper() else { return refuse(send, Failure::Unsupported).await };
        if is_small(run.chunk.class) {
            // What is small goes ahead of what is long on the same connection.
            let _ = send.set_priority(1);
        }
        let symbols = match keeper.symbols(&self.guest, run).await {
            Ok(symbols) => symbols,
            Err(failure) => return refuse(send, failure).await,
        };
        let rooms = (self.guest.unread(symbols.len()), self.place.server.budget.chunk_bytes(symbols.len()));
        let (Some(_own), Some(_room)) = rooms else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        let sent = timeout(TRANSFER, async {
            send.write_all(&Response::Symbols { count: run.count }.encode()).await?;
            send.write_chunk(Bytes::from(symbols)).await
        });
        if matches!(sent.await, Ok(Ok(()))) {
            let _ = send.finish();
        } else {
            let _ = send.reset(codes::CANCELLED);
        }
    }

    pub(super) async fn keep(&self, chunk: ChunkRef, mut send: Reply, mut recv: RecvStream) {
        let Some(keeper) = self.keeper() else { return refuse(send, Failure::Unsupported).await };
        let announced = match keeper.admit(&self.guest, chunk).await {
            Err(failure) => return refuse(send, failure).await,
            Ok(Admission::Held) => return answer(send, Response::Held).await,
            Ok(Admission::Send(announced)) => announced,
        };
        let Some(_room) = self.place.server.budget.chunk_bytes(chunk.class.len()) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        if send.write_all(&Response::Send.encode()).await.is_err() {
            return;
        }
        let came = timeout(TRANSFER, take_in(&mut recv, announced, chunk.class.len())).await;
        let Ok(Some(bytes)) = came else {
            return refuse(send, Failure::Mismatch).await;
        };
        match keeper.keep(&self.guest, chunk, bytes).await {
            Ok(Taken::Stored) => answer(send, Response::Stored).await,
            Ok(Taken::Held) => answer(send, Response::Held).await,
            Err(failure) => refuse(send, failure).await,
        }
    }

    fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.place.server.keeper.as_ref()
    }
}

/// Reads a chunk of so many bytes that was announced; `None` if it stalls, ends early, or is longer.
async fn take_in(recv: &mut RecvStream, mut announced: Announced<'_>, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while let Some(piece) = timeout(STALL, recv.read_chunk(len + 1 - bytes.len(), true)).await.ok()?.ok()? {
        announced.came(piece.bytes.len());
        bytes.extend_from_slice(&piece.bytes);
        if bytes.len() > len {
            return None;
        }
    }
    Some(bytes)
}

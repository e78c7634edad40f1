//! Requests about chunks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use zmesh_proto::wire::request::{ChunkRef, Failure, Response, SymbolRun};

use super::stream::{Asked, answer, refuse};
use crate::chunks::{Admission, Keeper, is_small};
use crate::quic::codes;

/// How long a chunk may take to come, and symbols to leave.
const TRANSFER: Duration = Duration::from_secs(30);

impl Asked {
    pub(super) async fn symbols(&self, run: SymbolRun, mut send: SendStream) {
        let Some(keeper) = self.keeper() else { return refuse(send, Failure::Unsupported).await };
        if is_small(run.chunk.class) {
            // What is small goes ahead of what is long on the same connection.
            let _ = send.set_priority(1);
        }
        let symbols = match keeper.symbols(&self.guest, run).await {
            Ok(symbols) => symbols,
            Err(failure) => return refuse(send, failure).await,
        };
        let Some(_room) = self.place.server.budget.bytes(symbols.len()) else {
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

    pub(super) async fn keep(&self, chunk: ChunkRef, mut send: SendStream, mut recv: RecvStream) {
        let Some(keeper) = self.keeper() else { return refuse(send, Failure::Unsupported).await };
        match keeper.admit(&self.guest, chunk).await {
            Err(failure) => return refuse(send, failure).await,
            Ok(Admission::Held) => return answer(send, Response::Held).await,
            Ok(Admission::Send) => {}
        }
        let Some(_room) = self.place.server.budget.bytes(chunk.class.len()) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        if send.write_all(&Response::Send.encode()).await.is_err() {
            return;
        }
        let came = timeout(TRANSFER, recv.read_to_end(chunk.class.len())).await;
        let Ok(Ok(bytes)) = came else {
            return refuse(send, Failure::Mismatch).await;
        };
        match keeper.keep(&self.guest, chunk, bytes).await {
            Ok(Admission::Send) => answer(send, Response::Stored).await,
            Ok(Admission::Held) => answer(send, Response::Held).await,
            Err(failure) => refuse(send, failure).await,
        }
    }

    fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.place.server.keeper.as_ref()
    }
}

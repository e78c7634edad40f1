//! A byte stream to a destination through a circuit.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::HopInfo;
use crate::origin::ExitCircuit;
use crate::quic::{Opened, Spliced, codes, reset_reason};

/// How long a stream to a service may take to have the last of its data taken, after it was dropped.
const LINGER: Duration = Duration::from_secs(10);

/// What carries a stream.
enum Under {
    Exit(Arc<ExitCircuit>),
    Spliced(Arc<Spliced>),
}

/// A byte stream to a destination, as an exit opened it, or between a client and a service.
///
/// Reads and writes like a `TcpStream`: `shutdown` ends the sending half and leaves the other open. Dropping it with an
/// unfinished sending half resets the stream, and the exit closes its connection.
pub struct Stream {
    send: SendStream,
    recv: RecvStream,
    /// What came right behind the exit's answer.
    head: Bytes,
    finished: bool,
    under: Under,
}

impl Stream {
    pub(crate) fn new(opened: Opened, circuit: Arc<ExitCircuit>) -> Self {
        Self { send: opened.send, recv: opened.recv, head: opened.head, finished: false, under: Under::Exit(circuit) }
    }

    pub(crate) fn spliced(send: SendStream, recv: RecvStream, connection: Arc<Spliced>) -> Self {
        Self { send, recv, head: Bytes::new(), finished: false, under: Under::Spliced(connection) }
    }

    /// The relays under the stream now, guard first; of a stream between client and service, those of this side.
    #[must_use]
    pub fn path(&self) -> Vec<HopInfo> {
        match &self.under {
            Under::Exit(circuit) => circuit.path(),
            Under::Spliced(connection) => connection.path(),
        }
    }

    fn lost(&self, what: &dyn fmt::Display) -> io::Error {
        let reason = match &self.under {
            Under::Exit(circuit) => match circuit.end() {
                Some(end) => end.to_string(),
                None => format!("the circuit to the exit is lost: {what}"),
            },
            Under::Spliced(connection) => match connection.end() {
                Some(end) => format!("the circuit to the meeting relay has ended: {end}"),
                None => format!("the connection has ended: {what}"),
            },
        };
        io::Error::new(io::ErrorKind::ConnectionAborted, reason)
    }

    fn read_error(&self, error: io::Error) -> io::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ReadError>()) {
            Some(ReadError::Reset(code)) => io::Error::new(io::ErrorKind::ConnectionReset, reset_reason(*code)),
            Some(ReadError::ConnectionLost(lost)) => self.lost(lost),
            _ => error,
        }
    }

    fn write_error(&self, error: WriteError) -> io::Error {
        match error {
            WriteError::Stopped(code) => io::Error::new(io::ErrorKind::ConnectionReset, reset_reason(code)),
            WriteError::ConnectionLost(lost) => self.lost(&lost),
            other => other.into(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.head.is_empty() {
            let len = this.head.len().min(buffer.remaining());
            buffer.put_slice(&this.head.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let read = ready!(AsyncRead::poll_read(Pin::new(&mut this.recv), cx, buffer));
        Poll::Ready(read.map_err(|error| this.read_error(error)))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.send).poll_write(cx, data));
        Poll::Ready(written.map_err(|error| this.write_error(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // QUIC sends by itself.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.finished = true;
        // A stream that the other end stopped is shut down, too.
        let _ = this.send.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.send.reset(codes::CANCELLED);
        }
        let _ = self.recv.stop(codes::CANCELLED);
        // Nobody else may hold the connection, and what was written last is still on its way.
        if self.finished
            && let Under::Spliced(connection) = &self.under
        {
            let (taken, connection) = (self.send.stopped(), Arc::clone(connection));
            let shard = Arc::clone(connection.shard());
            shard.runtime.spawn(async move {
                let _ = timeout(LINGER, taken).await;
                drop(connection);
            });
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

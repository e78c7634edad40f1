//! Moves datagrams between one connection and the shard, until either ends.

use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use zmesh_proto::wire::datagram::Header;

use super::hub::Connection;

/// The longest datagram that is taken: one of a link, relayed through two nodes.
pub(super) const LONGEST: usize = 1232;
/// What may wait to be written before the pump waits for the network.
pub(super) const BUFFER: usize = 64 << 10;

/// What was read from a connection.
pub(super) enum Read {
    /// Perhaps a datagram.
    Datagram(Vec<u8>),
    /// Something that is none and is allowed.
    Nothing,
    /// Nothing more will come.
    End,
}

/// How long a connection may do nothing of use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// No datagram has come: links send something every ten seconds. Pings are none.
    pub(super) silence: Duration,
    /// The peer takes nothing of what is written to it.
    pub(super) write: Duration,
    /// No link goes by it. Looked at again after the same time.
    pub(super) unused: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { silence: seconds(40), write: seconds(15), unused: seconds(10) }
    }
}

/// Runs until the peer closes, breaks the protocol, or is of no use for too long. `in_use` says whether a link goes by the
/// connection.
pub(super) async fn pump_by<W, R, F>(
    mut connection: Connection,
    mut sink: W,
    mut stream: R,
    patience: Patience,
    in_use: impl Fn() -> F,
) where
    W: Sink<Vec<u8>> + Unpin,
    R: Stream<Item = Read> + Unpin,
    F: Future<Output = bool>,
{
    let mut silent = Instant::now() + patience.silence;
    let mut look = Instant::now() + patience.unused;
    loop {
        tokio::select! {
            received = timeout_at(silent, stream.next()) => match received {
                Ok(Some(Read::Datagram(datagram))) => {
                    // What no datagram can be is dropped here, and is no sign of life.
                    if Header::read(&datagram).is_ok() {
                        silent = Instant::now() + patience.silence;
                        connection.received(datagram).await;
                    }
                }
                Ok(Some(Read::Nothing)) => {}
                _ => return,
            },
            datagram = connection.outgoing.recv() => {
                let Some(datagram) = datagram else { return };
                let mut next = Some(datagram);
                // What else waits goes with the same write.
                while let Some(datagram) = next {
                    let fed = timeout(patience.write, sink.feed(datagram)).await;
                    if !matches!(fed, Ok(Ok(()))) {
                        return;
                    }
                    next = connection.outgoing.try_recv().ok();
                }
                if !matches!(timeout(patience.write, sink.flush()).await, Ok(Ok(()))) {
                    return;
                }
            }
            () = sleep_until(look) => {
                if !in_use().await {
                    return;
                }
                look = Instant::now() + patience.unused;
            }
        }
    }
}

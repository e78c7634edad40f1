//! Moves datagrams between one WebSocket and the shard, until either ends.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use zmesh_proto::wire::datagram::Header;

use super::LONGEST;
use crate::carrier::hub::Connection;

/// What may wait to be written before the pump waits for the network.
const BUFFER: usize = 64 << 10;

/// How long a connection may do nothing of use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// No datagram has come: links send something every ten seconds. Pings are none.
    silence: Duration,
    /// The peer takes nothing of what is written to it.
    write: Duration,
    /// No link goes by it. Looked at again after the same time.
    unused: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { silence: seconds(40), write: seconds(15), unused: seconds(10) }
    }
}

/// Bounds of a WebSocket here.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        .write_buffer_size(0)
        .max_write_buffer_size(BUFFER)
        .read_buffer_size(16 << 10)
}

/// Runs until the peer closes, breaks the protocol, or is of no use for too long. `in_use` says whether a link goes by the
/// connection.
pub(super) async fn pump<S, F>(
    mut connection: Connection,
    socket: WebSocketStream<S>,
    patience: Patience,
    in_use: impl Fn() -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = bool>,
{
    let (mut sink, mut stream) = socket.split();
    let mut silent = Instant::now() + patience.silence;
    let mut look = Instant::now() + patience.unused;
    loop {
        tokio::select! {
            received = timeout_at(silent, stream.next()) => match received {
                Ok(Some(Ok(Message::Binary(datagram)))) => {
                    // What no datagram can be is dropped here, and is no sign of life.
                    if Header::read(&datagram).is_ok() {
                        silent = Instant::now() + patience.silence;
                        connection.received(datagram.into()).await;
                    }
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                _ => return,
            },
            datagram = connection.outgoing.recv() => {
                let Some(datagram) = datagram else { return };
                let mut next = Some(datagram);
                // What else waits goes with the same write.
                while let Some(datagram) = next {
                    let fed = timeout(patience.write, sink.feed(Message::Binary(datagram.into()))).await;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::DuplexStream;
    use tokio::task::JoinHandle;
    use tokio_tungstenite::tungstenite::protocol::Role;
    use zmesh_proto::wire::datagram::{HEADER_LEN, Kind, S_LEN};

    use super::*;
    use crate::carrier::{Carrier, Hub};
    use crate::shard::Bell;

    const LONG: Duration = Duration::from_secs(1000);
    const SHORT: Duration = Duration::from_millis(50);

    struct Pumped {
        hub: Arc<Hub>,
        client: WebSocketStream<DuplexStream>,
        address: std::net::SocketAddr,
        task: JoinHandle<()>,
    }

    async fn start(patience: Patience, used: bool) -> Pumped {
        let hub = Arc::new(Hub::new(Arc::new(Bell::default())));
        let (here, there) = tokio::io::duplex(4096);
        let connection = hub.enter([192, 0, 2, 1].into()).expect("there is room");
        let address = connection.address;
        let server = WebSocketStream::from_raw_socket(here, Role::Server, Some(config())).await;
        let client = WebSocketStream::from_raw_socket(there, Role::Client, Some(config())).await;
        let task = tokio::spawn(pump(connection, server, patience, move || std::future::ready(used)));
        Pumped { hub, client, address, task }
    }

    /// A datagram, or with another length something that is none.
    fn message(len: usize) -> Message {
        let header = Header { kind: Kind::Data, suite: 1, index: 2, counter: 3 }.to_bytes();
        let mut bytes = vec![0; len];
        let front = len.min(HEADER_LEN);
        bytes[..front].copy_from_slice(&header[..front]);
        Message::Binary(bytes.into())
    }

    #[tokio::test]
    async fn a_connection_without_a_link_ends() {
        let patience = Patience { silence: LONG, write: LONG, unused: SHORT };
        let mut pumped = start(patience, false).await;
        // Pings and datagrams of nobody keep it no longer.
        while !pumped.task.is_finished() {
            let _ = pumped.client.send(Message::Ping(Vec::new().into())).await;
            let _ = pumped.client.send(message(S_LEN)).await;
            let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |_, _| {});
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn pings_and_what_is_no_datagram_are_no_life() {
        let patience = Patience { silence: SHORT, write: LONG, unused: LONG };
        let mut pumped = start(patience, true).await;
        while !pumped.task.is_finished() {
            let _ = pumped.client.send(Message::Ping(Vec::new().into())).await;
            let _ = pumped.client.send(message(1)).await;
            tokio::task::yield_now().await;
        }
        let mut came = 0;
        let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |_, _| came += 1);
        assert_eq!(came, 0, "what no datagram can be does not come to the node");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_not_waited_for() {
        let patience = Patience { silence: LONG, write: SHORT, unused: LONG };
        let mut pumped = start(patience, true).await;
        // The client never reads; the pipe between and the buffers fill up.
        while !pumped.task.is_finished() {
            pumped.hub.send(pumped.address, S_LEN, &vec![0; S_LEN * 64]);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_connection_with_a_link_stays_and_carries_both_ways() {
        let patience = Patience { silence: LONG, write: LONG, unused: Duration::from_millis(1) };
        let mut pumped = start(patience, true).await;
        for _ in 0..100 {
            pumped.client.send(message(S_LEN)).await.expect("it is read");
            let mut came = 0;
            while came == 0 {
                let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |from, bytes| {
                    came += usize::from(from == pumped.address && bytes.len() == S_LEN);
                });
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            pumped.hub.send(pumped.address, S_LEN, &vec![0; S_LEN]);
            let back = pumped.client.next().await.expect("open").expect("a message");
            assert_eq!(back.len(), S_LEN);
        }
        assert!(!pumped.task.is_finished());
    }

    fn noop() -> std::task::Context<'static> {
        std::task::Context::from_waker(std::task::Waker::noop())
    }
}

//! Moves datagrams between one WebSocket and the shard, until either ends.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::LONGEST;
use crate::carrier::hub::Connection;

/// A connection that is silent for so long ends: links on it send something every ten seconds.
const SILENCE: Duration = Duration::from_secs(40);
/// What may wait to be written before the pump waits for the network.
const BUFFER: usize = 64 << 10;

/// Bounds of a WebSocket here.
pub(super) fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        .write_buffer_size(0)
        .max_write_buffer_size(BUFFER)
        .read_buffer_size(16 << 10)
}

/// Runs until the peer closes, breaks the protocol, or is silent for too long.
pub(super) async fn pump<S>(mut connection: Connection, socket: WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            received = tokio::time::timeout(SILENCE, stream.next()) => match received {
                Ok(Some(Ok(Message::Binary(datagram)))) => connection.received(datagram.into()),
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                _ => return,
            },
            datagram = connection.outgoing.recv() => {
                let Some(datagram) = datagram else { return };
                if sink.feed(Message::Binary(datagram.into())).await.is_err() {
                    return;
                }
                // What else waits goes with the same write.
                while let Ok(datagram) = connection.outgoing.try_recv() {
                    if sink.feed(Message::Binary(datagram.into())).await.is_err() {
                        return;
                    }
                }
                if sink.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}

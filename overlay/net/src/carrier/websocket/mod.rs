//! Links over WebSocket over TLS: for networks that let no UDP through.
//!
//! One binary message is one datagram. TLS makes the connection look like others on port 443 and proves nothing about the
//! relay: the link's Noise handshake inside does, so the relay's certificate may be its own. TCP underneath waits for lost
//! packets, so calls suffer more from loss than over UDP.

mod client;
mod server;
#[cfg(test)]
mod tests;
mod tls;

use std::future::{Ready, ready};

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

pub(crate) use client::connect;
pub use server::WebSocketServer;
pub(crate) use server::serve;

use super::hub::Connection;
use super::pump::{BUFFER, LONGEST, Patience, Read, pump_by};

/// Bounds of a WebSocket here.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST))
        .write_buffer_size(0)
        .max_write_buffer_size(BUFFER)
        .read_buffer_size(16 << 10)
}

/// Moves datagrams between a WebSocket and the shard; see [`pump_by`].
async fn pump<S, F>(connection: Connection, socket: WebSocketStream<S>, patience: Patience, in_use: impl Fn() -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = bool>,
{
    let (sink, stream) = socket.split();
    let message = |datagram: Vec<u8>| -> Ready<Result<Message, Error>> { ready(Ok(Message::Binary(datagram.into()))) };
    let sink = sink.with(message);
    let stream = stream.map(|read| match read {
        Ok(Message::Binary(datagram)) => Read::Datagram(datagram.into()),
        Ok(Message::Ping(_) | Message::Pong(_)) => Read::Nothing,
        _ => Read::End,
    });
    pump_by(connection, sink, stream, patience, in_use).await;
}

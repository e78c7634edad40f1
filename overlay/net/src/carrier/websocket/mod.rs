//! Links over WebSocket over TLS: for networks that let no UDP through.
//!
//! One binary message is one datagram. TLS makes the connection look like others on port 443 and proves nothing about the
//! relay: the link's Noise handshake inside does, so the relay's certificate may be its own. TCP underneath waits for lost
//! packets, so calls suffer more from loss than over UDP.

mod client;
mod pump;
mod server;
mod tls;

pub(crate) use client::connect;
use pump::Patience;
pub use server::WebSocketServer;
pub(crate) use server::serve;

/// The longest message that is taken: a datagram of a link, relayed through two nodes.
const LONGEST: usize = 1232;

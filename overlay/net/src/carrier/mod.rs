//! What moves the datagrams of links.
//!
//! To the node everything has a socket address. UDP is at the addresses of the network; other carriers take addresses that
//! the network never routes (`zmesh_proto::link::route`), each for one connection.

mod aside;
mod fallback;
mod hub;
mod pump;
mod stream;
pub(crate) mod websocket;

use std::net::SocketAddr;
use std::task::{Context, Poll};

pub(crate) use aside::Aside;
pub(crate) use fallback::watch;
pub use fallback::{Fallback, FallbackError};
pub(crate) use hub::Hub;
pub(crate) use stream::{Streams, open as open_stream};
pub use websocket::WebSocketServer;

/// Moves datagrams of links.
pub(crate) trait Carrier: Send {
    /// Whether datagrams to this address go by this carrier.
    fn carries(&self, to: SocketAddr) -> bool;

    /// Sends a run of datagrams, each `segment` bytes but the last, to one address. What cannot leave now is lost, as on any
    /// datagram network.
    fn send(&mut self, to: SocketAddr, segment: usize, data: &[u8]);

    /// Hands at most about `budget` datagrams to `handle`. Ready when more may be waiting; when not, the task is woken by the
    /// next datagram.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        handle: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Poll<()>;

    /// Time has passed: lets go of what nobody used.
    fn sweep(&mut self) {}
}

//! Further UDP sockets, for a translator that gives each destination another port: see `zmesh_proto::nat::punch`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use zmesh_proto::link::route;

use super::Carrier;
use crate::clock;

/// Sockets at once.
const MOST: usize = 320;
/// A socket on which nothing came for so long is closed.
const IDLE: Duration = Duration::from_secs(45);
/// No datagram of a link is longer, what stands in front of a relayed one included.
const LONGEST: usize = 1500;

/// The sockets, opened when something is first sent from them.
#[derive(Default)]
pub(crate) struct Aside {
    sockets: BTreeMap<u16, (UdpSocket, Instant)>,
}

impl Carrier for Aside {
    fn carries(&self, to: SocketAddr) -> bool {
        route::aside_of(to).is_some()
    }

    fn send(&mut self, to: SocketAddr, segment: usize, data: &[u8]) {
        let Some((number, far)) = route::aside_of(to) else { return };
        if !self.sockets.contains_key(&number) && self.sockets.len() < MOST {
            let opened = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            });
            // Without a socket the probe is lost, and one guess fewer made.
            let Ok(socket) = opened else { return };
            self.sockets.insert(number, (socket, clock::now()));
        }
        if let Some((socket, _)) = self.sockets.get(&number) {
            for datagram in data.chunks(segment.max(1)) {
                // Not through the runtime: it holds a new socket for unwritable until it has polled it once.
                let _ = SockRef::from(socket).send_to(datagram, &far.into());
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        handle: &mut dyn FnMut(SocketAddr, &mut [u8]),
    ) -> Poll<()> {
        let mut left = budget;
        let mut space = [0; LONGEST];
        for (number, (socket, used)) in &mut self.sockets {
            loop {
                let mut buffer = ReadBuf::new(&mut space);
                let Poll::Ready(received) = socket.poll_recv_from(cx, &mut buffer) else { break };
                if let Ok(from) = received
                    && let Some(from) = route::aside(from, *number)
                {
                    *used = clock::now();
                    handle(from, buffer.filled_mut());
                }
                left = left.saturating_sub(1);
                if left == 0 {
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    fn sweep(&mut self) {
        let now = clock::now();
        self.sockets.retain(|_, (_, used)| now.saturating_duration_since(*used) < IDLE);
    }
}

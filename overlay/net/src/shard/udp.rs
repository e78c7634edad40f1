//! The shard's UDP sockets: batches in and out, and no error that ends anything.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::api::NodeError;

/// What each socket asks of the kernel for either direction, in bytes.
const BUFFER: usize = 4 << 20;

/// Room for one run of datagrams that the kernel joined (GRO), in bytes.
const RUN: usize = 1 << 16;

/// Counters of the sockets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UdpCounters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) unsent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
}

struct Socket1 {
    io: UdpSocket,
    state: UdpSocketState,
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// IPv6 that also carries IPv4 in mapped form.
    Both,
}

/// The sockets of one shard, at most one per family in use.
pub(crate) struct UdpSockets {
    sockets: Vec<Socket1>,
    buffer: Vec<u8>,
    next: usize,
    /// Datagrams in the runs of the last batch, on average: the next batch takes so many fewer runs.
    per_run: usize,
    counters: UdpCounters,
}

impl UdpSockets {
    /// Opens sockets on `addresses`; without any, on any port of both families.
    ///
    /// Must be called inside the runtime that will poll them.
    ///
    /// # Errors
    /// [`NodeError::Bind`].
    pub(crate) fn open(addresses: &[SocketAddr]) -> Result<Self, NodeError> {
        let mut sockets = Vec::new();
        if addresses.is_empty() {
            let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            let any4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            match open(any6, true) {
                Ok(socket) => sockets.push(socket),
                Err(_) => sockets.push(open(any4, false).map_err(|source| NodeError::Bind { address: any4, source })?),
            }
        }
        let v4_too = addresses.iter().any(SocketAddr::is_ipv4);
        for &address in addresses {
            let both = !v4_too && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            sockets.push(open(address, both).map_err(|source| NodeError::Bind { address, source })?);
        }
        Ok(Self { sockets, buffer: vec![0; RUN * BATCH_SIZE], next: 0, per_run: 1, counters: UdpCounters::default() })
    }

    /// Where the sockets are bound.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.io.local_addr().ok()).collect()
    }

    pub(crate) fn counters(&self) -> UdpCounters {
        self.counters
    }

    /// Hands at most about `budget` datagrams to `handle`; true when more may be waiting. When not, the task is woken
    /// by the next datagram.
    pub(crate) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        mut handle: impl FnMut(SocketAddr, &mut [u8]),
    ) -> bool {
        let mut left = budget;
        let mut idle = 0;
        while idle < self.sockets.len() {
            if left == 0 {
                return true;
            }
            let index = self.next;
            match self.receive_once(cx, index, left, &mut handle) {
                0 => {
                    idle += 1;
                    self.next = (index + 1) % self.sockets.len();
                }
                count => {
                    idle = 0;
                    left = left.saturating_sub(count);
                }
            }
        }
        false
    }

    fn receive_once(
        &mut self,
        cx: &mut Context<'_>,
        index: usize,
        left: usize,
        handle: &mut impl FnMut(SocketAddr, &mut [u8]),
    ) -> usize {
        let socket = &self.sockets[index];
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let runs = (left / self.per_run).clamp(1, BATCH_SIZE);
        let count = loop {
            match socket.io.poll_recv_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // An error here is one that a datagram of ours provoked (ICMP), or the runtime is going away.
                Poll::Ready(Err(_)) | Poll::Pending => return 0,
            }
            let mut chunks = self.buffer.chunks_exact_mut(RUN).map(IoSliceMut::new);
            let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| chunks.next().expect("the buffer has a chunk per datagram of a batch"));
            let received = socket.io.try_io(Interest::READABLE, || {
                socket.state.recv(UdpSockRef::from(&socket.io), &mut buffers[..runs], &mut meta[..runs])
            });
            match received {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // ICMP errors surface here once each: take the next datagram.
                Err(_) => return 1,
            }
        };
        let mut datagrams = 0;
        for (meta, run) in meta[..count].iter().zip(self.buffer.chunks_exact_mut(RUN)) {
            let from = canonical(meta.addr);
            for datagram in run[..meta.len.min(RUN)].chunks_mut(meta.stride.max(1)) {
                datagrams += 1;
                self.counters.bytes_received += datagram.len() as u64;
                handle(from, datagram);
            }
        }
        self.per_run = (datagrams / count.max(1)).max(1);
        self.counters.received += datagrams as u64;
        // An empty datagram counts too, so that the caller goes on until would-block.
        datagrams.max(1)
    }

    /// Sends a run of datagrams, each `segment` bytes but the last, to one address. What the kernel does not take now is
    /// lost, as on any datagram network.
    pub(crate) fn send(&mut self, to: SocketAddr, segment: usize, data: &[u8]) {
        let segment = segment.max(1);
        let datagrams = data.len().div_ceil(segment) as u64;
        let Some(socket) = self.sockets.iter().find(|socket| socket.family.carries(to)) else {
            self.counters.unsent += datagrams;
            return;
        };
        let destination = if socket.family == Family::Both { mapped(to) } else { to };
        let most = socket.state.max_gso_segments().min((RUN - 1) / segment).max(1);
        for run in data.chunks(segment * most) {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: run,
                segment_size: (run.len() > segment).then_some(segment),
                src_ip: None,
            };
            let count = run.len().div_ceil(segment) as u64;
            match socket.state.try_send(UdpSockRef::from(&socket.io), &transmit) {
                Ok(()) => {
                    self.counters.sent += count;
                    self.counters.bytes_sent += run.len() as u64;
                }
                Err(_) => self.counters.unsent += count,
            }
        }
    }
}

impl Family {
    fn carries(self, to: SocketAddr) -> bool {
        match self {
            Self::V4 => to.is_ipv4(),
            Self::V6 => to.is_ipv6(),
            Self::Both => true,
        }
    }
}

fn open(address: SocketAddr, both: bool) -> io::Result<Socket1> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.set_nonblocking(true)?;
    // The kernel gives what its limits allow; less only means more loss under bursts.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    let io = UdpSocket::from_std(socket.into())?;
    let state = UdpSocketState::new(UdpSockRef::from(&io))?;
    let family = match (address.is_ipv6(), both) {
        (false, _) => Family::V4,
        (true, false) => Family::V6,
        (true, true) => Family::Both,
    };
    Ok(Socket1 { io, state, family })
}

/// IPv4 in its own form, also where an IPv6 socket reported it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// IPv4 in the form that an IPv6 socket takes.
fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

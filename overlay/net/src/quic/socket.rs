//! A circuit as the UDP socket under QUIC.
//!
//! Addresses are made up: to an origin the peer's address is the exit's identifier, to an exit it is the number of the
//! circuit that ends there. So an origin's connection does not know which circuit carries it, and the circuit can be
//! replaced under it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use zmesh_proto::node::{CircuitId, LocalId};

use super::inbox::Inbox;
use crate::RelayId;
use crate::shard::Shard;

/// Bytes of messages that may wait for QUIC; more are dropped, as a UDP socket would.
const INBOX_ORIGIN: usize = 4 << 20;
const INBOX_EXIT: usize = 16 << 20;

/// The same for one circuit of an exit: what one connection may have on its way comes at once when it has waited for a message
/// that a link sends again.
const INBOX_CIRCUIT: usize = 1 << 20;

/// No circuit under the connection at the moment.
const DETACHED: u64 = u64::MAX;

/// The made-up address of an exit.
pub(crate) fn exit_address(exit: RelayId) -> SocketAddr {
    SocketAddrV6::new(Ipv6Addr::from(exit.0), 1, 0, 0).into()
}

/// The made-up address of a circuit that ends here: a unique local address (RFC 4193) around its number.
pub(crate) fn local_address(local: LocalId) -> SocketAddr {
    let mut bytes = [0; 16];
    bytes[0] = 0xfd;
    bytes[8..].copy_from_slice(&local.as_u64().to_be_bytes());
    SocketAddrV6::new(Ipv6Addr::from(bytes), 1, 0, 0).into()
}

/// The circuit behind an address of [`local_address`].
pub(crate) fn local_of(address: SocketAddr) -> Option<LocalId> {
    let SocketAddr::V6(address) = address else {
        return None;
    };
    let bytes = address.ip().octets();
    let number = bytes[8..].try_into().ok().map(u64::from_be_bytes)?;
    (bytes[0] == 0xfd).then(|| LocalId::from_u64(number))
}

/// Which end of circuits this socket stands at.
enum End {
    /// At an origin: one exit, by one circuit at a time.
    Origin { exit: SocketAddr, circuit: AtomicU64 },
    /// At an exit: every circuit that ends here.
    Exit,
}

/// What waits for QUIC, and the task that waits for it.
struct Waiting {
    inbox: Inbox,
    reader: Option<Waker>,
}

impl Waiting {
    fn new(max: usize, max_of_one: usize) -> Mutex<Self> {
        Mutex::new(Self { inbox: Inbox::new(max, max_of_one), reader: None })
    }
}

/// The socket under one quinn endpoint.
pub(crate) struct CircuitSocket {
    shard: Arc<Shard>,
    end: End,
    waiting: Mutex<Waiting>,
}

impl CircuitSocket {
    /// A socket to one exit, with no circuit yet.
    pub(crate) fn origin(shard: Arc<Shard>, exit: RelayId) -> Arc<Self> {
        let end = End::Origin { exit: exit_address(exit), circuit: AtomicU64::new(DETACHED) };
        // All messages come from one exit, so the bound of one is the bound of all.
        Arc::new(Self { shard, end, waiting: Waiting::new(usize::MAX, INBOX_ORIGIN) })
    }

    /// The socket of an exit.
    pub(crate) fn exit(shard: Arc<Shard>) -> Arc<Self> {
        Arc::new(Self { shard, end: End::Exit, waiting: Waiting::new(INBOX_EXIT, INBOX_CIRCUIT) })
    }

    /// Carries the connection by `circuit` from now on.
    pub(crate) fn attach(&self, circuit: CircuitId) {
        if let End::Origin { circuit: current, .. } = &self.end {
            current.store(circuit.as_u64(), Ordering::Relaxed);
        }
    }

    /// A message came by one of the socket's circuits.
    pub(crate) fn deliver(&self, local: Option<LocalId>, message: Vec<u8>) {
        let from = match (&self.end, local) {
            (End::Origin { exit, .. }, None) => *exit,
            (End::Exit, Some(local)) => local_address(local),
            _ => return,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.inbox.push(from, message) {
            return;
        }
        if let Some(reader) = waiting.reader.take() {
            drop(waiting);
            reader.wake();
        }
    }
}

impl fmt::Debug for CircuitSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.end {
            End::Origin { .. } => "CircuitSocket(origin)",
            End::Exit => "CircuitSocket(exit)",
        })
    }
}

impl AsyncUdpSocket for CircuitSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    /// Never would-block: what a circuit cannot carry now is dropped in its queue, so that no circuit holds up another.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let messages = transmit.contents.chunks(segment);
        match &self.end {
            End::Origin { circuit, .. } => match circuit.load(Ordering::Relaxed) {
                DETACHED => {}
                circuit => self.shard.send(CircuitId::from_u64(circuit), messages),
            },
            End::Exit => {
                if let Some(local) = local_of(transmit.destination) {
                    self.shard.reply(local, messages);
                }
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some((addr, message)) = waiting.inbox.pop() else {
                break;
            };
            let len = message.len().min(buffer.len());
            buffer[..len].copy_from_slice(&message[..len]);
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        waiting.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 1, 0, 0).into())
    }

    fn max_transmit_segments(&self) -> usize {
        10
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Circuits drop instead of blocking.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

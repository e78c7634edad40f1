//! UDP flows at the exit.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use zmesh_proto::wire::request::{Host, Response, UdpDatagram, read_record};

use super::reply::Reply;
use super::stream::target;
use crate::egress::EgressUdp;
use crate::quic::{Records, codes, records, send_datagram};

/// Flows of one session.
const FLOWS: usize = 16;

/// Datagrams of one flow that wait for the egress; more are dropped.
const WAITING: usize = 32;

/// Bytes of long answers of all flows of a session that wait for the flows' streams; more are dropped.
const RECORD_BYTES: usize = 128 << 10;

/// How long the egress may take for one datagram: a look-up, at most.
const SEND: Duration = Duration::from_secs(5);

/// The flows of one session.
pub(super) struct Flows {
    /// The inbox is missing until the egress has given a socket.
    inboxes: Mutex<HashMap<u32, Option<mpsc::Sender<Bytes>>>>,
    /// Datagrams may overtake the request that opens their flow: one such datagram per flow is kept.
    early: Mutex<HashMap<u32, Bytes>>,
    /// Room for long answers.
    room: Arc<Semaphore>,
}

impl Default for Flows {
    fn default() -> Self {
        Self { inboxes: Mutex::default(), early: Mutex::default(), room: Arc::new(Semaphore::new(RECORD_BYTES)) }
    }
}

impl Flows {
    fn inboxes(&self) -> MutexGuard<'_, HashMap<u32, Option<mpsc::Sender<Bytes>>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn early(&self) -> MutexGuard<'_, HashMap<u32, Bytes>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a datagram to its flow.
    pub(super) fn deliver(&self, datagram: Bytes) {
        let Some(flow) = datagram.first_chunk::<4>().copied().map(u32::from_be_bytes) else {
            return;
        };
        if let Some(Some(inbox)) = self.inboxes().get(&flow) {
            // A full inbox drops, as a socket buffer would.
            let _ = inbox.try_send(datagram);
            return;
        }
        let mut early = self.early();
        if early.len() < FLOWS {
            early.insert(flow, datagram);
        }
    }

    /// A place for a new flow; none when the number is taken or there are too many flows.
    pub(super) fn reserve(&self, number: u32) -> Option<Place<'_>> {
        let mut inboxes = self.inboxes();
        if inboxes.len() >= FLOWS || inboxes.contains_key(&number) {
            return None;
        }
        inboxes.insert(number, None);
        Some(Place { flows: self, number })
    }
}

/// The number of a flow, which is free again when this is dropped.
pub(super) struct Place<'a> {
    flows: &'a Flows,
    number: u32,
}

impl Place<'_> {
    fn open(&self, inbox: mpsc::Sender<Bytes>) {
        let mut inboxes = self.flows.inboxes();
        if let Some(datagram) = self.flows.early().remove(&self.number) {
            let _ = inbox.try_send(datagram);
        }
        inboxes.insert(self.number, Some(inbox));
    }

    /// Carries a flow until its stream ends.
    pub(super) async fn serve(
        self,
        connection: &Connection,
        socket: Arc<dyn EgressUdp>,
        mut send: Reply,
        recv: RecvStream,
        head: Bytes,
    ) {
        let number = self.number;
        let (inbox, datagrams) = mpsc::channel(WAITING);
        self.open(inbox);
        // Which address the exit uses towards the destination is nobody's business.
        let bound = Response::Bound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        if send.write_all(&bound.encode()).await.is_err() {
            return;
        }
        let (records, waiting) = records(&self.flows.room);
        tokio::select! {
            () = to_destinations(&*socket, datagrams) => {}
            () = from_origin(&*socket, recv, head) => {}
            () = from_destinations(&*socket, connection, number, &records) => {}
            () = waiting.write(&mut send) => {}
        }
        let _ = send.finish();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.flows.inboxes().remove(&self.number);
        self.flows.early().remove(&self.number);
    }
}

/// Sends what came in QUIC datagrams.
async fn to_destinations(socket: &dyn EgressUdp, mut datagrams: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = datagrams.recv().await {
        if let Ok(datagram) = UdpDatagram::decode(&bytes) {
            forward(socket, datagram).await;
        }
    }
}

/// Sends what came as records; returns when the origin ends the flow.
async fn from_origin(socket: &dyn EgressUdp, mut recv: RecvStream, head: Bytes) {
    let mut buffer = BytesMut::from(head);
    loop {
        match read_record(&buffer) {
            Ok(Some((datagram, used))) => {
                forward(socket, datagram).await;
                let _ = buffer.split_to(used);
                continue;
            }
            Ok(None) => {}
            Err(_) => {
                let _ = recv.stop(codes::PROTOCOL);
                return;
            }
        }
        match recv.read_chunk(1 << 16, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) | Err(_) => return,
        }
    }
}

async fn forward(socket: &dyn EgressUdp, datagram: UdpDatagram<'_>) {
    let payload = datagram.payload;
    // What the policy refuses or nobody resolves is lost, as UDP has no way to say more.
    // Nor is it worth more than a moment: others wait behind it.
    let _ = timeout(SEND, socket.send_to(payload, &target(datagram.host, datagram.port))).await;
}

/// Carries answers back.
async fn from_destinations(socket: &dyn EgressUdp, connection: &Connection, flow: u32, records: &Records) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        if from.port() == 0 {
            continue;
        }
        let payload = &buffer[..len.min(buffer.len())];
        let datagram = UdpDatagram { flow, host: Host::from(from.ip()), port: from.port(), payload };
        if send_datagram(connection, records, &datagram).is_err() {
            return;
        }
    }
}

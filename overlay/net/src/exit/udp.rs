//! UDP flows at the exit.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use zmesh_proto::wire::request::{Failure, Host, Response, UdpDatagram, read_record};

use super::stream::target;
use crate::egress::EgressUdp;
use crate::quic::{RECORDS, codes, send_datagram};

/// Flows of one session.
const FLOWS: usize = 32;

/// Datagrams of one flow that wait for the egress; more are dropped.
const WAITING: usize = 256;

/// The flows of one session.
#[derive(Default)]
pub(super) struct Flows {
    inboxes: Mutex<HashMap<u32, mpsc::Sender<Bytes>>>,
    /// Datagrams may overtake the request that opens their flow: one such datagram per flow is kept.
    early: Mutex<HashMap<u32, Bytes>>,
}

impl Flows {
    fn inboxes(&self) -> MutexGuard<'_, HashMap<u32, mpsc::Sender<Bytes>>> {
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
        if let Some(inbox) = self.inboxes().get(&flow) {
            // A full inbox drops, as a socket buffer would.
            let _ = inbox.try_send(datagram);
            return;
        }
        let mut early = self.early();
        if early.len() < FLOWS {
            early.insert(flow, datagram);
        }
    }

    /// Gives a new flow its inbox; false when the number is taken or there are too many flows.
    fn enter(&self, number: u32, inbox: mpsc::Sender<Bytes>) -> bool {
        let mut inboxes = self.inboxes();
        if inboxes.len() >= FLOWS || inboxes.contains_key(&number) {
            return false;
        }
        if let Some(datagram) = self.early().remove(&number) {
            let _ = inbox.try_send(datagram);
        }
        inboxes.insert(number, inbox);
        true
    }

    /// Carries a flow until its stream ends.
    pub(super) async fn serve(
        &self,
        number: u32,
        connection: &Connection,
        socket: Arc<dyn EgressUdp>,
        mut send: SendStream,
        recv: RecvStream,
        head: Bytes,
    ) {
        let (inbox, datagrams) = mpsc::channel(WAITING);
        if !self.enter(number, inbox) {
            let refused = Response::Failed(Failure::QuotaExceeded);
            if send.write_all(&refused.encode()).await.is_ok() {
                let _ = send.finish();
            }
            return;
        }
        let _leave = Leave { flows: self, number };
        // Which address the exit uses towards the destination is nobody's business.
        let bound = Response::Bound(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        if send.write_all(&bound.encode()).await.is_err() {
            return;
        }
        let (records, waiting) = mpsc::channel(RECORDS);
        tokio::select! {
            () = to_destinations(&*socket, datagrams) => {}
            () = from_origin(&*socket, recv, head) => {}
            () = from_destinations(&*socket, connection, number, &records) => {}
            () = write_records(&mut send, waiting) => {}
        }
        let _ = send.finish();
    }
}

/// Frees a flow's number.
struct Leave<'a> {
    flows: &'a Flows,
    number: u32,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.flows.inboxes().remove(&self.number);
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
    let _ = socket.send_to(payload, &target(datagram.host, datagram.port)).await;
}

/// Carries answers back.
async fn from_destinations(socket: &dyn EgressUdp, connection: &Connection, flow: u32, records: &mpsc::Sender<Bytes>) {
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

/// Writes long answers to the flow's stream.
async fn write_records(send: &mut SendStream, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(record) = waiting.recv().await {
        if send.write_chunk(record).await.is_err() {
            return;
        }
    }
}

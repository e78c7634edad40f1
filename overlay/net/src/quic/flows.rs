//! UDP flows of an origin: datagrams in QUIC DATAGRAM frames, longer ones as records on the flow's stream.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use zmesh_proto::wire::request::{Host, UdpDatagram, frame_record, read_record};

use super::channel::Opened;
use super::codes;
use crate::api::UdpError;

/// UDP sockets on one connection.
const FLOWS: usize = 16;

/// Datagrams that wait for one reader; the oldest go first.
const WAITING: usize = 256;

/// And their bytes, each with [`OVERHEAD`].
const WAITING_BYTES: usize = 1 << 20;

/// What a message that waits costs beside its bytes.
const OVERHEAD: usize = 128;

/// Long datagrams that wait for the flow's stream; more are dropped.
const RECORDS: usize = 16;

/// And their bytes over all flows of one origin's connection.
const RECORD_BYTES: usize = 1 << 20;

/// The longest UDP payload that IPv4 carries.
pub(crate) const PAYLOAD_MAX: usize = 65_507;

/// The flows of one connection.
pub(crate) struct Flows {
    connection: Connection,
    table: Mutex<Table>,
    /// Room for records.
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Table {
    next: u32,
    queues: HashMap<u32, Arc<FlowQueue>>,
    reader: Option<AbortHandle>,
}

/// Datagrams for the reader of one flow.
#[derive(Default)]
pub(crate) struct FlowQueue {
    state: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    datagrams: VecDeque<(SocketAddr, Bytes)>,
    bytes: usize,
    ended: bool,
}

/// Long datagrams on their way to a flow's stream.
pub(crate) struct Records {
    queue: mpsc::Sender<(Bytes, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
}

/// The other end of [`Records`].
pub(crate) struct RecordQueue(mpsc::Receiver<(Bytes, OwnedSemaphorePermit)>);

/// A queue of records that takes its bytes from `room`.
pub(crate) fn records(room: &Arc<Semaphore>) -> (Records, RecordQueue) {
    let (queue, waiting) = mpsc::channel(RECORDS);
    (Records { queue, room: Arc::clone(room) }, RecordQueue(waiting))
}

impl Records {
    /// Queues a record, or drops it where there is no room.
    ///
    /// # Errors
    /// The flow's stream is gone.
    pub(super) fn push(&self, record: Bytes) -> Result<(), ()> {
        let cost = u32::try_from(record.len() + OVERHEAD).map_err(|_| ())?;
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(cost) else {
            return if self.queue.is_closed() { Err(()) } else { Ok(()) };
        };
        match self.queue.try_send((record, room)) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
        }
    }
}

impl RecordQueue {
    /// Writes the records to the flow's stream until either end is gone.
    pub(crate) async fn write(mut self, send: &mut SendStream) {
        while let Some((record, _room)) = self.0.recv().await {
            if send.write_chunk(record).await.is_err() {
                return;
            }
        }
    }
}

/// A flow number that no other flow has.
pub(crate) struct Place {
    flows: Arc<Flows>,
    number: u32,
    queue: Arc<FlowQueue>,
}

/// An open UDP flow; closed on drop.
pub(crate) struct Flow {
    place: Place,
    records: Records,
    reader: AbortHandle,
}

impl Flows {
    pub(crate) fn new(connection: Connection) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(RECORD_BYTES));
        Arc::new(Self { connection, table: Mutex::default(), room })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new flow; `None` when too many are open.
    pub(crate) fn reserve(self: &Arc<Self>) -> Option<Place> {
        let mut table = self.table();
        if table.queues.len() >= FLOWS {
            return None;
        }
        // Numbers are not used again before 2^32 others.
        table.next = table.next.wrapping_add(1).max(1);
        let number = table.next;
        let queue = Arc::new(FlowQueue::default());
        table.queues.insert(number, Arc::clone(&queue));
        Some(Place { flows: Arc::clone(self), number, queue })
    }

    /// Starts the one task that reads datagrams for all flows, unless it runs.
    fn read(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let mut table = self.table();
        if table.reader.as_ref().is_none_or(AbortHandle::is_finished) {
            let connection = self.connection.clone();
            table.reader = Some(runtime.spawn(distribute(connection, Arc::downgrade(self))).abort_handle());
        }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        if let Some(reader) = self.table().reader.take() {
            reader.abort();
        }
    }
}

/// Hands every datagram of the connection to its flow, until the connection ends.
async fn distribute(connection: Connection, flows: Weak<Flows>) {
    while let Ok(bytes) = connection.read_datagram().await {
        let Some(flows) = flows.upgrade() else { return };
        let Ok(datagram) = UdpDatagram::decode(&bytes) else {
            continue;
        };
        let queue = flows.table().queues.get(&datagram.flow).cloned();
        if let (Some(queue), Some(from)) = (queue, sender(&datagram)) {
            queue.push(from, bytes.slice_ref(datagram.payload));
        }
    }
}

/// The sender of a datagram towards the origin, which is always an address.
fn sender(datagram: &UdpDatagram<'_>) -> Option<SocketAddr> {
    match datagram.host {
        Host::Ip(ip) => Some(SocketAddr::new(ip, datagram.port)),
        Host::Name(_) => None,
    }
}

impl FlowQueue {
    pub(super) fn push(&self, from: SocketAddr, payload: Bytes) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += payload.len() + OVERHEAD;
        state.datagrams.push_back((from, payload));
        while state.datagrams.len() > WAITING || state.bytes > WAITING_BYTES {
            state.pop();
        }
        drop(state);
        self.changed.notify_one();
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
        self.changed.notify_one();
    }

    /// A datagram, `Ok(None)` when none waits, or the end.
    pub(super) fn pop(&self) -> Result<Option<(SocketAddr, Bytes)>, ()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.pop() {
            Some(datagram) => Ok(Some(datagram)),
            None if state.ended => Err(()),
            None => Ok(None),
        }
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<(SocketAddr, Bytes)> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes -= datagram.1.len() + OVERHEAD;
        Some(datagram)
    }
}

impl Place {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Makes a flow of the stream that the exit granted.
    pub(crate) fn start(self, runtime: &tokio::runtime::Handle, opened: Opened) -> Flow {
        self.flows.read(runtime);
        let (records, waiting) = records(&self.flows.room);
        runtime.spawn(write_records(opened.send, waiting));
        let queue = Arc::clone(&self.queue);
        let reader = runtime.spawn(read_records(opened.recv, opened.head, queue)).abort_handle();
        Flow { place: self, records, reader }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.flows.table().queues.remove(&self.number);
    }
}

/// Writes long datagrams to the flow's stream; the stream ends with the flow.
async fn write_records(mut send: SendStream, waiting: RecordQueue) {
    waiting.write(&mut send).await;
    let _ = send.finish();
}

/// Reads long datagrams from the flow's stream, whose end is the flow's end.
async fn read_records(mut recv: RecvStream, head: Bytes, queue: Arc<FlowQueue>) {
    let mut buffer = BytesMut::from(head);
    loop {
        match read_record(&buffer) {
            Ok(Some((datagram, used))) => {
                if let Some(from) = sender(&datagram) {
                    queue.push(from, Bytes::copy_from_slice(datagram.payload));
                }
                let _ = buffer.split_to(used);
                continue;
            }
            Ok(None) => {}
            Err(_) => {
                let _ = recv.stop(codes::PROTOCOL);
                break;
            }
        }
        match recv.read_chunk(1 << 16, true).await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk.bytes),
            Ok(None) | Err(_) => break,
        }
    }
    queue.end();
}

impl Flow {
    /// Sends one datagram, or drops it when the circuit is full.
    pub(crate) fn send(&self, host: Host, port: u16, payload: &[u8]) -> Result<(), UdpError> {
        if payload.len() > PAYLOAD_MAX {
            return Err(UdpError::TooLarge { len: payload.len(), max: PAYLOAD_MAX });
        }
        let flows = &self.place.flows;
        if let Some(reason) = flows.connection.close_reason() {
            return Err(UdpError::Lost(reason.to_string()));
        }
        let datagram = UdpDatagram { flow: self.place.number, host, port, payload };
        send_datagram(&flows.connection, &self.records, &datagram)
            .map_err(|()| UdpError::Lost("the exit closed the socket".into()))
    }

    /// Waits for a datagram.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn recv(&self) -> Result<(SocketAddr, Bytes), UdpError> {
        let queue = &self.place.queue;
        loop {
            let changed = queue.changed.notified();
            match queue.pop() {
                Ok(Some(datagram)) => return Ok(datagram),
                Ok(None) => changed.await,
                Err(()) => {
                    // The next reader, too, must see the end.
                    queue.changed.notify_one();
                    let reason = self.place.flows.connection.close_reason();
                    let reason = reason.map_or_else(|| "the exit closed the socket".into(), |r| r.to_string());
                    return Err(UdpError::Lost(reason));
                }
            }
        }
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // The writer goes on until `records` is dropped, right after this, and then ends the stream.
        self.reader.abort();
    }
}

/// Sends a datagram in one frame, or as a record where it does not fit; a full queue drops it. Used by both ends.
///
/// # Errors
/// The flow's stream is gone.
pub(crate) fn send_datagram(connection: &Connection, records: &Records, datagram: &UdpDatagram<'_>) -> Result<(), ()> {
    let bytes = datagram.encode();
    if connection.max_datagram_size().is_some_and(|max| bytes.len() <= max) {
        // An error here is a connection that has just ended; its end shows elsewhere.
        let _ = connection.send_datagram(bytes.into());
        return Ok(());
    }
    let mut record = Vec::with_capacity(bytes.len() + 2);
    if frame_record(datagram, &mut record).is_err() {
        return Ok(());
    }
    records.push(record.into())
}

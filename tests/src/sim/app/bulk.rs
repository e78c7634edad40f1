//! A saturating download: real QUIC over a circuit, from the exit to the origin.

use std::collections::BTreeMap;
use std::time::Instant;

use quinn_proto::{Connection, Dir, Event as QuicEvent, StreamEvent, StreamId};
use zmesh_proto::node::{CircuitId, CloseReason, Event, LocalId, Node};
use zmesh_sphinx::RelayId;

use super::super::node::App;
use super::Circuit;
use super::quic::{Packet, Quic};

/// Packets that one connection may send in one turn, as quinn's driver limits it.
const BURST: usize = 20;

/// Bytes written to a stream at once.
const BLOCK: [u8; 16 * 1024] = [0xd5; 16 * 1024];

/// The exit's side: sends without end on every stream that an origin opens.
pub struct BulkServer {
    quic: Quic,
    timeout: Option<Instant>,
    locals: BTreeMap<u64, LocalId>,
    streams: Vec<StreamId>,
}

impl BulkServer {
    /// A server whose endpoint takes its dice from `seed`.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> BulkServer {
        BulkServer { quic: Quic::server(seed), timeout: None, locals: BTreeMap::new(), streams: Vec::new() }
    }

    /// Packets that QUIC took for lost, and times that it slowed down because of it.
    pub fn losses(&mut self) -> (u64, u64) {
        let paths = self.quic.connections().map(|connection| connection.stats().path);
        paths.fold((0, 0), |(lost, slowed), path| (lost + path.lost_packets, slowed + path.congestion_events))
    }

    fn drive(&mut self, now: Instant, node: &mut Node) {
        let streams = &mut self.streams;
        let packets = self.quic.drive(now, BURST, |connection, event| {
            if matches!(event, Some(QuicEvent::Stream(StreamEvent::Opened { dir: Dir::Bi }))) {
                while let Some(id) = connection.streams().accept(Dir::Bi) {
                    if !streams.contains(&id) {
                        streams.push(id);
                    }
                }
            }
            for id in streams.iter() {
                // Refused when the window is full or the stream belongs to another connection.
                while connection.send_stream(*id).write(&BLOCK).is_ok_and(|n| n > 0) {}
            }
        });
        self.deliver(now, node, packets);
        self.timeout = self.quic.poll_timeout(now);
    }

    fn deliver(&mut self, now: Instant, node: &mut Node, packets: Vec<Packet>) {
        for (circuit, packet) in packets {
            if let Some(local) = self.locals.get(&circuit) {
                // The exit never waits for one circuit: what does not fit is dropped, and QUIC sees a loss.
                let _ = node.reply(now, *local, &packet);
            }
        }
    }
}

impl App for BulkServer {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        self.drive(now, node);
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::LocalMessage { local, message } => {
                let number = local.as_u64();
                self.locals.insert(number, local);
                node.keep_local_order(local);
                let answer = self.quic.handle(now, number, &message);
                self.deliver(now, node, answer.into_iter().collect());
                self.drive(now, node);
            }
            Event::LocalClosed { local } => {
                self.locals.remove(&local.as_u64());
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }
}

/// The origin's side: opens one stream and reads for ever.
pub struct BulkClient {
    quic: Quic,
    timeout: Option<Instant>,
    stream: Option<StreamId>,
    /// The circuit.
    pub circuit: Circuit,
    /// Bytes read so far.
    pub bytes: u64,
    /// When and why the circuit ended.
    pub closed: Option<(Instant, CloseReason)>,
}

impl BulkClient {
    /// A client that downloads through `path`.
    #[must_use]
    pub fn new(path: Vec<RelayId>, seed: [u8; 32]) -> BulkClient {
        BulkClient {
            quic: Quic::client(seed),
            timeout: None,
            stream: None,
            circuit: Circuit::new(path),
            bytes: 0,
            closed: None,
        }
    }

    /// Packets that QUIC took for lost.
    pub fn lost_packets(&mut self) -> u64 {
        self.quic.connections().map(|connection| connection.stats().path.lost_packets).sum()
    }

    fn drive(&mut self, now: Instant, node: &mut Node) {
        let (stream, bytes) = (&mut self.stream, &mut self.bytes);
        let packets = self.quic.drive(now, BURST, |connection, event| {
            if matches!(event, Some(QuicEvent::Connected)) && stream.is_none() {
                *stream = connection.streams().open(Dir::Bi);
                if let Some(id) = *stream {
                    let _ = connection.send_stream(id).write(b"send");
                }
            }
            if let Some(id) = *stream {
                *bytes += read_all(connection, id);
            }
        });
        if let Some(circuit) = self.circuit.ready() {
            for (_, packet) in packets {
                let _ = node.send(now, circuit, &packet);
            }
        }
        self.timeout = self.quic.poll_timeout(now);
    }
}

fn read_all(connection: &mut Connection, id: StreamId) -> u64 {
    let mut read = 0;
    let mut stream = connection.recv_stream(id);
    if let Ok(mut chunks) = stream.read(true) {
        while let Ok(Some(chunk)) = chunks.next(usize::MAX) {
            read += chunk.bytes.len() as u64;
        }
        // Whether window updates are due; the next drive sends them.
        let _ = chunks.finalize();
    }
    read
}

impl App for BulkClient {
    fn turn(&mut self, now: Instant, node: &mut Node) {
        self.circuit.begin(now, node);
        self.drive(now, node);
    }

    fn event(&mut self, now: Instant, node: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, took } if self.circuit.became_ready(circuit, took) => {
                node.keep_order(circuit);
                self.quic.connect(now, CircuitId::as_u64(circuit));
                self.drive(now, node);
            }
            Event::CircuitClosed { reason, .. } => {
                self.circuit.ended();
                self.closed = Some((now, reason));
            }
            Event::Message { circuit, message } => {
                let _ = self.quic.handle(now, circuit.as_u64(), &message);
                self.drive(now, node);
            }
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.timeout
    }
}

//! One request, and the bytes that follow it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use zmesh_proto::wire::request::{Failure, Host, HostName, REQUEST_MAX, Request, Response};

use super::ExitServer;
use super::budget::Budget;
use super::udp::{FLOW_COST, Flows};
use crate::chunks::Guest;
use crate::directory::Reader;
use crate::egress::{CircuitHandle, Egress, EgressError, EgressStream, Target, TargetHost};
use crate::quic::codes;
use crate::service::Visitor;

/// How long an origin may take to say what it wants.
const REQUEST: Duration = Duration::from_secs(30);

/// A net under an egress without time limits of its own.
const EGRESS: Duration = Duration::from_secs(60);

/// How long an origin may take to hear that there is no room for its stream.
const REFUSAL: Duration = Duration::from_secs(5);

/// Room for reads from a destination, in bytes.
const BUFFER: usize = 64 * 1024;

/// The same for a stream that has not filled it yet, and while the exit has no more.
const BUFFER_SMALL: usize = 16 * 1024;

/// A read shorter than this is copied; a longer one keeps its part of the buffer until the origin has it. So little data
/// never holds much memory.
const COPIED: usize = 4096;

/// A stream of a session; dropped when it ends.
pub(super) struct Place {
    pub(super) server: Arc<ExitServer>,
    pub(super) session: u64,
}

impl Place {
    /// Tells the origin that there is no room.
    pub(super) async fn refuse(self, send: SendStream, _recv: RecvStream) {
        let _ = timeout(REFUSAL, refuse(send, Failure::QuotaExceeded)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.server.sessions().stream_ended(self.session);
    }
}

/// What a request needs to be served.
pub(super) struct Asked {
    pub(super) circuit: CircuitHandle,
    pub(super) connection: Connection,
    pub(super) flows: Arc<Flows>,
    pub(super) guest: Arc<Guest>,
    pub(super) visitor: Arc<Visitor>,
    pub(super) reader: Arc<Reader>,
    pub(super) place: Place,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Asked {
    /// Reads the request of a new stream and serves it to its end.
    pub(super) async fn serve(self, mut send: SendStream, mut recv: RecvStream) {
        let (request, head) = match timeout(REQUEST, request(&mut recv)).await {
            Ok(Some(request)) => request,
            Ok(None) => return refuse(send, Failure::Malformed).await,
            Err(_) => return drop(send.reset(codes::PROTOCOL)),
        };
        let request = match request {
            Request::Symbols(run) => return self.symbols(run, send).await,
            Request::Keep(chunk) => return self.keep(chunk, send, recv).await,
            Request::FindService(blinded) => return self.find_service(blinded, send).await,
            Request::PlaceService => return self.place_service(head, send, recv).await,
            Request::Establish(secret) => return self.establish(secret, send, recv).await,
            Request::Introduce(name) => return self.introduce(name, head, send, recv).await,
            Request::Document(ask) => return self.document(ask, send).await,
            Request::Load(ticket) => return self.load(&ticket, send).await,
            request => request,
        };
        let Some(egress) = &self.place.server.egress else {
            return refuse(send, Failure::Unsupported).await;
        };
        match request {
            Request::Connect { host, port } => self.connect(egress, target(host, port), send, recv, head).await,
            Request::Resolve { host } => {
                let resolved = limited(egress.resolve(self.circuit, host.as_str())).await;
                finish(send, resolved.map(Response::Addresses)).await;
            }
            Request::ResolvePtr { ip } => {
                let resolved = limited(egress.resolve_ptr(self.circuit, ip)).await;
                let names = |names: Vec<String>| names.iter().filter_map(|name| HostName::parse(name).ok()).collect();
                finish(send, resolved.map(|resolved| Response::Names(names(resolved)))).await;
            }
            Request::BindUdp { flow } => self.bind_udp(egress, flow, send, recv, head).await,
            _ => refuse(send, Failure::Unsupported).await,
        }
    }

    async fn bind_udp(&self, egress: &Arc<dyn Egress>, flow: u32, send: SendStream, recv: RecvStream, head: Bytes) {
        let server = &self.place.server;
        let (Some(number), Some(_room)) = (self.flows.reserve(flow), server.budget.bytes(FLOW_COST)) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        match limited(egress.bind_udp(self.circuit)).await {
            Ok(socket) => number.serve(&self.connection, socket.into(), send, recv, head).await,
            Err(error) => refuse(send, failure(error)).await,
        }
    }

    async fn connect(
        &self,
        egress: &Arc<dyn Egress>,
        target: Target,
        mut send: SendStream,
        recv: RecvStream,
        head: Bytes,
    ) {
        let mut recv = recv;
        let budget = &self.place.server.budget;
        let Some(room) = budget.bytes(BUFFER_SMALL) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        let connecting = limited(egress.connect(self.circuit, target));
        let connected = tokio::select! {
            connected = connecting => connected,
            // The origin gave up: so does the exit.
            _ = send.stopped() => return,
        };
        let outside = match connected {
            Ok(outside) => outside,
            Err(error) => return refuse(send, failure(error)).await,
        };
        if send.write_all(&Response::Connected.encode()).await.is_err() {
            return;
        }
        let (from_outside, to_outside) = tokio::io::split(outside);
        // Either way breaks: both end, and dropping `outside` closes the destination's connection.
        let down = downstream(from_outside, &mut send, budget, room);
        let pumped = tokio::try_join!(upstream(head, &mut recv, to_outside), down).is_ok();
        if !pumped {
            let _ = send.reset(codes::EGRESS);
            let _ = recv.stop(codes::EGRESS);
        }
    }
}

/// The other end, or this one, broke a stream off.
struct Broken;

/// From the origin to the destination. The end of one is the end of the other; the way back stays open.
async fn upstream(
    head: Bytes,
    recv: &mut RecvStream,
    mut outside: WriteHalf<Box<dyn EgressStream>>,
) -> Result<(), Broken> {
    outside.write_all(&head).await.map_err(|_| Broken)?;
    while let Some(chunk) = recv.read_chunk(BUFFER, true).await.map_err(|_| Broken)? {
        outside.write_all(&chunk.bytes).await.map_err(|_| Broken)?;
    }
    outside.shutdown().await.map_err(|_| Broken)
}

/// From the destination to the origin. Reads no more than QUIC takes, so back-pressure reaches the destination.
/// The buffer grows when a read fills it and the exit has room.
async fn downstream(
    mut outside: ReadHalf<Box<dyn EgressStream>>,
    send: &mut SendStream,
    budget: &Budget,
    mut room: OwnedSemaphorePermit,
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    let stopped = send.stopped();
    tokio::pin!(stopped);
    loop {
        if buffer.capacity() < COPIED {
            buffer.reserve(room.num_permits());
        }
        let read = tokio::select! {
            read = outside.read_buf(&mut buffer) => read.map_err(|_| Broken)?,
            // The origin has gone, also while the destination says nothing.
            _ = &mut stopped => return Err(Broken),
        };
        if buffer.len() == buffer.capacity()
            && room.num_permits() < BUFFER
            && let Some(more) = budget.bytes(BUFFER - BUFFER_SMALL)
        {
            room.merge(more);
        }
        match read {
            0 => return send.finish().map_err(|_| Broken),
            1..COPIED => {
                send.write_all(&buffer).await.map_err(|_| Broken)?;
                buffer.clear();
            }
            COPIED.. => send.write_chunk(buffer.split().freeze()).await.map_err(|_| Broken)?,
        }
    }
}

/// Reads a request and what came right behind it; `None` when it is none.
async fn request(recv: &mut RecvStream) -> Option<(Request, Bytes)> {
    let mut bytes = Vec::new();
    loop {
        let chunk = recv.read_chunk(BUFFER, true).await.ok()??;
        bytes.extend_from_slice(&chunk.bytes);
        match Request::decode_prefix(&bytes) {
            Ok(Some((request, used))) => return Some((request, Bytes::from(bytes).slice(used..))),
            Ok(None) if bytes.len() < REQUEST_MAX => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

async fn limited<T>(asking: impl Future<Output = Result<T, EgressError>>) -> Result<T, EgressError> {
    timeout(EGRESS, asking).await.unwrap_or(Err(EgressError::Timeout))
}

/// Answers and ends the stream.
async fn finish(mut send: SendStream, outcome: Result<Response, EgressError>) {
    let response = outcome.unwrap_or_else(|error| Response::Failed(failure(error)));
    if send.write_all(&response.encode()).await.is_ok() {
        let _ = send.finish();
    }
}

pub(super) async fn answer(mut send: SendStream, response: Response) {
    if send.write_all(&response.encode()).await.is_ok() {
        let _ = send.finish();
    }
}

pub(super) async fn refuse(send: SendStream, failure: Failure) {
    finish(send, Ok(Response::Failed(failure))).await;
}

/// A target as the egress takes it.
pub(super) fn target(host: Host, port: u16) -> Target {
    let host = match host {
        Host::Name(name) => TargetHost::Name(name.as_str().to_owned()),
        Host::Ip(ip) => TargetHost::Ip(ip),
    };
    Target { host, port }
}

fn failure(error: EgressError) -> Failure {
    match error {
        EgressError::Refused => Failure::Refused,
        EgressError::Unreachable => Failure::Unreachable,
        EgressError::ConnectionRefused => Failure::ConnectionRefused,
        EgressError::Timeout => Failure::Timeout,
        EgressError::NameNotFound => Failure::NameNotFound,
        EgressError::QuotaExceeded => Failure::QuotaExceeded,
        EgressError::Unsupported => Failure::Unsupported,
    }
}

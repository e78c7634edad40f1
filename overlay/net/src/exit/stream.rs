//! One request, and the bytes that follow it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::timeout;
use zmesh_proto::service::Source;
use zmesh_proto::wire::request::{Failure, Host, HostName, REQUEST_MAX, Request, Response};

use super::ExitServer;
use super::budget::{BUFFER, BUFFER_SMALL, Budget};
use super::pool::Taken;
use super::reply::{Reply, failure, finish, refuse};
use super::udp::Flows;
use crate::chunks::Guest;
use crate::directory::Reader;
use crate::egress::{CircuitHandle, Egress, EgressError, EgressStream, Target, TargetHost};
use crate::quic::codes;
use crate::service::Visitor;

/// How long an origin may take to say what it wants: it opens a stream by saying so.
const REQUEST: Duration = Duration::from_secs(5);

/// A net under an egress without time limits of its own.
const EGRESS: Duration = Duration::from_secs(60);

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
        refuse(Reply::new(send), Failure::QuotaExceeded).await;
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
    /// Where the stream came from, as far as a relay can tell.
    pub(super) source: Source,
}

impl Asked {
    /// Reads the request of a new stream and serves it to its end. `asking` is the stream's place until it is known
    /// what it wants.
    pub(super) async fn serve(self, asking: Taken, send: SendStream, mut recv: RecvStream) {
        let mut send = Reply::new(send);
        let read = tokio::select! {
            read = timeout(REQUEST, request(&mut recv)) => read,
            () = asking.lost() => return refuse(send, Failure::QuotaExceeded).await,
        };
        let (request, head) = match read {
            Ok(Some(request)) => request,
            Ok(None) => return refuse(send, Failure::Malformed).await,
            Err(_) => return drop(send.reset(codes::PROTOCOL)),
        };
        match request {
            Request::Connect { .. }
            | Request::Resolve { .. }
            | Request::ResolvePtr { .. }
            | Request::BindUdp { .. } => {
                self.outside(request, head, asking, send, recv).await;
            }
            // The host has bounds of its own for what lasts.
            Request::Establish(secret) => self.establish(secret, asking, send, recv).await,
            request => tokio::select! {
                () = self.inside(request, head, send, recv) => {}
                () = asking.lost() => {}
            },
        }
    }

    /// What this relay has itself.
    async fn inside(&self, request: Request, head: Bytes, send: Reply, recv: RecvStream) {
        match request {
            Request::Symbols(run) => self.symbols(run, send).await,
            Request::Keep(chunk) => self.keep(chunk, send, recv).await,
            Request::FindService(blinded) => self.find_service(blinded, send).await,
            Request::PlaceService => self.place_service(head, send, recv).await,
            Request::Introduce(name) => self.introduce(name, head, send, recv).await,
            Request::Document(ask) => self.document(ask, send).await,
            Request::Load(ticket) => self.load(&ticket, send).await,
            _ => refuse(send, Failure::Unsupported).await,
        }
    }

    /// What leaves by the egress, which has places of its own.
    async fn outside(&self, request: Request, head: Bytes, asking: Taken, send: Reply, recv: RecvStream) {
        let server = &self.place.server;
        let Some(egress) = &server.egress else {
            return refuse(send, Failure::Unsupported).await;
        };
        let Some(place) = server.budget.egress.take(self.source) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        drop(asking);
        tokio::select! {
            () = self.by_egress(egress, request, head, send, recv) => {}
            () = place.lost() => {}
        }
    }

    async fn by_egress(&self, egress: &Arc<dyn Egress>, request: Request, head: Bytes, send: Reply, recv: RecvStream) {
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

    async fn bind_udp(&self, egress: &Arc<dyn Egress>, flow: u32, send: Reply, recv: RecvStream, head: Bytes) {
        let flows = &self.place.server.budget.flows;
        let (Some(number), Some(place)) = (self.flows.reserve(flow), flows.take(self.source)) else {
            return refuse(send, Failure::QuotaExceeded).await;
        };
        let served = async {
            match limited(egress.bind_udp(self.circuit)).await {
                Ok(socket) => number.serve(&self.connection, socket.into(), send, recv, head).await,
                Err(error) => refuse(send, failure(error)).await,
            }
        };
        tokio::select! {
            () = served => {}
            () = place.lost() => {}
        }
    }

    async fn connect(
        &self,
        egress: &Arc<dyn Egress>,
        target: Target,
        mut send: Reply,
        mut recv: RecvStream,
        head: Bytes,
    ) {
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
        let down = downstream(from_outside, &mut send, &self.place.server.budget);
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
    send: &mut Reply,
    budget: &Budget,
) -> Result<(), Broken> {
    let mut large = None;
    let mut buffer = BytesMut::new();
    let stopped = send.stopped();
    tokio::pin!(stopped);
    loop {
        if buffer.capacity() < COPIED {
            buffer.reserve(if large.is_some() { BUFFER } else { BUFFER_SMALL });
        }
        let read = tokio::select! {
            read = outside.read_buf(&mut buffer) => read.map_err(|_| Broken)?,
            // The origin has gone, also while the destination says nothing.
            _ = &mut stopped => return Err(Broken),
        };
        if buffer.len() == buffer.capacity() && large.is_none() {
            large = budget.large_buffer();
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

/// A target as the egress takes it.
pub(super) fn target(host: Host, port: u16) -> Target {
    let host = match host {
        Host::Name(name) => TargetHost::Name(name.as_str().to_owned()),
        Host::Ip(ip) => TargetHost::Ip(ip),
    };
    Target { host, port }
}

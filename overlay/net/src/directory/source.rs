//! A circuit to a relay that gives documents, and what is asked over it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use zmesh_proto::directory::Relay;
use zmesh_proto::wire::request::{DOCUMENT_MAX, DocumentAsk, Failure, Head, Response};

use crate::RelayId;
use crate::api::{CircuitError, ConnectError};
use crate::origin::{Carrier, Origin, Wanted};
use crate::quic::{Channel, CircuitSocket, Opened};
use crate::shard::{BuildStop, CircuitGuard, Shard, Sink};

/// How long a circuit may take, with its repetitions and QUIC on top.
const OPEN: Duration = Duration::from_secs(25);
/// How long the circuit of one hop to an entry relay may take.
const OPEN_DIRECT: Duration = Duration::from_secs(12);
/// How long nothing may come while a document does.
const STALL: Duration = Duration::from_secs(15);
/// How long a document may take in all: so long, …
const SHORTEST: Duration = Duration::from_secs(30);
/// … and what its length takes at this rate, in bytes per second. A slower relay is left for another.
const SLOWEST: u32 = 100_000;
/// Bytes that are taken from QUIC at once.
const CHUNK: usize = 64 << 10;

/// Why a relay gave no document.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There was no circuit to it.
    #[error("no circuit to it: {0}")]
    Circuit(#[from] CircuitError),
    /// It does not say by which key its answers are authenticated.
    #[error("its descriptor names no key for documents")]
    NoKey,
    /// It refused.
    #[error("it refused: {0}")]
    Refused(Failure),
    /// The circuit or the stream ended early.
    #[error("the answer was lost: {0}")]
    Lost(String),
    /// It stopped in the middle.
    #[error("it stopped after {got} of {len} bytes")]
    Truncated {
        /// What came, in bytes.
        got: usize,
        /// What it had announced.
        len: usize,
    },
    /// It announced more than such a document can have.
    #[error("it announced {len} bytes, over the limit of {max}")]
    TooLong {
        /// What it announced, in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// It answered another question.
    #[error("it broke the protocol")]
    Protocol,
}

/// What keeps a circuit open, until it is dropped.
#[expect(dead_code, reason = "held for what dropping it does")]
enum Holder {
    Carrier(Carrier),
    Guard(CircuitGuard),
}

/// A circuit with QUIC over it, for documents and nothing else.
pub(crate) struct Source {
    _holder: Holder,
    channel: Arc<Channel>,
    relay: RelayId,
    path: Vec<RelayId>,
}

impl Source {
    /// A circuit of one hop, to a relay that knows this node's address anyway. Its descriptor has to be in the shard's network.
    pub(crate) async fn direct(shard: &Arc<Shard>, relay: &Relay) -> Result<Self, SourceError> {
        let key = relay.exit_key().ok_or(SourceError::NoKey)?;
        let id = relay.id();
        let opening = async {
            let socket = CircuitSocket::origin(Arc::clone(shard), id);
            let built = shard.build(vec![id], Sink::Quic(Arc::clone(&socket))).await.map_err(stopped)?;
            let channel = tokio::select! {
                opened = Channel::open(&shard.runtime, socket, id, &key) => opened?,
                reason = built.circuit.state.closed() => return Err(CircuitError::Closed(reason)),
            };
            Ok::<_, CircuitError>(Self { _holder: Holder::Guard(built.circuit), channel, relay: id, path: vec![id] })
        };
        Ok(timeout(OPEN_DIRECT, opening).await.unwrap_or(Err(CircuitError::Timeout))?)
    }

    /// A circuit of its own to any relay that gives documents, but none of `without`, and by other relays than `apart` where the
    /// network has others.
    pub(crate) async fn through(
        origin: &Arc<Origin>,
        hops: usize,
        without: &[RelayId],
        apart: &[RelayId],
    ) -> Result<Self, SourceError> {
        let opening = async {
            let mut socket = None;
            let wanted = Wanted::directory(hops, without);
            let carrier = origin
                .build(&wanted, apart, |path| {
                    let last = path.last().copied().unwrap_or(RelayId([0; 16]));
                    let fresh = CircuitSocket::origin(Arc::clone(&origin.shard), last);
                    socket = Some((last, Arc::clone(&fresh)));
                    Sink::Quic(fresh)
                })
                .await?;
            let (relay, socket) = socket.ok_or(CircuitError::BadPath("the path is empty"))?;
            let network = origin.network();
            let key = network.relay(&relay).and_then(|relay| relay.exit_key()).ok_or(SourceError::NoKey)?;
            let channel = tokio::select! {
                opened = Channel::open(&origin.shard.runtime, socket, relay, &key) => opened?,
                reason = carrier.circuit.state.closed() => return Err(CircuitError::Closed(reason).into()),
            };
            let path = carrier.path.iter().map(|hop| hop.id).collect();
            Ok::<_, SourceError>(Self { _holder: Holder::Carrier(carrier), channel, relay, path })
        };
        timeout(OPEN, opening).await.unwrap_or(Err(SourceError::Circuit(CircuitError::Timeout)))
    }

    /// Who gives the documents.
    pub(crate) fn relay(&self) -> RelayId {
        self.relay
    }

    /// The relays of the circuit, guard first.
    pub(crate) fn path(&self) -> &[RelayId] {
        &self.path
    }

    /// What the relay takes for the newest document.
    pub(crate) async fn head(&self) -> Result<Head, SourceError> {
        match self.channel.document(DocumentAsk::Head).await.map_err(|error| lost(&error))? {
            (Response::Head(head), _) => Ok(head),
            (Response::Failed(failure), _) => Err(SourceError::Refused(failure)),
            _ => Err(SourceError::Protocol),
        }
    }

    /// A document's bytes, at most `max`; `progress` is told how many have come and how many there are.
    pub(crate) async fn fetch(
        &self,
        ask: DocumentAsk,
        max: usize,
        progress: impl FnMut(usize, usize),
    ) -> Result<Vec<u8>, SourceError> {
        let max = max.min(DOCUMENT_MAX);
        match self.channel.document(ask).await.map_err(|error| lost(&error))? {
            (Response::Document { len }, opened) => {
                let len = len as usize;
                if len > max {
                    return Err(SourceError::TooLong { len, max });
                }
                timeout(patience(len), read(opened, len, progress))
                    .await
                    .unwrap_or_else(|_| Err(SourceError::Lost("it took too long".into())))
            }
            (Response::Failed(failure), _) => Err(SourceError::Refused(failure)),
            _ => Err(SourceError::Protocol),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.channel.close("done");
    }
}

/// How long a document of this length may take.
fn patience(len: usize) -> Duration {
    SHORTEST + Duration::from_secs_f64(len as f64 / f64::from(SLOWEST))
}

/// Reads exactly what was announced. Memory grows with what has come, not with what was announced.
async fn read(mut opened: Opened, len: usize, mut progress: impl FnMut(usize, usize)) -> Result<Vec<u8>, SourceError> {
    let mut bytes = opened.head.to_vec();
    loop {
        if bytes.len() > len {
            return Err(SourceError::Protocol);
        }
        progress(bytes.len(), len);
        let got = bytes.len();
        let truncated = SourceError::Truncated { got, len };
        match timeout(STALL, opened.recv.read_chunk(CHUNK, true)).await {
            Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk.bytes),
            Ok(Ok(None)) if got == len => return Ok(bytes),
            Ok(Ok(None) | Err(quinn::ReadError::Reset(_))) | Err(_) => return Err(truncated),
            Ok(Err(error)) => return Err(SourceError::Lost(error.to_string())),
        }
    }
}

fn stopped(stop: BuildStop) -> CircuitError {
    match stop {
        BuildStop::ShutDown => CircuitError::ShutDown,
        BuildStop::Refused(reason) => CircuitError::Build { attempts: 1, reason },
        BuildStop::Failed(failure) => CircuitError::Build { attempts: 1, reason: failure.to_string() },
    }
}

fn lost(error: &ConnectError) -> SourceError {
    SourceError::Lost(error.to_string())
}

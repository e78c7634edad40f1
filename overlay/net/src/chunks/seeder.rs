//! A circuit to a relay that keeps chunks, and what is asked over it.

use std::sync::Arc;
use std::time::Duration;

use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use zmesh_fec::chunk::SYMBOL_LEN;
use zmesh_proto::seeding::fetch::Refusal;
use zmesh_proto::seeding::{ChunkRef, SymbolRun};
use zmesh_proto::wire::request::{Failure, Request, Response};

use crate::RelayId;
use crate::api::CircuitError;
use crate::origin::{Carrier, Origin, Wanted};
use crate::quic::{Channel, CircuitSocket, answer};
use crate::shard::Sink;

/// How long a relay may take to take a chunk.
const KEEP: Duration = Duration::from_secs(30);

/// How long a circuit to a seeder may take, with its repetitions and QUIC on top.
const OPEN: Duration = Duration::from_secs(20);

/// How circuits to seeders go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    /// Relays of one's own choice before the seeder.
    pub(super) hops: usize,
    /// The relay that this is, if it is one: it never stands on a circuit of its own.
    pub(super) me: Option<RelayId>,
}

/// A circuit with QUIC over it, for one fetch or one publication and nothing else.
pub(super) struct SeederCircuit {
    carrier: Carrier,
    channel: Arc<Channel>,
}

/// What a relay said to a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    /// It has taken it.
    Stored,
    /// It has it already.
    Held,
}

/// Why a relay did not take a chunk.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("the relay is busy")]
    Busy,
    #[error("{0}")]
    Refused(Failure),
    #[error("the relay did not answer")]
    Lost,
    #[error("{0}")]
    NoCircuit(CircuitError),
}

impl SeederCircuit {
    /// Builds a circuit, by a guard that carries as few of `others` as any.
    pub(super) async fn open(
        origin: &Arc<Origin>,
        relay: RelayId,
        way: Way,
        others: &[RelayId],
    ) -> Result<Arc<Self>, CircuitError> {
        timeout(OPEN, Self::connect(origin, relay, way, others)).await.unwrap_or(Err(CircuitError::Timeout))
    }

    async fn connect(
        origin: &Arc<Origin>,
        relay: RelayId,
        way: Way,
        others: &[RelayId],
    ) -> Result<Arc<Self>, CircuitError> {
        let network = origin.network();
        let key = network.relay(&relay).filter(|relay| relay.is_cache()).and_then(|relay| relay.exit_key());
        let key = key.ok_or(CircuitError::BadPath("the relay keeps no chunks"))?;
        // A small test network may have no other relay to stand before this one.
        let ends = 1 + usize::from(way.me.is_some());
        let hops = way.hops.min(network.relays().len().saturating_sub(ends));
        let socket = CircuitSocket::origin(Arc::clone(&origin.shard), relay);
        let avoid = busy_guards(&origin.guards(), others);
        let carrier =
            origin.build(&Wanted::cache(relay, hops, way.me), &avoid, |_| Sink::Quic(Arc::clone(&socket))).await?;
        let channel = tokio::select! {
            opened = Channel::open(&origin.shard.runtime, socket, relay, &key) => opened?,
            reason = carrier.circuit.state.closed() => return Err(CircuitError::Closed(reason)),
        };
        Ok(Arc::new(Self { carrier, channel }))
    }

    #[cfg(all(test, feature = "testnet"))]
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The circuit's first relay.
    pub(super) fn guard(&self) -> Option<RelayId> {
        self.carrier.path.first().map(|hop| hop.id)
    }

    /// The end of the circuit, to wait for without holding the circuit.
    pub(super) fn end(&self) -> impl Future<Output = ()> + Send + 'static {
        let state = Arc::clone(&self.carrier.circuit.state);
        async move { drop(state.closed().await) }
    }

    /// Waits until the circuit can carry nothing any more.
    async fn ended(&self) {
        tokio::select! {
            _ = self.carrier.circuit.state.closed() => {}
            _ = self.channel.connection.closed() => {}
        }
    }

    /// Asks for symbols.
    pub(super) async fn symbols(&self, run: SymbolRun) -> Result<Vec<u8>, Refusal> {
        tokio::select! {
            symbols = self.ask_symbols(run) => symbols,
            () = self.ended() => Err(Refusal::Lost),
        }
    }

    async fn ask_symbols(&self, run: SymbolRun) -> Result<Vec<u8>, Refusal> {
        let (mut send, mut recv) = self.ask(&Request::Symbols(run)).await.ok_or(Refusal::Lost)?;
        let _ = send.finish();
        let (response, head) = answer(&mut recv).await.map_err(|_| Refusal::Lost)?;
        match response {
            Response::Symbols { count } if count == run.count => {}
            Response::Failed(Failure::Absent | Failure::Elsewhere) => return Err(Refusal::Absent),
            Response::Failed(Failure::QuotaExceeded | Failure::Full) => return Err(Refusal::Busy),
            _ => return Err(Refusal::Lost),
        }
        let len = usize::from(run.count) * SYMBOL_LEN;
        let mut symbols = Vec::with_capacity(len);
        symbols.extend_from_slice(&head);
        while symbols.len() < len {
            match recv.read_chunk(len - symbols.len(), true).await {
                Ok(Some(chunk)) => symbols.extend_from_slice(&chunk.bytes),
                _ => return Err(Refusal::Lost),
            }
        }
        if symbols.len() > len { Err(Refusal::Lost) } else { Ok(symbols) }
    }

    /// Asks the relay to keep a chunk.
    pub(super) async fn keep(&self, chunk: ChunkRef, bytes: &[u8]) -> Result<Kept, KeepError> {
        tokio::select! {
            kept = timeout(KEEP, self.ask_keep(chunk, bytes)) => kept.unwrap_or(Err(KeepError::Lost)),
            () = self.ended() => Err(KeepError::Lost),
        }
    }

    async fn ask_keep(&self, chunk: ChunkRef, bytes: &[u8]) -> Result<Kept, KeepError> {
        let (mut send, mut recv) = self.ask(&Request::Keep(chunk)).await.ok_or(KeepError::Lost)?;
        match kept(&mut recv).await? {
            Response::Held => return Ok(Kept::Held),
            Response::Send => {}
            _ => return Err(KeepError::Lost),
        }
        // A relay that changes its mind stops the stream and says why.
        let _ = send.write_all(bytes).await;
        let _ = send.finish();
        match kept(&mut recv).await? {
            Response::Stored => Ok(Kept::Stored),
            Response::Held => Ok(Kept::Held),
            _ => Err(KeepError::Lost),
        }
    }

    async fn ask(&self, request: &Request) -> Option<(SendStream, RecvStream)> {
        let (mut send, recv) = self.channel.connection.open_bi().await.ok()?;
        send.write_all(&request.encode()).await.ok()?;
        Some((send, recv))
    }
}

async fn kept(recv: &mut RecvStream) -> Result<Response, KeepError> {
    match answer(recv).await {
        Ok((Response::Failed(Failure::QuotaExceeded), _)) => Err(KeepError::Busy),
        Ok((Response::Failed(failure), _)) => Err(KeepError::Refused(failure)),
        Ok((response, _)) => Ok(response),
        Err(_) => Err(KeepError::Lost),
    }
}

impl Drop for SeederCircuit {
    fn drop(&mut self) {
        self.channel.close("done");
    }
}

/// The guards that carry more of `others` than the one that carries fewest.
fn busy_guards(guards: &[RelayId], others: &[RelayId]) -> Vec<RelayId> {
    let load = |guard: &RelayId| others.iter().filter(|other| *other == guard).count();
    let least = guards.iter().map(load).min().unwrap_or(0);
    guards.iter().filter(|guard| load(guard) > least).copied().collect()
}

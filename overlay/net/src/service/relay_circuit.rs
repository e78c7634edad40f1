//! A circuit to a relay that does something for services, and what is asked over it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;
use zmesh_proto::service::descriptor::DESCRIPTOR_LEN;
use zmesh_proto::service::introduce::{INTRODUCE_LEN, IntroName, IntroSecret};
use zmesh_proto::service::key::BlindedKey;
use zmesh_proto::service::place_work::PLACE_WORK_LEN;
use zmesh_proto::service::placement::is_suitable;
use zmesh_proto::wire::request::{Failure, Request, Response};

use super::SharedSecond;
use super::host::Sealed;
use crate::RelayId;
use crate::api::CircuitError;
use crate::origin::{Carrier, Origin, Wanted};
use crate::quic::{Channel, CircuitSocket, answer};
use crate::shard::Sink;

/// How long a circuit may take, with its repetitions and QUIC on top.
const OPEN: Duration = Duration::from_secs(20);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// Why a relay did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the relay refused: {0}")]
    Refused(Failure),
    #[error("the relay did not answer")]
    Lost,
    #[error(transparent)]
    Circuit(#[from] CircuitError),
}

/// A circuit with QUIC over it, for one purpose and nothing else.
pub(super) struct RelayCircuit {
    carrier: Carrier,
    channel: Arc<Channel>,
}

impl RelayCircuit {
    /// Builds a circuit of `hops` relays to `relay`, behind a guard and one of the second relays.
    pub(super) async fn open(
        origin: &Arc<Origin>,
        relay: RelayId,
        hops: usize,
        second: &Arc<SharedSecond>,
    ) -> Result<Self, CircuitError> {
        timeout(OPEN, Self::connect(origin, relay, hops, second)).await.unwrap_or(Err(CircuitError::Timeout))
    }

    async fn connect(
        origin: &Arc<Origin>,
        relay: RelayId,
        hops: usize,
        second: &Arc<SharedSecond>,
    ) -> Result<Self, CircuitError> {
        let network = origin.network();
        let key = network.relay(&relay).filter(|relay| is_suitable(relay)).and_then(|relay| relay.exit_key());
        let key = key.ok_or(CircuitError::BadPath("the relay does nothing for services"))?;
        let socket = CircuitSocket::origin(Arc::clone(&origin.shard), relay);
        let wanted = Wanted::to(relay, hops).behind(second);
        let carrier = origin.build(&wanted, &[], |_| Sink::Quic(Arc::clone(&socket))).await?;
        let channel = tokio::select! {
            opened = Channel::open(&origin.shard.runtime, socket, relay, &key) => opened?,
            reason = carrier.circuit.state.closed() => return Err(CircuitError::Closed(reason)),
        };
        Ok(Self { carrier, channel })
    }

    /// The service's descriptor; nothing if the relay has none.
    pub(super) async fn find(&self, blinded: BlindedKey) -> Result<Option<Vec<u8>>, AskError> {
        self.in_time(async {
            let (mut send, mut recv) = self.ask(&Request::FindService(blinded), &[]).await?;
            let _ = send.finish();
            match response(&mut recv).await {
                Ok((Response::Found, head)) => {
                    let mut descriptor = vec![0; DESCRIPTOR_LEN];
                    read(&head, &mut recv, &mut descriptor).await?;
                    Ok(Some(descriptor))
                }
                Err(AskError::Refused(Failure::Absent)) => Ok(None),
                Err(error) => Err(error),
                Ok(_) => Err(AskError::Lost),
            }
        })
        .await
    }

    /// Leaves a descriptor, with the work that was done for it.
    pub(super) async fn place(&self, descriptor: &[u8], work: [u8; PLACE_WORK_LEN]) -> Result<(), AskError> {
        self.in_time(async {
            let behind = [descriptor, &work].concat();
            let (mut send, mut recv) = self.ask(&Request::PlaceService, &behind).await?;
            let _ = send.finish();
            match response(&mut recv).await? {
                (Response::Stored, _) => Ok(()),
                _ => Err(AskError::Lost),
            }
        })
        .await
    }

    /// Has introductions passed on.
    pub(super) async fn establish(&self, secret: &IntroSecret) -> Result<Introductions, AskError> {
        self.in_time(async {
            let (send, mut recv) = self.ask(&Request::Establish(secret.clone()), &[]).await?;
            match response(&mut recv).await? {
                (Response::Established, head) => Ok(Introductions { _send: send, recv, head }),
                _ => Err(AskError::Lost),
            }
        })
        .await
    }

    /// Has an introduction passed on.
    pub(super) async fn introduce(&self, name: IntroName, sealed: &[u8; INTRODUCE_LEN]) -> Result<(), AskError> {
        self.in_time(async {
            let (mut send, mut recv) = self.ask(&Request::Introduce(name), sealed).await?;
            let _ = send.finish();
            match response(&mut recv).await? {
                (Response::Introduced, _) => Ok(()),
                _ => Err(AskError::Lost),
            }
        })
        .await
    }

    /// Waits until the circuit can carry nothing any more.
    pub(super) async fn ended(&self) {
        tokio::select! {
            _ = self.carrier.circuit.state.closed() => {}
            _ = self.channel.connection.closed() => {}
        }
    }

    async fn ask(&self, request: &Request, behind: &[u8]) -> Result<(SendStream, RecvStream), AskError> {
        let (mut send, recv) = self.channel.connection.open_bi().await.map_err(|_| AskError::Lost)?;
        send.write_all(&request.encode()).await.map_err(|_| AskError::Lost)?;
        // A relay that refuses stops the stream and says why.
        let _ = send.write_all(behind).await;
        Ok((send, recv))
    }

    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
        tokio::select! {
            answered = timeout(ANSWER, asking) => answered.unwrap_or(Err(AskError::Lost)),
            _ = self.carrier.circuit.state.closed() => Err(AskError::Lost),
        }
    }
}

impl Drop for RelayCircuit {
    fn drop(&mut self) {
        self.channel.close("done");
    }
}

/// Introductions as they come, until the relay or the circuit is gone.
pub(super) struct Introductions {
    /// Ending it tells the relay that the service has gone.
    _send: SendStream,
    recv: RecvStream,
    head: Bytes,
}

impl Introductions {
    /// Waits for the next one.
    pub(super) async fn next(&mut self) -> Option<Sealed> {
        let mut sealed = Box::new([0; INTRODUCE_LEN]);
        let head = self.head.split_to(self.head.len().min(INTRODUCE_LEN));
        read(&head, &mut self.recv, &mut sealed[..]).await.ok()?;
        Some(sealed)
    }
}

async fn response(recv: &mut RecvStream) -> Result<(Response, Bytes), AskError> {
    match answer(recv).await {
        Ok((Response::Failed(failure), _)) => Err(AskError::Refused(failure)),
        Ok(answered) => Ok(answered),
        Err(_) => Err(AskError::Lost),
    }
}

async fn read(head: &[u8], recv: &mut RecvStream, into: &mut [u8]) -> Result<(), AskError> {
    if head.len() > into.len() {
        return Err(AskError::Lost);
    }
    let (first, rest) = into.split_at_mut(head.len());
    first.copy_from_slice(head);
    recv.read_exact(rest).await.map_err(|_| AskError::Lost)
}

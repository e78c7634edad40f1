//! QUIC end to end over two circuits that a meeting relay spliced: the client's side and the service's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use tokio::time::timeout;
use zmesh_proto::service::tls::{MeetingSecret, Side};

use super::channel::KEY_ALERTS;
use super::{CircuitSocket, codes, tls, transport};
use crate::RelayId;
use crate::api::HopInfo;
use crate::origin::Carrier;
use crate::shard::Shard;

/// How long QUIC's handshake may take, the other side's last steps included.
const HANDSHAKE: Duration = Duration::from_secs(15);

/// Who ends a circuit may have said why before: what has come already is read for so long.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The other side's address: a made-up one, as for exits.
const PEER: RelayId = RelayId([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum SplicedError {
    /// The other side did not prove the key that was expected.
    #[error("the other side did not prove the service's key")]
    Key,
    /// The other side did not answer.
    #[error("the other side did not answer in time")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Lost(String),
}

/// A connection over a spliced circuit. Dropping it closes both.
pub(crate) struct Spliced {
    carrier: Carrier,
    connection: Connection,
    _endpoint: Endpoint,
    shard: Arc<Shard>,
}

impl Spliced {
    /// The socket that the circuit of either side delivers to.
    pub(crate) fn socket(shard: &Arc<Shard>) -> Arc<CircuitSocket> {
        CircuitSocket::origin(Arc::clone(shard), PEER)
    }

    /// The client's side: expects the service to prove its key of this meeting, and proves the client's.
    ///
    /// # Errors
    /// See [`SplicedError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the circuit.
    pub(crate) async fn connect(
        shard: &Arc<Shard>,
        carrier: Carrier,
        socket: Arc<CircuitSocket>,
        meeting: &MeetingSecret,
    ) -> Result<Arc<Self>, SplicedError> {
        let lost = |error: &dyn fmt::Display| SplicedError::Lost(error.to_string());
        let (service, own) = (meeting.key(Side::Service).public(), meeting.key(Side::Client));
        let config = transport::client(&service, Some(&own), tls::SERVICE).map_err(|error| lost(&error))?;
        let endpoint = super::endpoint(&shard.runtime, socket, None).map_err(|error| lost(&error))?;
        let address = super::socket::exit_address(PEER);
        let connecting = endpoint.connect_with(config, address, tls::SERVER_NAME).map_err(|error| lost(&error))?;
        let mut connecting = std::pin::pin!(timeout(HANDSHAKE, connecting));
        let connection = tokio::select! {
            biased;
            connected = &mut connecting => {
                connected.map_err(|_| SplicedError::Timeout)?.map_err(|error| handshake_error(&error))?
            }
            reason = carrier.circuit.state.closed() => {
                return match timeout(LAST_WORDS, connecting).await {
                    Ok(Ok(Err(error))) => Err(handshake_error(&error)),
                    _ => Err(SplicedError::Lost(reason)),
                };
            }
        };
        Ok(Self::watched(shard, carrier, connection, endpoint))
    }

    /// The service's side: waits for the client to shake hands. Whether the client has to prove a key is in the endpoint's settings.
    ///
    /// # Errors
    /// See [`SplicedError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the circuit.
    pub(crate) async fn accept(
        shard: &Arc<Shard>,
        carrier: Carrier,
        endpoint: Endpoint,
    ) -> Result<Arc<Self>, SplicedError> {
        let shaking = async {
            let incoming = endpoint.accept().await.ok_or(SplicedError::Lost("the endpoint is closed".into()))?;
            incoming.await.map_err(|error| handshake_error(&error))
        };
        let connection = tokio::select! {
            connected = timeout(HANDSHAKE, shaking) => connected.map_err(|_| SplicedError::Timeout)??,
            reason = carrier.circuit.state.closed() => return Err(SplicedError::Lost(reason)),
        };
        Ok(Self::watched(shard, carrier, connection, endpoint))
    }

    fn watched(shard: &Arc<Shard>, carrier: Carrier, connection: Connection, endpoint: Endpoint) -> Arc<Self> {
        let (state, watched) = (Arc::clone(&carrier.circuit.state), connection.clone());
        shard.runtime.spawn(async move {
            tokio::select! {
                reason = state.closed() => watched.close(codes::CIRCUIT, reason.as_bytes()),
                _ = watched.closed() => {}
            }
        });
        Arc::new(Self { carrier, connection, _endpoint: endpoint, shard: Arc::clone(shard) })
    }

    /// Opens a stream to the service.
    pub(crate) async fn open(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        self.connection.open_bi().await
    }

    /// Waits for a stream of the client.
    pub(crate) async fn accept_stream(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        self.connection.accept_bi().await
    }

    /// Whether the connection can carry another stream.
    pub(crate) fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none() && self.carrier.circuit.state.end().is_none()
    }

    /// Pieces of streams that went either way so far: who moves nothing stays where it is.
    pub(crate) fn moved(&self) -> u64 {
        let stats = self.connection.stats();
        stats.frame_rx.stream + stats.frame_tx.stream
    }

    /// Ends the connection, and every stream over it.
    pub(crate) fn close(&self, reason: &str) {
        self.connection.close(codes::DONE, reason.as_bytes());
    }

    /// Why the circuit has ended, if it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.carrier.circuit.state.end()
    }

    /// The relays of this side, guard first.
    pub(crate) fn path(&self) -> Vec<HopInfo> {
        self.carrier.path.clone()
    }

    /// The threads that carry it.
    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }
}

impl Drop for Spliced {
    fn drop(&mut self) {
        self.connection.close(codes::DONE, b"done");
    }
}

fn handshake_error(error: &ConnectionError) -> SplicedError {
    match error {
        ConnectionError::TimedOut => SplicedError::Timeout,
        ConnectionError::TransportError(error)
            if KEY_ALERTS.iter().any(|&alert| error.code == quinn::TransportErrorCode::crypto(alert)) =>
        {
            SplicedError::Key
        }
        other => SplicedError::Lost(other.to_string()),
    }
}

//! QUIC's settings over circuits; why each has its value stands in `specs/07-streams.md`.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use zmesh_proto::service::tls::TlsKey;

use super::tls;
use crate::api::MESSAGE_MAX;

/// Every QUIC packet fits one message of the circuit socket; paths do not differ, so nothing is probed.
const MTU: u16 = 1446;
const _: () = assert!(MTU as usize == MESSAGE_MAX);

/// What a peer may send on one connection, and on one stream, before the other side has read it, in bytes. An exit's
/// memory for a circuit is bounded by it. A stream gets less than the connection, so that one whose reader is slow does
/// not hold up all others.
struct Windows {
    connection: u32,
    stream: u32,
}

/// At an origin, whose memory is its own affair.
const ORIGIN: Windows = Windows { connection: 8 << 20, stream: 1 << 20 };

/// At an exit.
const EXIT: Windows = Windows { connection: 1 << 20, stream: 512 << 10 };

/// What a side keeps for the case that it is lost on the way, in bytes.
const UNACKNOWLEDGED: u64 = 1 << 20;

/// Streams open at once on one connection.
const STREAMS_MAX: u32 = 64;

/// A connection without a sign of life ends after this time.
const IDLE: Duration = Duration::from_secs(30);

/// An origin probes a silent connection this often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Bytes of UDP datagrams that wait for an application, or for the circuit.
const DATAGRAM_BUFFER: usize = 256 * 1024;

/// Packets that may arrive out of order before one counts as lost: cells of one path overtake each other. What a link loses
/// it sends again, a link's round trip or more later; until then QUIC waits (decision 0103).
const PACKET_THRESHOLD: u32 = 1024;
/// The same in round trips.
const TIME_THRESHOLD: f32 = 3.0;
/// Packets out of order that are acknowledged at once.
const REORDERING_THRESHOLD: u32 = 128;

/// The first congestion window in bytes: links have congestion control of their own.
const INITIAL_WINDOW: u64 = 64 * 1446;

fn transport(client: bool) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(32))
        .max_ack_delay(Some(Duration::from_millis(10)))
        .reordering_threshold(VarInt::from_u32(REORDERING_THRESHOLD));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_WINDOW);
    let windows = if client { ORIGIN } else { EXIT };
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(if client { 0 } else { STREAMS_MAX }.into())
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::try_from(IDLE).expect("30 s is a valid idle timeout")))
        .keep_alive_interval(client.then_some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(windows.stream))
        .receive_window(VarInt::from_u32(windows.connection))
        .send_window(UNACKNOWLEDGED)
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .packet_threshold(PACKET_THRESHOLD)
        .time_threshold(TIME_THRESHOLD)
        .ack_frequency_config(Some(acks))
        .allow_spin(false)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .crypto_buffer_size(16 * 1024)
        .congestion_controller_factory(Arc::new(congestion));
    config
}

/// Settings of an endpoint of either side. Fresh ones for each: the reset key must not link two endpoints.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(MTU).expect("1,446 is a valid payload size").grease_quic_bit(false);
    config
}

/// A client's settings for one connection to the exit or service with this key: no token, ticket or key outlives it. To a service it proves
/// a key of its `own`.
///
/// # Errors
/// The TLS library refused the settings.
pub(crate) fn client(
    peer_key: &[u8; 32],
    own: Option<&TlsKey>,
    protocol: &[u8],
) -> Result<ClientConfig, rustls::Error> {
    let crypto = QuicClientConfig::try_from(tls::client(peer_key, own, protocol)?)
        .map_err(|_| rustls::Error::General("no cipher suite for QUIC".into()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.token_store(Arc::new(quinn::NoneTokenStore)).transport_config(Arc::new(transport(true)));
    Ok(config)
}

/// The settings of an exit, which any client may use.
///
/// # Errors
/// The TLS library refused the key.
pub(crate) fn exit(pkcs8: &[u8], public: &[u8; 32]) -> Result<ServerConfig, rustls::Error> {
    server(tls::server(pkcs8, public, None, tls::EXIT)?)
}

/// The settings of a service for one meeting: it proves `own`, and the client has to prove `client`.
///
/// # Errors
/// The TLS library refused the key.
pub(crate) fn service(own: &TlsKey, client: &[u8; 32]) -> Result<ServerConfig, rustls::Error> {
    server(tls::server(&own.pkcs8(), &own.public(), Some(client), tls::SERVICE)?)
}

fn server(tls: rustls::ServerConfig) -> Result<ServerConfig, rustls::Error> {
    let crypto =
        QuicServerConfig::try_from(tls).map_err(|_| rustls::Error::General("no cipher suite for QUIC".into()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0);
    // An origin may move its connection to another circuit: that is a migration to the exit, and it takes the keys of
    // the connection. Nothing moves between isolation tokens, which share no connection.
    config
        .migration(true)
        .validation_token_config(tokens)
        .max_incoming(256)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(1 << 20)
        .transport_config(Arc::new(transport(false)));
    Ok(config)
}

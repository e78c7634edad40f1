//! QUIC over circuits without I/O: `quinn-proto` driven by hand, with the settings that `specs/07-streams.md` gives.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use quinn_proto::congestion::CubicConfig;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    AckFrequencyConfig, ClientConfig, Connection, ConnectionHandle, DatagramEvent, Endpoint, EndpointConfig, Event,
    ServerConfig, TransportConfig, VarInt,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::{DigitallySignedStruct, SignatureScheme, sign};

/// Every packet fits one message of the circuit socket.
const MTU: u16 = 1446;

/// Bytes in flight on one connection.
const WINDOW: u32 = 1 << 20;

/// An endpoint and its connections; each is known by the circuit that carries it.
pub(super) struct Quic {
    endpoint: Endpoint,
    connections: BTreeMap<usize, (Connection, u64)>,
    buffer: Vec<u8>,
    /// Set when a connection had more to send than a burst.
    more: bool,
}

/// What wants to be sent: the number of the circuit, and one packet.
pub(super) type Packet = (u64, Vec<u8>);

impl Quic {
    pub(super) fn client(seed: [u8; 32]) -> Quic {
        Quic::new(None, seed)
    }

    pub(super) fn server(seed: [u8; 32]) -> Quic {
        Quic::new(Some(Arc::new(server_config())), seed)
    }

    fn new(server: Option<Arc<ServerConfig>>, seed: [u8; 32]) -> Quic {
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(MTU).expect("a valid payload size").grease_quic_bit(false);
        Quic {
            endpoint: Endpoint::new(Arc::new(config), server, false, Some(seed)),
            connections: BTreeMap::new(),
            buffer: Vec::new(),
            more: false,
        }
    }

    pub(super) fn connect(&mut self, now: Instant, circuit: u64) {
        let (handle, connection) = self
            .endpoint
            .connect(now, client_config(), address(circuit), "exit.invalid")
            .expect("a fresh endpoint connects");
        self.connections.insert(handle.0, (connection, circuit));
    }

    /// A packet came out of the circuit. Gives an answer that belongs to no connection, if there is one.
    pub(super) fn handle(&mut self, now: Instant, circuit: u64, packet: &[u8]) -> Option<Packet> {
        self.buffer.clear();
        let event =
            self.endpoint.handle(now, address(circuit), None, None, BytesMut::from(packet), &mut self.buffer)?;
        match event {
            DatagramEvent::ConnectionEvent(handle, event) => {
                if let Some((connection, _)) = self.connections.get_mut(&handle.0) {
                    connection.handle_event(event);
                }
                None
            }
            DatagramEvent::NewConnection(incoming) => {
                match self.endpoint.accept(incoming, now, &mut self.buffer, None) {
                    Ok((handle, connection)) => {
                        self.connections.insert(handle.0, (connection, circuit));
                        None
                    }
                    Err(error) => error.response.map(|transmit| (circuit, self.buffer[..transmit.size].to_vec())),
                }
            }
            DatagramEvent::Response(transmit) => Some((circuit, self.buffer[..transmit.size].to_vec())),
        }
    }

    /// Runs timers, hands every event to `act`, and collects what is to be sent, at most `burst` packets of each connection.
    pub(super) fn drive(
        &mut self,
        now: Instant,
        burst: usize,
        mut act: impl FnMut(&mut Connection, Option<Event>),
    ) -> Vec<Packet> {
        self.more = false;
        let mut out = Vec::new();
        let mut gone = Vec::new();
        for (number, (connection, circuit)) in &mut self.connections {
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            let handle = ConnectionHandle(*number);
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(handle, event) {
                    connection.handle_event(event);
                }
            }
            while let Some(event) = connection.poll() {
                act(connection, Some(event));
            }
            act(connection, None);
            for sent in 0..=burst {
                if sent == burst {
                    self.more = true;
                    break;
                }
                self.buffer.clear();
                let Some(transmit) = connection.poll_transmit(now, 1, &mut self.buffer) else {
                    break;
                };
                out.push((*circuit, self.buffer[..transmit.size].to_vec()));
            }
            if connection.is_drained() {
                gone.push(*number);
            }
        }
        for number in gone {
            self.connections.remove(&number);
        }
        out
    }

    /// When to drive next at the latest. Needs `&mut`, so the apps ask after each drive and remember.
    pub(super) fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        if self.more {
            return Some(now);
        }
        self.connections.values_mut().filter_map(|(connection, _)| connection.poll_timeout()).min()
    }

    pub(super) fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.connections.values_mut().map(|(connection, _)| connection)
    }
}

/// The fake address by which QUIC knows a circuit.
fn address(circuit: u64) -> SocketAddr {
    let [a, b, c, d, e, f, g, h] = circuit.to_be_bytes().map(u16::from);
    let ip = Ipv6Addr::new(0xfd00, 0, 0, 0, a << 8 | b, c << 8 | d, e << 8 | f, g << 8 | h);
    SocketAddr::from((ip, 1))
}

fn transport() -> Arc<TransportConfig> {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(24))
        .max_ack_delay(Some(Duration::from_millis(10)))
        .reordering_threshold(VarInt::from_u32(128));
    let mut congestion = CubicConfig::default();
    congestion.initial_window(64 * u64::from(MTU));
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .initial_mtu(MTU)
        .min_mtu(MTU)
        .mtu_discovery_config(None)
        .packet_threshold(1024)
        .time_threshold(3.0)
        .ack_frequency_config(Some(acks))
        .allow_spin(false)
        .congestion_controller_factory(Arc::new(congestion));
    Arc::new(config)
}

/// A fixed Ed25519 key (RFC 8410): in the simulator nobody has to be convinced of anything.
const SEED: [u8; 32] = [0x5a; 32];

fn server_config() -> ServerConfig {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pkcs8 = [&HEAD[..], &SEED].concat();
    let signer =
        rustls::crypto::aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8)).expect("a well-formed key");
    let public = signer.public_key().expect("Ed25519 has a public key");
    let certified = sign::CertifiedKey::new(vec![CertificateDer::from(public.to_vec())], signer);
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::new(certified))));
    let crypto = QuicServerConfig::try_from(tls).expect("a cipher suite for QUIC");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport());
    config
}

fn client_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3 is there")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
        .with_no_client_auth();
    tls.enable_sni = false;
    tls.resumption = rustls::client::Resumption::disabled();
    let crypto = QuicClientConfig::try_from(tls).expect("a cipher suite for QUIC");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport());
    config
}

/// Believes every raw public key.
#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

//! A peer that speaks the greeting and keeps no rule.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, StreamExt as _};
use libp2p::request_response::{Behaviour, Codec, Config, Event, Message, ProtocolSupport};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identity, noise, tcp, yamux};

#[derive(Clone, Default)]
pub struct Bytes;

impl Codec for Bytes {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await.map(|_| bytes)
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        if bytes.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        io.write_all(&bytes).await?;
        io.close().await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        protocol: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        self.write_request(protocol, io, bytes).await
    }
}

/// The peer, connected.
pub struct Raw {
    swarm: Swarm<Behaviour<Bytes>>,
    to: PeerId,
}

/// Connects to a node of [`super::NETWORK`] by QUIC.
pub async fn connect(address: SocketAddr, seed: u8) -> Raw {
    let mut seed = SigningKey::from_bytes(&[seed; 32]).to_bytes();
    let key = identity::Keypair::ed25519_from_bytes(&mut seed).unwrap();
    let name = StreamProtocol::new("/zmesh/1/0707070707070707/hello");
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| Behaviour::with_codec(Bytes, [(name, ProtocolSupport::Full)], Config::default()))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let to: Multiaddr = format!("/ip4/{}/udp/{}/quic-v1", address.ip(), address.port()).parse().unwrap();
    swarm.dial(to).unwrap();
    loop {
        if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
            return Raw { swarm, to: peer_id };
        }
    }
}

impl Raw {
    /// Greets again and again until the connection ends, so many times at most; how often it was answered.
    pub async fn greet_until_cut(&mut self, greeting: &[u8], most: usize) -> usize {
        let mut answered = 0;
        for _ in 0..most {
            self.swarm.behaviour_mut().send_request(&self.to, greeting.to_vec());
            loop {
                match self.swarm.select_next_some().await {
                    SwarmEvent::Behaviour(Event::Message { message: Message::Response { .. }, .. }) => {
                        answered += 1;
                        break;
                    }
                    SwarmEvent::Behaviour(Event::OutboundFailure { .. }) => break,
                    SwarmEvent::ConnectionClosed { .. } => return answered,
                    _ => {}
                }
            }
        }
        answered
    }
}

//! How bytes move: QUIC with TLS 1.3, TCP with Noise XX and yamux, and connections that other nodes relay.

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, global_only};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, quic, relay, tcp, yamux};

use crate::StartError;
use crate::limits::{CONNECT_TIME, CONNECTION_WINDOW, STREAM_WINDOW, STREAMS};

type Connection = (PeerId, StreamMuxerBox);

/// All transports. Outside of test networks nothing but public addresses is dialled, whoever names them.
pub(crate) fn build(
    keypair: &Keypair,
    anywhere: bool,
    relayed: relay::client::Transport,
) -> Result<Boxed<Connection>, StartError> {
    let noise = noise::Config::new(keypair).map_err(|_| StartError::Fault("Noise refuses the key"))?;
    let relayed = relayed
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(streams())
        .timeout(CONNECT_TIME)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(streams())
        .timeout(CONNECT_TIME)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic =
        quic::tokio::Transport::new(quic_config(keypair)).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let direct = quic.or_transport(tcp).map(|either, _| either.into_inner()).boxed();
    // The filter knows addresses of direct connections only, so what is relayed stands beside it: it dials the relay by it.
    let direct = if anywhere { direct } else { global_only::Transport::new(direct).boxed() };
    Ok(relayed.or_transport(direct).map(|either, _| either.into_inner()).boxed())
}

fn streams() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(STREAMS as usize);
    config
}

fn quic_config(keypair: &Keypair) -> quic::Config {
    let mut config = quic::Config::new(keypair);
    config.handshake_timeout = CONNECT_TIME;
    config.max_concurrent_stream_limit = STREAMS;
    config.max_stream_data = STREAM_WINDOW;
    config.max_connection_data = CONNECTION_WINDOW;
    config
}

//! UDP ASSOCIATE: a local socket for one client, alive as long as its control connection.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};

use super::Shared;
use super::client::{Done, in_time};
use crate::connector::{ConnectError, Connector, UdpRelay};
use crate::handshake::Accepted;
use crate::isolation::Token;
use crate::socks5::{Datagram, encode_datagram};

/// The longest UDP payload there is.
const LONGEST: usize = 65_535;

pub(super) async fn associate<C: Connector>(
    shared: &Shared<C>,
    client: &mut TcpStream,
    token: Token,
    accepted: &Accepted,
) -> Result<Done, ConnectError> {
    let (owner, local) = bind_beside(client).await.map_err(|_| ConnectError::Quota)?;
    let bound = local.local_addr().map_err(|_| ConnectError::Quota)?;
    let relay = in_time(shared, shared.connector.udp(token)).await?;
    Ok(Done::Over(
        async {
            tokio::io::AsyncWriteExt::write_all(client, &accepted.encode_success(Some(bound))).await?;
            // How the association ends says nothing to the client: it has no stream that could be cut short.
            let ended = run(client, owner, &local, &relay).await;
            tracing::debug!(ok = ended.is_ok(), "an association ended");
            Ok(())
        }
        .await,
    ))
}

/// A datagram socket on the address by which the client reached us, and the client's own address.
async fn bind_beside(client: &TcpStream) -> io::Result<(IpAddr, UdpSocket)> {
    let owner = client.peer_addr()?.ip().to_canonical();
    let local = UdpSocket::bind(SocketAddr::new(client.local_addr()?.ip(), 0)).await?;
    Ok((owner, local))
}

/// Moves datagrams until the control connection or the circuit's socket ends. Only the client's address is listened
/// to, and of it only the port that sent first.
async fn run<U: UdpRelay>(
    control: &mut TcpStream,
    owner: IpAddr,
    local: &UdpSocket,
    relay: &U,
) -> Result<(), ConnectError> {
    let mut peer: Option<SocketAddr> = None;
    let mut inbound = vec![0; LONGEST];
    let mut outbound = Vec::new();
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            read = control.read(&mut ignored) => match read {
                Ok(0) | Err(_) => return Ok(()),
                Ok(_) => {} // nothing belongs here; nothing is kept of it
            },
            received = local.recv_from(&mut inbound) => {
                let Ok((length, from)) = received else { continue };
                if from.ip().to_canonical() != owner || *peer.get_or_insert(from) != from {
                    tracing::debug!("a datagram from elsewhere was dropped");
                    continue;
                }
                match Datagram::decode(&inbound[..length]) {
                    Ok(datagram) => relay.send_to(&datagram.target, datagram.payload).await?,
                    Err(error) => tracing::debug!("a datagram was dropped: {error}"),
                }
            }
            received = relay.recv_from() => {
                let (source, payload) = received?;
                if let Some(peer) = peer {
                    encode_datagram(&source, &payload, &mut outbound);
                    // A full socket buffer loses the datagram, as UDP may.
                    let _ = local.try_send_to(&outbound, peer);
                }
            }
        }
    }
}

//! UDP ASSOCIATE: a local socket for one client, alive as long as its control connection.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};

use super::Shared;
use super::client::{Done, in_time};
use crate::connector::{ConnectError, Connector, PAYLOAD_MAX, UdpRelay};
use crate::handshake::Accepted;
use crate::isolation::Token;
use crate::socks5::{Datagram, encode_datagram};

/// No datagram of a client, with its header, is longer.
const LONGEST: usize = 65_535;

pub(super) async fn associate<C: Connector>(
    shared: &Shared<C>,
    client: &mut TcpStream,
    token: Token,
    accepted: &Accepted,
) -> Result<Done, ConnectError> {
    let (ip, local) = bind_beside(client).await.map_err(|_| ConnectError::Quota)?;
    let owner = Owner { ip, announced: accepted.target.port };
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

/// Whose datagrams an association serves.
struct Owner {
    ip: IpAddr,
    /// The port that the client said it will send from; 0 when it did not know yet (RFC 1928 section 7).
    announced: u16,
}

impl Owner {
    /// Only the client's address is listened to, and of it only the announced port, or else the port that sent first:
    /// another program of this machine cannot take an announced one's place.
    fn is(&self, from: SocketAddr) -> bool {
        from.ip().to_canonical() == self.ip && (self.announced == 0 || self.announced == from.port())
    }
}

/// Moves datagrams until the control connection or the circuit's socket ends.
async fn run<U: UdpRelay>(
    control: &mut TcpStream,
    owner: Owner,
    local: &UdpSocket,
    relay: &U,
) -> Result<(), ConnectError> {
    let mut peer: Option<SocketAddr> = None;
    let mut inbound = vec![0; LONGEST];
    let mut returning = vec![0; PAYLOAD_MAX];
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
                if !owner.is(from) || *peer.get_or_insert(from) != from {
                    tracing::debug!("a datagram from elsewhere was dropped");
                    continue;
                }
                match Datagram::decode(&inbound[..length]) {
                    Ok(datagram) => relay.send_to(&datagram.target, datagram.payload).await?,
                    Err(error) => tracing::debug!("a datagram was dropped: {error}"),
                }
            }
            received = relay.recv_from(&mut returning) => {
                let (source, length) = received?;
                if let Some(peer) = peer {
                    encode_datagram(&source, &returning[..length], &mut outbound);
                    // A full socket buffer loses the datagram, as UDP may.
                    let _ = local.try_send_to(&outbound, peer);
                }
            }
        }
    }
}

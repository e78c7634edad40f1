//! Opens a connection to a relay that serves WebSockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;

use super::{Patience, config, pump, tls};
use crate::carrier::{Hub, Streams};

/// How long TCP, TLS and WebSocket together may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// Connects, and moves datagrams from then on. Gives the address that stands for the connection, and its task.
///
/// # Errors
/// The relay cannot be reached in time or does not speak WebSocket at this path; too many connections are open.
///
/// # Cancel safety
/// Dropping the future gives the connection up.
pub(crate) async fn connect(
    hub: &Arc<Hub>,
    streams: Option<&Streams>,
    host: &str,
    port: u16,
    path: &str,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let opened = async {
        let tcp = connect_tcp(streams, host, port).await?;
        tcp.set_nodelay(true)?;
        let far = tcp.peer_addr()?;
        let name = ServerName::try_from(host.to_owned()).map_err(|error| io::Error::other(error.to_string()))?;
        let stream = TlsConnector::from(tls::client()?).connect(name, tcp).await?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let request = format!("wss://{host}:{port}{path}");
        let (socket, _) = client_async_with_config(request, stream, Some(config())).await.map_err(io::Error::other)?;
        let connection = hub.enter(far).ok_or_else(|| io::Error::other("too many connections"))?;
        let address = connection.address;
        // Whoever opens a connection knows what for, and ends it itself.
        Ok((address, tokio::spawn(pump(connection, socket, Patience::default(), || std::future::ready(true)))))
    };
    tokio::time::timeout(PATIENCE, opened).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// From the port that others may connect to, so that the relay sees where that is; from any if there is or was such a
/// connection to this relay, and for IPv6.
async fn connect_tcp(streams: Option<&Streams>, host: &str, port: u16) -> io::Result<TcpStream> {
    if let Some(streams) = streams {
        for address in lookup_host((host, port)).await? {
            if let SocketAddr::V4(to) = address
                && let Ok(tcp) = streams.connect(to).await
            {
                return Ok(tcp);
            }
        }
    }
    TcpStream::connect((host, port)).await
}

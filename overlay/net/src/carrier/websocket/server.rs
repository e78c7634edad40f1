//! A relay's WebSocket server.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::{Patience, config, pump, tls};
use crate::carrier::Hub;
use crate::shard::Shard;

/// How long TLS and WebSocket may take before a connection counts.
const PATIENCE: Duration = Duration::from_secs(8);
/// Connections at once, and of one IPv4 address or IPv6 /64. Many people can share one.
const CONNECTIONS: usize = 512;
const OF_ONE: usize = 32;
/// An IPv6 /48 may hold so many times the connections of a /64.
const SITE: usize = 4;

/// Where and how a relay takes links over WebSocket.
#[derive(Clone, Debug)]
pub struct WebSocketServer {
    /// The TCP address to listen on; port 443 looks like the web.
    pub listen: SocketAddr,
    /// The path that links are taken at; every other one is answered as not found.
    pub path: String,
    /// PEM files of a certificate chain and its key; without them a certificate of the relay's own, made at each start.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The names in a certificate of its own.
    pub names: Vec<String>,
}

impl WebSocketServer {
    /// A server with a certificate of its own.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, path: "/".into(), certificate: None, names: vec!["localhost".into()] }
    }
}

/// Listens from now on, for the node of this shard. Gives the address, and the task, which ends all connections when it is aborted.
///
/// # Errors
/// The address cannot be listened on, or the certificate not used.
pub(crate) async fn serve(shard: &Arc<Shard>, server: WebSocketServer) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let (hub, shard) = (Arc::clone(&shard.hub), Arc::downgrade(shard));
    let acceptor = TlsAcceptor::from(tls::server(server.certificate.as_ref(), server.names.clone())?);
    let listener = TcpListener::bind(server.listen).await?;
    let address = listener.local_addr()?;
    let path: Arc<str> = server.path.into();
    let task = tokio::spawn(async move {
        let places = Arc::new(Places::default());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, from)) => {
                        if let Some(place) = places.take(from.ip()) {
                            let node = (Arc::clone(&hub), Weak::clone(&shard));
                            connections.spawn(accept(node, acceptor.clone(), Arc::clone(&path), (tcp, from), place));
                        }
                    }
                    // Too many open files, mostly: wait until some are closed.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok((address, task))
}

async fn accept(
    (hub, shard): (Arc<Hub>, Weak<Shard>),
    acceptor: TlsAcceptor,
    path: Arc<str>,
    (tcp, from): (TcpStream, SocketAddr),
    place: Place,
) {
    let opening = async {
        tcp.set_nodelay(true).ok()?;
        let stream = acceptor.accept(tcp).await.ok()?;
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            if request.uri().path() == &*path {
                return Ok(response);
            }
            let mut refused = ErrorResponse::new(None);
            *refused.status_mut() = StatusCode::NOT_FOUND;
            Err(refused)
        };
        accept_hdr_async_with_config(stream, check, Some(config())).await.ok()
    };
    if let Ok(Some(socket)) = tokio::time::timeout(PATIENCE, opening).await
        && let Some(connection) = hub.enter(from)
    {
        let address = connection.address;
        let in_use = move || {
            let shard = shard.upgrade();
            async move {
                match shard {
                    Some(shard) => shard.carries_link(address).await,
                    None => false,
                }
            }
        };
        pump(connection, socket, Patience::default(), in_use).await;
    }
    drop(place);
}

/// The networks that a connection from this address counts for, by the bits of their names, and how many each may hold.
fn networks(of: IpAddr) -> [Option<((u8, u64), usize)>; 2] {
    match of {
        IpAddr::V4(ip) => [Some(((32, u32::from(ip).into()), OF_ONE)), None],
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            let name = u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d);
            [Some(((64, name), OF_ONE)), Some(((48, name >> 16), OF_ONE * SITE))]
        }
    }
}

#[derive(Default)]
struct Counts {
    all: usize,
    by_network: BTreeMap<(u8, u64), usize>,
}

/// Connections by network.
#[derive(Default)]
struct Places(Mutex<Counts>);

struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, of: IpAddr) -> Option<Place> {
        let of = of.to_canonical();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |(network, most)| counts.by_network.get(&network).is_some_and(|count| *count >= most);
        if counts.all >= CONNECTIONS || networks(of).into_iter().flatten().any(full) {
            return None;
        }
        counts.all += 1;
        for (network, _) in networks(of).into_iter().flatten() {
            *counts.by_network.entry(network).or_default() += 1;
        }
        Some(Place { places: Arc::clone(self), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        for (network, _) in networks(self.of).into_iter().flatten() {
            match counts.by_network.get_mut(&network) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(counts.by_network.remove(&network)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, of: &str) -> Option<Place> {
        places.take(of.parse().expect("an address"))
    }

    #[test]
    fn a_network_has_its_share_whatever_addresses_it_uses() {
        let places = Arc::new(Places::default());
        // A provider's customer has a /64, a site a /48: more addresses than there are places.
        let one: Vec<Place> = (0..600).filter_map(|at| take(&places, &format!("2a00:1:2:3::{at:x}"))).collect();
        assert_eq!(one.len(), OF_ONE);
        let site: Vec<Place> = (4..600).filter_map(|at| take(&places, &format!("2a00:1:2:{at:x}::1"))).collect();
        assert_eq!(site.len(), OF_ONE * SITE - OF_ONE);
        let v4: Vec<Place> = (0..600).filter_map(|_| take(&places, "192.0.2.1")).collect();
        assert_eq!(v4.len(), OF_ONE);
        assert!(take(&places, "::ffff:192.0.2.1").is_none(), "the same address in another form");
        assert!(take(&places, "192.0.2.2").is_some() && take(&places, "2a00:1:3::1").is_some(), "others have room");
        drop((one, site, v4));
        let counts = places.0.lock().expect("nobody failed");
        assert_eq!((counts.all, counts.by_network.len()), (0, 0));
    }

    #[test]
    fn there_is_an_end_to_all() {
        let places = Arc::new(Places::default());
        let all: Vec<Place> =
            (0..600).filter_map(|at| take(&places, &format!("192.0.{}.{}", at / 256, at % 256))).collect();
        assert_eq!(all.len(), CONNECTIONS);
    }
}

//! A relay's WebSocket server.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::{pump, tls};
use crate::carrier::Hub;

/// How long TLS and WebSocket may take before a connection counts.
const PATIENCE: Duration = Duration::from_secs(8);
/// Connections at once, and of one address. Many people can share one.
const CONNECTIONS: usize = 512;
const OF_ONE: usize = 32;

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

/// Listens from now on. Gives the address, and the task, which ends all connections when it is aborted.
///
/// # Errors
/// The address cannot be listened on, or the certificate not used.
pub(crate) async fn serve(hub: Arc<Hub>, server: WebSocketServer) -> io::Result<(SocketAddr, JoinHandle<()>)> {
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
                            connections.spawn(accept(Arc::clone(&hub), acceptor.clone(), Arc::clone(&path), tcp, place));
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

async fn accept(hub: Arc<Hub>, acceptor: TlsAcceptor, path: Arc<str>, tcp: TcpStream, place: Place) {
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
        accept_hdr_async_with_config(stream, check, Some(pump::config())).await.ok()
    };
    if let Ok(Some(socket)) = tokio::time::timeout(PATIENCE, opening).await
        && let Some(connection) = hub.enter(place.of)
    {
        pump::pump(connection, socket).await;
    }
    drop(place);
}

/// Connections by address.
#[derive(Default)]
struct Places(Mutex<BTreeMap<IpAddr, usize>>);

struct Place {
    places: Arc<Places>,
    of: IpAddr,
}

impl Places {
    fn take(self: &Arc<Self>, of: IpAddr) -> Option<Place> {
        let of = of.to_canonical();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = counts.get(&of).copied().unwrap_or(0);
        if here >= OF_ONE || counts.values().sum::<usize>() >= CONNECTIONS {
            return None;
        }
        counts.insert(of, here + 1);
        Some(Place { places: Arc::clone(self), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.of)),
        }
    }
}

//! The listener: one port for both protocols, with bounds on everything a client can use up.

mod client;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::connector::Connector;
use crate::isolation::{Credentials, Isolation, Token, TooManyTokens};

/// Bounds of a [`Server`]. The defaults suit one person's programs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Clients at once. Further ones wait in the system's queue.
    pub max_connections: usize,
    /// From the first byte that a client may send to its complete request.
    pub handshake_timeout: Duration,
    /// From the request to the answer.
    pub connect_timeout: Duration,
    /// Different credentials remembered at once.
    pub max_tokens: usize,
    /// How long unused credentials are remembered, and their circuits kept.
    pub token_idle: Duration,
    /// Bytes of buffer per stream and direction: what one stream can pile up here when its reader is slow.
    pub buffer: usize,
}

impl Default for ServerConfig {
    fn default() -> ServerConfig {
        ServerConfig {
            max_connections: 1024,
            handshake_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(60),
            max_tokens: 256,
            token_idle: Duration::from_secs(600),
            buffer: 64 * 1024,
        }
    }
}

/// A proxy that is bound to its port. Clients are served from [`Server::serve`] on.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: ServerConfig,
}

impl Server {
    /// Binds to `address` with default bounds. Port 0 takes a free port, see [`Server::local_addr`].
    ///
    /// # Errors
    /// What the system says, for example that the port is in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Server> {
        Server::bind_with(address, ServerConfig::default()).await
    }

    /// Binds to `address` with bounds of the caller's choice.
    ///
    /// # Errors
    /// What the system says, for example that the port is in use.
    pub async fn bind_with(address: SocketAddr, config: ServerConfig) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        if !listener.local_addr()?.ip().is_loopback() {
            tracing::warn!("the proxy listens beyond this machine: everybody who reaches the port can use it");
        }
        Ok(Server { listener, config })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves clients through `connector` until the future is dropped, which ends every client's connection too.
    ///
    /// # Errors
    /// Never by a client's doing; only when the listening socket itself fails for good.
    pub async fn serve<C: Connector>(self, connector: Arc<C>) -> io::Result<()> {
        let permits = Arc::new(Semaphore::new(self.config.max_connections));
        let isolation = Isolation::new(self.config.max_tokens, self.config.token_idle);
        let mut expiry = interval((self.config.token_idle / 4).max(Duration::from_millis(10)));
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::new(Shared {
            connector,
            config: self.config,
            isolation: Mutex::new(isolation),
            warned: AtomicU8::new(0),
        });
        let mut clients = JoinSet::new();
        let mut full = Warning::default();
        loop {
            tokio::select! {
                accepted = accept(&self.listener, &permits, &mut full) => {
                    let (stream, permit) = accepted?;
                    let shared = Arc::clone(&shared);
                    clients.spawn(async move {
                        client::serve(&shared, stream).await;
                        drop(permit);
                    });
                }
                Some(ended) = clients.join_next(), if !clients.is_empty() => {
                    if let Err(error) = ended && error.is_panic() {
                        tracing::error!("the task of one client failed");
                    }
                }
                _ = expiry.tick() => shared.expire(),
            }
        }
    }
}

/// The next client, once there is room for one.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    full: &mut Warning,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    if permits.available_permits() == 0 && full.is_due(Instant::now()) {
        tracing::warn!("the limit of clients at once is reached; further ones wait");
    }
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, permit)),
            Err(error) if is_fatal(&error) => return Err(error),
            Err(error) => {
                // Out of file descriptors, or the client left in the queue: neither ends the server.
                tracing::debug!(kind = ?error.kind(), "no client accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A warning that a client can bring about as often as it likes, and that is given once a minute.
#[derive(Default)]
struct Warning {
    given: Option<Instant>,
}

impl Warning {
    const PAUSE: Duration = Duration::from_secs(60);

    /// Whether to give it now; it then counts as given.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.given.is_none_or(|given| now.saturating_duration_since(given) >= Warning::PAUSE);
        if due {
            self.given = Some(now);
        }
        due
    }
}

fn is_fatal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

/// What all clients of a listener share.
struct Shared<C> {
    connector: Arc<C>,
    config: ServerConfig,
    isolation: Mutex<Isolation>,
    /// One bit for each kind of warning that was given.
    warned: AtomicU8,
}

impl<C: Connector> Shared<C> {
    fn lease(&self, credentials: Option<Credentials>) -> Result<Lease<'_, C>, TooManyTokens> {
        let (token, evicted) = self.isolation().acquire(Instant::now(), credentials.as_ref())?;
        if let Some(evicted) = evicted {
            self.connector.forget(evicted);
        }
        Ok(Lease { shared: self, credentials, token })
    }

    fn expire(&self) {
        let gone = self.isolation().expire(Instant::now());
        for token in gone {
            self.connector.forget(token);
        }
    }

    fn isolation(&self) -> std::sync::MutexGuard<'_, Isolation> {
        // The table stays whole whatever a panicking holder did: every operation on it is complete in itself.
        self.isolation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True the first time for each bit: what programs do wrong they do with every connection.
    fn first(&self, bit: u8) -> bool {
        self.warned.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// The use of a token by one client.
struct Lease<'a, C: Connector> {
    shared: &'a Shared<C>,
    credentials: Option<Credentials>,
    token: Token,
}

impl<C: Connector> Drop for Lease<'_, C> {
    fn drop(&mut self) {
        self.shared.isolation().release(Instant::now(), self.credentials.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_given_once_a_minute() {
        let start = Instant::now();
        let mut warning = Warning::default();
        let given = (0..180).filter(|second| warning.is_due(start + Duration::from_secs(*second)));
        assert_eq!(given.collect::<Vec<_>>(), [0, 60, 120]);
    }
}

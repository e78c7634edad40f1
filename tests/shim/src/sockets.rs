//! Sockets: one where clients send to, one for each client, and what moves datagrams between them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::queue::Way;
use crate::{Clients, Core, Host};

/// The longest datagram there is.
const LONGEST: usize = 65_535;
/// What a socket's buffer should hold, in bytes; the system may grant less.
const BUFFER: usize = 4 << 20;
/// Datagrams that one socket may bring before others have their turn.
const BATCH: usize = 64;

/// Where a datagram leaves.
#[derive(Debug, Clone)]
pub(crate) enum Exit {
    /// To the server, from the socket that stands for the client.
    Server(Arc<UdpSocket>),
    /// Back to the client, from the listening socket.
    Client(Arc<UdpSocket>, SocketAddr),
}

impl Exit {
    fn send(&self, data: &[u8]) -> io::Result<usize> {
        // Straight to the system: tokio would first wait to hear that the socket is writable.
        match self {
            Exit::Server(socket) => SockRef::from(socket.as_ref()).send(data),
            Exit::Client(socket, address) => SockRef::from(socket.as_ref()).send_to(data, &(*address).into()),
        }
    }
}

/// One listening address.
pub(crate) struct Listener {
    socket: Arc<UdpSocket>,
    clients: Clients,
    target: SocketAddr,
    server: Option<Host>,
    core: Arc<Core>,
    known: HashMap<SocketAddr, Client>,
    /// The tasks of the clients' sockets; they end with the listener.
    tasks: JoinSet<()>,
}

struct Client {
    socket: Arc<UdpSocket>,
    way: Way,
    last: Instant,
    task: AbortHandle,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    pub(crate) fn bind(
        listen: SocketAddr,
        clients: Clients,
        target: SocketAddr,
        server: Option<Host>,
        core: Arc<Core>,
    ) -> io::Result<Listener> {
        let socket = Arc::new(socket(listen)?);
        Ok(Listener { socket, clients, target, server, core, known: HashMap::new(), tasks: JoinSet::new() })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    pub(crate) async fn run(mut self) {
        let mut buffer = vec![0; LONGEST];
        let mut sweep = tokio::time::interval(self.core.limits.idle.max(Duration::from_secs(1)));
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((length, from)) => self.take_batch(&mut buffer, length, from),
                    Err(error) => pause(&error).await,
                },
                _ = sweep.tick() => self.forget_idle(),
            }
        }
    }

    /// Takes up a datagram that came and those that came with it.
    fn take_batch(&mut self, buffer: &mut [u8], length: usize, from: SocketAddr) {
        let (mut length, mut from) = (length, from);
        for _ in 0..BATCH {
            self.take(&buffer[..length], from);
            match self.socket.try_recv_from(buffer) {
                Ok(next) => (length, from) = next,
                Err(_) => return,
            }
        }
        self.take(&buffer[..length], from);
    }

    fn take(&mut self, data: &[u8], from: SocketAddr) {
        let Some(client) = self.client(from) else {
            self.core.queue().refuse();
            return;
        };
        client.last = Instant::now();
        let (way, exit) = (client.way, Exit::Server(Arc::clone(&client.socket)));
        self.core.offer(way, data, exit);
    }

    fn client(&mut self, from: SocketAddr) -> Option<&mut Client> {
        match self.known.entry(from) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(unknown) => {
                let place = Arc::clone(&self.core.places).try_acquire_owned().ok()?;
                let any = match self.target {
                    SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
                };
                let own = if self.target.ip().is_loopback() { self.target.ip() } else { any };
                let socket = Arc::new(connected(SocketAddr::from((own, 0)), self.target).ok()?);
                let way = Way { from: self.clients.host(from).map(|host| host.0), to: self.server.map(|host| host.0) };
                let back = Way { from: way.to, to: way.from };
                let exit = Exit::Client(Arc::clone(&self.socket), from);
                let task = self.tasks.spawn(answers(Arc::clone(&socket), Arc::clone(&self.core), back, exit));
                Some(unknown.insert(Client { socket, way, last: Instant::now(), task, _place: place }))
            }
        }
    }

    fn forget_idle(&mut self) {
        let idle = self.core.limits.idle;
        self.known.retain(|_, client| {
            let keep = client.last.elapsed() < idle;
            if !keep {
                client.task.abort();
            }
            keep
        });
        while self.tasks.try_join_next().is_some() {}
    }
}

/// Takes up what the server sends to one client.
async fn answers(socket: Arc<UdpSocket>, core: Arc<Core>, back: Way, exit: Exit) {
    let mut buffer = vec![0; LONGEST];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => core.offer(back, &buffer[..length], exit.clone()),
            Err(error) => pause(&error).await,
        }
        for _ in 0..BATCH {
            let Ok(length) = socket.try_recv(&mut buffer) else { break };
            core.offer(back, &buffer[..length], exit.clone());
        }
    }
}

/// Sends what is due.
pub(crate) async fn deliver(core: Arc<Core>) {
    loop {
        // One at a time, so that those who bring more need not wait for all that is due.
        while let Some((exit, data)) = core.next() {
            if let Err(error) = exit.send(&data) {
                tracing::trace!(%error, "not sent");
                core.queue().unsent();
            }
        }
        let due = core.queue().due();
        match due {
            Some(due) => tokio::select! {
                () = sleep_until(core.start + due) => {}
                () = core.bell.notified() => {}
            },
            None => core.bell.notified().await,
        }
    }
}

/// A server that is not there (yet) makes reading fail for a moment; that is no reason to spin.
async fn pause(error: &io::Error) {
    tracing::trace!(%error, "not received");
    tokio::time::sleep(Duration::from_millis(5)).await;
}

fn connected(from: SocketAddr, to: SocketAddr) -> io::Result<UdpSocket> {
    let inner = raw(from)?;
    inner.connect(&to.into())?;
    UdpSocket::from_std(inner.into())
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(raw(address)?.into())
}

fn raw(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // As much as the system grants.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

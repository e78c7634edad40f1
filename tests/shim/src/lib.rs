//! Emulated networks between real processes.
//!
//! A [`Shim`] stands before servers as a NAT does: a client sends to one of its listening addresses, and a socket of the shim's own, one for each client, sends
//! on to the server; answers go back the same way. In between, every datagram passes the pipe of the sender's access link and then that
//! of the receiver's ([`zmesh_netem::Access`]), so both directions are impaired. Hosts share an access link over all their datagrams.
//!
//! It is bounded in clients and in bytes that wait, forgets clients that are silent, and says what it did ([`Shim::report`]). Times are
//! exact to the timer of the runtime, about 1 ms.

mod queue;
mod sockets;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use zmesh_netem::{Access, Counters};

use queue::{Queue, Way};
use sockets::{Exit, Listener};

/// What a shim may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Clients over all listening addresses; a datagram of one more is dropped.
    pub clients: usize,
    /// Bytes that wait until they are due; what comes on top is dropped.
    pub bytes: usize,
    /// After how long without a datagram a client is forgotten.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { clients: 256, bytes: 64 << 20, idle: Duration::from_secs(60) }
    }
}

/// The access link of a host, known to a shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(usize);

/// Who the clients of a listening address are.
#[derive(Debug, Clone)]
pub enum Clients {
    /// All of them are this host.
    Are(Host),
    /// Those with these addresses are these hosts; others have no access link of their own.
    By(Arc<[(SocketAddr, Host)]>),
}

impl Clients {
    fn host(&self, address: SocketAddr) -> Option<Host> {
        match self {
            Clients::Are(host) => Some(*host),
            Clients::By(hosts) => hosts.iter().find(|(of, _)| *of == address).map(|(_, host)| *host),
        }
    }
}

/// What a shim did beside what its pipes were told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Datagrams that came in.
    pub received: u64,
    /// Datagrams that went out.
    pub forwarded: u64,
    /// Dropped because too many bytes were waiting.
    pub overflowed: u64,
    /// Dropped because there were too many clients.
    pub refused: u64,
    /// Not taken by the system when they were due.
    pub unsent: u64,
    /// The longest that any left after it was due.
    pub latest: Duration,
}

/// A running shim; it ends when it is dropped.
#[derive(Debug)]
pub struct Shim {
    core: Arc<Core>,
    tasks: JoinSet<()>,
}

/// What its tasks share.
#[derive(Debug)]
struct Core {
    start: Instant,
    limits: Limits,
    /// Places for clients, over all listening addresses.
    places: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Rung when something is due earlier than what the delivery waits for.
    bell: Notify,
}

impl Core {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, way: Way, data: &[u8], exit: Exit) {
        let now = self.start.elapsed();
        if self.queue().offer(now, way, data, exit) {
            self.bell.notify_one();
        }
    }

    fn next(&self) -> Option<(Exit, Vec<u8>)> {
        let now = self.start.elapsed();
        self.queue().next(now)
    }
}

impl Shim {
    /// A shim without listening addresses. Must be called inside a tokio runtime, whose tasks do the work.
    #[must_use]
    pub fn start(seed: u64, limits: Limits) -> Shim {
        let queue = Mutex::new(Queue::new(seed, limits.bytes));
        let places = Arc::new(Semaphore::new(limits.clients));
        let core = Arc::new(Core { start: Instant::now(), limits, places, queue, bell: Notify::new() });
        let mut tasks = JoinSet::new();
        tasks.spawn(sockets::deliver(Arc::clone(&core)));
        Shim { core, tasks }
    }

    /// Gives a host an access link.
    pub fn host(&self, access: &Access) -> Host {
        Host(self.core.queue().add_host(access))
    }

    /// Listens on a free port of `listen`'s (or on that port) and forwards to `target`, which is the host `server` if it has an access
    /// link. Gives the address to which clients send.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn forward(
        &mut self,
        listen: SocketAddr,
        clients: Clients,
        target: SocketAddr,
        server: Option<Host>,
    ) -> io::Result<SocketAddr> {
        let listener = Listener::bind(listen, clients, target, server, Arc::clone(&self.core))?;
        let address = listener.address()?;
        self.tasks.spawn(listener.run());
        Ok(address)
    }

    /// What the pipes of a host's access did: to what it sent, and to what was sent to it.
    #[must_use]
    pub fn counters(&self, host: Host) -> (Counters, Counters) {
        self.core.queue().counters(host.0)
    }

    /// What the shim did otherwise.
    #[must_use]
    pub fn report(&self) -> Report {
        self.core.queue().report()
    }
}

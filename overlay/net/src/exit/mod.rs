//! The last hop's side: accepts QUIC over circuits, carries requests to the egress and answers those about chunks, services and
//! documents. A relay may do any of these.

mod budget;
mod chunks;
mod documents;
mod loads;
mod pool;
mod reply;
mod services;
mod session;
mod sessions;
mod stream;
#[cfg(test)]
mod tests;
mod udp;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quinn::{Connection, Endpoint};
use tokio::sync::Notify;
use zmesh_proto::crowd::Via;
use zmesh_proto::node::LocalId;
use zmesh_proto::pace::Pace;

use self::budget::{Budget, new_sessions};
use self::sessions::{Entry, Sessions};
use crate::chunks::Keeper;
use crate::clock;
use crate::directory::DocumentStore;
use crate::egress::{CircuitHandle, Egress};
use crate::quic::{codes, local_address, local_of};
use crate::service::Host;
use crate::shard::Shard;

/// QUIC sessions at once in all.
const SESSIONS: usize = 8192;

/// One in so many of them is the strangers' share: origins ask their guards, and newcomers anybody, for documents.
const OF_STRANGERS: usize = 4;

/// How long a session outlives its circuit, so that its origin can bring it another one: [`GATHER`] and then this.
const GRACE: Duration = Duration::from_secs(9);

/// Circuits that close within this time are looked after together.
const GATHER: Duration = Duration::from_secs(1);

/// Over which link the circuit came that has an address now; nothing if it has gone.
type Links = Box<dyn Fn(SocketAddr) -> Option<Via> + Send + Sync>;

/// The exit of one shard.
pub(crate) struct ExitServer {
    shard: Weak<Shard>,
    links: Links,
    /// Missing at a relay that is no exit.
    egress: Option<Arc<dyn Egress>>,
    /// Missing at a relay that keeps no chunks.
    keeper: Option<Arc<Keeper>>,
    /// Missing at a relay that does nothing for services.
    host: Option<Arc<Host>>,
    /// Missing at a relay that gives no documents.
    documents: Option<Arc<DocumentStore>>,
    sessions: Mutex<Sessions<Connection>>,
    next: AtomicU64,
    pace: Mutex<Pace>,
    budget: Budget,
    /// What this relay asks of itself to measure another one.
    tickets: loads::Tickets,
}

impl ExitServer {
    /// Serves whatever comes to `endpoint`, on the shard's thread.
    pub(crate) fn start(
        shard: &Arc<Shard>,
        endpoint: Endpoint,
        egress: Option<Arc<dyn Egress>>,
        keeper: Option<Arc<Keeper>>,
        host: Option<Arc<Host>>,
        documents: Option<Arc<DocumentStore>>,
    ) -> Arc<Self> {
        let of = Arc::downgrade(shard);
        let server = Arc::new(Self {
            shard: Arc::downgrade(shard),
            links: Box::new(move |address| of.upgrade()?.local_via(local_of(address)?)),
            egress,
            keeper,
            host,
            documents,
            sessions: Mutex::new(Sessions::new(SESSIONS, SESSIONS / OF_STRANGERS)),
            next: AtomicU64::new(1),
            pace: Mutex::new(new_sessions()),
            budget: Budget::new(),
            tickets: loads::Tickets::default(),
        });
        shard.runtime.spawn(accept(Arc::clone(&server), endpoint));
        server
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions<Connection>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions and how many streams are open.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.sessions().len(), self.budget.streams())
    }

    /// How many descriptors of services are kept, and for how many services introductions are passed on.
    pub(crate) fn services(&self) -> (usize, usize) {
        self.host.as_ref().map(|host| host.load()).unwrap_or_default()
    }

    /// Circuits that ended here are gone: sessions that are still on them after a while end too.
    pub(crate) fn circuits_closed(self: &Arc<Self>, locals: &[LocalId]) {
        if !locals.is_empty()
            && self.sessions().circuits_closed(locals)
            && let Some(shard) = self.shard.upgrade()
        {
            shard.runtime.spawn(Arc::clone(self).end_stranded());
        }
    }

    /// Ends the sessions that nobody brings to another circuit. A circuit that has gone carries nothing any more, so
    /// where a connection is when the time is over says all.
    async fn end_stranded(self: Arc<Self>) {
        tokio::time::sleep(GATHER).await;
        let closed = self.sessions().take_closed();
        tokio::time::sleep(GRACE).await;
        let stranded = self.sessions().stranded(&closed, Connection::remote_address);
        for connection in stranded {
            connection.close(codes::CIRCUIT, b"the circuit has ended");
        }
    }

    /// Room and time for a session of this circuit?
    fn admit(self: &Arc<Self>, local: LocalId) -> Option<Session> {
        let via = (self.links)(local_address(local))?;
        let evicted = Arc::new(Notify::new());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let leaves = {
            let mut sessions = self.sessions();
            if !sessions.has_room(local, via, Connection::remote_address)
                || !self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(clock::now(), 1)
            {
                return None;
            }
            sessions.enter(number, local, via, Arc::clone(&evicted))
        };
        if let Some(entry) = leaves {
            entry.evicted.notify_one();
            self.leave(&entry);
        }
        Some(Session { server: Arc::clone(self), number, via, evicted, asked: false })
    }

    /// Ends the connection of a session that has no place any more, and the circuit under it.
    fn leave(&self, entry: &Entry<Connection>) {
        let mut local = entry.born_on;
        if let Some(connection) = &entry.connection {
            connection.close(codes::DONE, b"");
            local = local_of(connection.remote_address()).unwrap_or(local);
        }
        if let Some(shard) = self.shard.upgrade() {
            // A circuit that has gone by itself is unknown to the node by now, which is no harm.
            shard.close_local(local);
        }
    }
}

/// A session's place; leaving it tells the egress and closes the circuit.
struct Session {
    server: Arc<ExitServer>,
    number: u64,
    /// The link over which it began.
    via: Via,
    /// Told when the session has lost its place to another one.
    evicted: Arc<Notify>,
    /// Whether the egress has heard of this session.
    asked: bool,
}

impl Session {
    /// The number under which the egress knows the session. It stays when the origin changes circuits.
    fn handle(&self) -> CircuitHandle {
        CircuitHandle(self.number)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let entry = self.server.sessions().remove(self.number);
        if let Some(egress) = &self.server.egress
            && self.asked
        {
            egress.closed(self.handle());
        }
        if let Some(entry) = entry {
            self.server.leave(&entry);
        }
    }
}

/// Accepts sessions until the endpoint closes.
async fn accept(server: Arc<ExitServer>, endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        let session = local_of(incoming.remote_address()).and_then(|local| server.admit(local));
        match session {
            Some(session) => drop(tokio::spawn(session::serve(session, incoming))),
            None => incoming.refuse(),
        }
    }
}

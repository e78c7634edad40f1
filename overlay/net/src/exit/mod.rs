//! The exit's side: accepts QUIC over circuits and carries requests to the egress.

mod session;
mod stream;
mod udp;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use quinn::{Connection, Endpoint};
use zmesh_proto::node::LocalId;

use crate::egress::{CircuitHandle, Egress};
use crate::quic::{codes, local_address, local_of};
use crate::shard::Shard;

/// QUIC sessions at once in all, and at once on one circuit.
const SESSIONS: usize = 8192;
const SESSIONS_PER_CIRCUIT: usize = 2;

/// How long a session outlives its circuit, so that its origin can bring it another one.
const GRACE: Duration = Duration::from_secs(10);

/// The exit of one shard.
pub(crate) struct ExitServer {
    shard: Weak<Shard>,
    egress: Arc<dyn Egress>,
    sessions: Mutex<Sessions>,
    next: AtomicU64,
    streams: AtomicUsize,
}

/// The sessions, by their numbers and by the circuits on which they began.
#[derive(Default)]
struct Sessions {
    /// The connection is missing while QUIC shakes hands.
    all: HashMap<u64, Option<Connection>>,
    by_circuit: HashMap<LocalId, Vec<u64>>,
    /// Sessions whose first circuit has gone: they are on another one, or wait for it.
    orphans: HashSet<u64>,
}

impl ExitServer {
    /// Serves whatever comes to `endpoint`, on the shard's thread.
    pub(crate) fn start(shard: &Arc<Shard>, endpoint: Endpoint, egress: Arc<dyn Egress>) -> Arc<Self> {
        let server = Arc::new(Self {
            shard: Arc::downgrade(shard),
            egress,
            sessions: Mutex::default(),
            next: AtomicU64::new(1),
            streams: AtomicUsize::new(0),
        });
        shard.runtime.spawn(accept(Arc::clone(&server), endpoint));
        server
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions and how many streams are open.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.sessions().all.len(), self.streams.load(Ordering::Relaxed))
    }

    /// A circuit that ended here is gone: sessions that are still on it after a while end too.
    pub(crate) fn circuit_closed(self: &Arc<Self>, local: LocalId) {
        let Some(shard) = self.shard.upgrade() else { return };
        let address = local_address(local);
        let stranded: Vec<_> = {
            let mut sessions = self.sessions();
            let born_here = sessions.by_circuit.remove(&local).unwrap_or_default();
            sessions.orphans.extend(born_here);
            let candidates = sessions.orphans.iter().filter_map(|number| sessions.all.get(number)?.clone());
            candidates.filter(|connection| connection.remote_address() == address).collect()
        };
        for connection in stranded {
            shard.runtime.spawn(async move {
                tokio::time::sleep(GRACE).await;
                if connection.remote_address() == address {
                    connection.close(codes::CIRCUIT, b"the circuit has ended");
                }
            });
        }
    }

    /// Room for a session of this circuit?
    fn admit(self: &Arc<Self>, local: LocalId) -> Option<Session> {
        let mut sessions = self.sessions();
        let on_circuit = sessions.by_circuit.get(&local).map_or(0, Vec::len);
        if sessions.all.len() >= SESSIONS || on_circuit >= SESSIONS_PER_CIRCUIT {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        sessions.all.insert(number, None);
        sessions.by_circuit.entry(local).or_default().push(number);
        Some(Session { server: Arc::clone(self), number, local, asked: false })
    }
}

impl Sessions {
    fn remove(&mut self, number: u64, born_on: LocalId) -> Option<Connection> {
        self.orphans.remove(&number);
        if let Some(others) = self.by_circuit.get_mut(&born_on) {
            others.retain(|other| *other != number);
            if others.is_empty() {
                self.by_circuit.remove(&born_on);
            }
        }
        self.all.remove(&number).flatten()
    }
}

/// A session's place; leaving it tells the egress and closes the circuit.
struct Session {
    server: Arc<ExitServer>,
    number: u64,
    local: LocalId,
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
        let connection = self.server.sessions().remove(self.number, self.local);
        if self.asked {
            self.server.egress.closed(self.handle());
        }
        let now_on = connection.map(|connection| connection.remote_address());
        if let Some(shard) = self.server.shard.upgrade() {
            // A circuit that has gone by itself is unknown to the node by now, which is no harm.
            shard.close_local(now_on.and_then(local_of).unwrap_or(self.local));
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

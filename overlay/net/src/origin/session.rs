//! The circuits of one isolation token.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{ExitCircuit, Origin};
use crate::api::{CircuitError, ConnectError, ConnectErrorKind, IsolationToken, PathSpec};
use crate::clock;
use crate::egress::{Target, TargetHost};
use crate::quic::{Flow, Opened};

/// Circuits older than this take no new streams, so that one circuit does not collect a whole day.
pub(super) const FRESH: Duration = Duration::from_secs(600);

/// A session without use for this long is forgotten, with its circuits.
const IDLE: Duration = Duration::from_secs(600);

/// Sessions of one node.
const SESSIONS: usize = 512;

/// Streams, sockets and handles that share one circuit before a session takes another: exits allow 64 streams.
const HOLDERS: usize = 56;

/// Circuits that one request may try.
const TRIES: usize = 3;

/// What names a session: token and path.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    token: IsolationToken,
    spec: PathSpec,
}

/// The circuits of one isolation token.
pub(crate) struct SessionCore {
    origin: Weak<Origin>,
    spec: PathSpec,
    state: Mutex<State>,
    /// Held while a circuit is being built, so that two requests at once build one.
    building: tokio::sync::Mutex<()>,
}

struct State {
    circuits: Vec<Arc<ExitCircuit>>,
    used: Instant,
}

impl Origin {
    /// The session of a token and a path.
    pub(crate) fn session(self: &Arc<Self>, token: IsolationToken, spec: PathSpec) -> Arc<SessionCore> {
        let key = Key { token, spec };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(&key) {
            session.touch();
            return Arc::clone(session);
        }
        if sessions.len() >= SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.state().used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                sessions.remove(&oldest);
            }
        }
        let session = Arc::new(SessionCore {
            origin: Arc::downgrade(self),
            spec: key.spec.clone(),
            state: Mutex::new(State { circuits: Vec::new(), used: clock::now() }),
            building: tokio::sync::Mutex::new(()),
        });
        sessions.insert(key, Arc::clone(&session));
        session
    }

    /// Forgets sessions that nobody uses, and circuits that have ended or grown old.
    pub(super) fn sweep_sessions(&self) {
        let now = clock::now();
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| {
            let mut state = session.state();
            state.circuits.retain(|circuit| circuit.end().is_none() && now.duration_since(circuit.born()) < FRESH);
            Arc::strong_count(session) > 1 || now.duration_since(state.used) < IDLE
        });
    }
}

impl SessionCore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        self.state().used = clock::now();
    }

    pub(crate) fn circuits(&self) -> Vec<Arc<ExitCircuit>> {
        self.state().circuits.clone()
    }

    /// A circuit whose exit takes this port: one in use, else a spare, else a new one.
    pub(crate) async fn circuit(&self, port: u16, v6: bool) -> Result<Arc<ExitCircuit>, CircuitError> {
        self.touch();
        let origin = self.origin.upgrade().ok_or(CircuitError::ShutDown)?;
        let network = origin.network();
        let fits = |circuit: &ExitCircuit| {
            let exit = network.relay(&circuit.exit()).and_then(|relay| relay.exit());
            exit.is_some_and(|exit| port == 0 || exit.accepts(port, v6))
        };
        let current = || {
            let state = self.state();
            let now = clock::now();
            let usable = |circuit: &&Arc<ExitCircuit>| {
                circuit.is_usable()
                    && now.duration_since(circuit.born()) < FRESH
                    && Arc::strong_count(circuit) <= HOLDERS
            };
            state.circuits.iter().find(|circuit| usable(circuit) && fits(circuit)).cloned()
        };
        if let Some(circuit) = current() {
            return Ok(circuit);
        }
        let _one_at_a_time = self.building.lock().await;
        if let Some(circuit) = current() {
            return Ok(circuit);
        }
        let spare = if self.spec == *origin.spares.spec() { origin.spares.take(fits) } else { None };
        let circuit = match spare {
            Some(circuit) => circuit,
            None => {
                let mut spec = self.spec.clone();
                if port != 0 {
                    spec.port = port;
                }
                spec.v6 |= v6;
                origin.exit_circuit(&spec).await?
            }
        };
        circuit.keep();
        self.state().circuits.push(Arc::clone(&circuit));
        Ok(circuit)
    }

    fn discard(&self, circuit: &Arc<ExitCircuit>) {
        self.state().circuits.retain(|other| !Arc::ptr_eq(other, circuit));
    }

    /// Makes a request by one circuit, and by another if that one dies under it.
    async fn request<T, Asked>(
        &self,
        port: u16,
        v6: bool,
        ask: impl Fn(Arc<ExitCircuit>) -> Asked,
    ) -> Result<(T, Arc<ExitCircuit>), ConnectError>
    where
        Asked: Future<Output = Result<T, ConnectError>>,
    {
        let mut last = None;
        for _ in 0..TRIES {
            let circuit = self.circuit(port, v6).await?;
            match ask(Arc::clone(&circuit)).await {
                Ok(granted) => return Ok((granted, circuit)),
                Err(error) if matches!(error.kind(), ConnectErrorKind::Lost | ConnectErrorKind::Circuit) => {
                    self.discard(&circuit);
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::new(ConnectErrorKind::Circuit, "no circuit")))
    }

    pub(crate) async fn connect(&self, target: &Target) -> Result<(Opened, Arc<ExitCircuit>), ConnectError> {
        let v6 = matches!(target.host, TargetHost::Ip(IpAddr::V6(_)));
        self.request(target.port, v6, |circuit| async move { circuit.connect(target).await }).await
    }

    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        Ok(self.request(0, false, |circuit| async move { circuit.resolve(name).await }).await?.0)
    }

    pub(crate) async fn resolve_ptr(&self, ip: IpAddr) -> Result<Vec<String>, ConnectError> {
        Ok(self.request(0, false, |circuit| async move { circuit.resolve_ptr(ip).await }).await?.0)
    }

    pub(crate) async fn bind_udp(&self) -> Result<(Flow, Arc<ExitCircuit>), ConnectError> {
        self.request(0, false, |circuit| async move { circuit.bind_udp().await }).await
    }
}

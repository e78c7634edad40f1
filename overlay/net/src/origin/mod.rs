//! A node as an origin: chooses paths, builds circuits, keeps sessions.

mod build;
mod exit_circuit;
mod session;
mod spares;
mod standby;
mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::broadcast;
use zmesh_proto::path::{Chooser, Explanation, GUARDS_DEFAULT, GuardSet, Preference};
use zmesh_proto::random::Generator;

pub(crate) use self::build::{Carrier, SharedReserve, Wanted};
pub(crate) use self::exit_circuit::{ExitCircuit, ping, probe};
pub(crate) use self::session::SessionCore;
use self::spares::Spares;
use crate::api::{CircuitError, NodeEvent, PathSpec};
use crate::guard_file::{GuardFile, Opened};
use crate::shard::Shard;
use crate::{Network, RelayId, clock, entropy};

/// Events that a slow reader may fall behind.
const EVENTS: usize = 256;

/// The origin's half of a node.
pub(crate) struct Origin {
    pub(crate) shard: Arc<Shard>,
    network: RwLock<Arc<Network>>,
    choice: Mutex<Choice>,
    events: broadcast::Sender<NodeEvent>,
    sessions: Mutex<HashMap<session::Key, Arc<SessionCore>>>,
    spares: Spares,
    standby: bool,
}

impl Choice {
    /// Stores the guards if they have changed.
    fn keep_guards(&mut self) {
        let Some(state) = self.guards.take_changed() else { return };
        let Some(file) = &self.file else { return };
        if let Err(error) = file.store(&state) {
            tracing::warn!(%error, "the guards could not be stored; the next run may draw others");
        }
    }
}

/// How an origin chooses its paths. By default guards are those of one run.
#[derive(Debug, Default)]
pub(crate) struct Choosing {
    pub(crate) preference: Preference,
    /// The guards of earlier runs, and where those of this one are kept.
    pub(crate) guards: Option<Opened>,
}

/// What path choice remembers and draws from.
struct Choice {
    chooser: Chooser,
    preference: Preference,
    guards: GuardSet,
    /// Where the guards are kept for the next run, if they are.
    file: Option<GuardFile>,
    /// Every choice draws from a fork, so that what was chosen cannot be found from this state.
    rng: Generator,
}

impl Origin {
    /// An origin that keeps `spares` circuits of `spec` ready, and under each session a standby if `standby`.
    pub(crate) fn start(
        shard: Arc<Shard>,
        network: Arc<Network>,
        spec: PathSpec,
        spares: usize,
        standby: bool,
        choosing: Choosing,
    ) -> Arc<Self> {
        let chooser = Chooser::new(&network, choosing.preference);
        let (guards, file) = match choosing.guards {
            None => (GuardSet::new(GUARDS_DEFAULT), None),
            Some(opened) => (GuardSet::restore(GUARDS_DEFAULT, opened.state), opened.file),
        };
        let rng = entropy::rng();
        let origin = Arc::new(Self {
            network: RwLock::new(network),
            choice: Mutex::new(Choice { chooser, preference: choosing.preference, guards, file, rng }),
            events: broadcast::Sender::new(EVENTS),
            sessions: Mutex::default(),
            spares: Spares::new(spec, spares),
            standby,
            shard,
        });
        origin.shard.runtime.spawn(spares::keep(Arc::downgrade(&origin)));
        origin
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network document in use.
    pub(crate) fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Chooses from another network document from now on.
    pub(crate) fn set_network(&self, network: Arc<Network>) {
        let preference = self.choice().preference;
        let chooser = Chooser::new(&network, preference);
        let mut current = self.network.write().unwrap_or_else(PoisonError::into_inner);
        // Of two at once the newer one stays.
        if network.valid_after() >= current.valid_after() {
            *current = network;
            self.choice().chooser = chooser;
        }
    }

    /// The guards in use.
    pub(crate) fn guards(&self) -> Vec<RelayId> {
        self.choice().guards.report(clock::now()).iter().map(|guard| guard.id).collect()
    }

    /// How the guards do, failures included.
    pub(crate) fn guard_reports(&self) -> Vec<zmesh_proto::path::GuardReport> {
        self.choice().guards.report(clock::now())
    }

    /// What the choice of a path like this leaves open, its guard given.
    pub(crate) fn explain(&self, spec: &PathSpec, guard: Option<RelayId>) -> Result<Explanation, CircuitError> {
        self.choice().chooser.explain(&spec.request(guard)).map_err(|error| CircuitError::NoPath(error.to_string()))
    }

    /// Whether sessions keep a second circuit.
    fn wants_standby(&self) -> bool {
        self.standby
    }

    /// An open circuit over this path died.
    fn died(&self, path: &[RelayId]) {
        if let Some(guard) = path.first() {
            self.choice().guards.failed_behind(guard);
        }
    }

    pub(crate) fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.events.subscribe()
    }

    pub(crate) fn tell(&self, event: NodeEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }

    /// The path that a session uses unless it asks for another.
    pub(crate) fn default_spec(&self) -> PathSpec {
        self.spares.spec().clone()
    }
}

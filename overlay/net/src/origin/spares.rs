//! Circuits built ahead of need, with QUIC up, each with keys and an endpoint of its own: whichever session takes one is
//! the first and only one to use it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use zmesh_proto::node::{CircuitId, SparePolicy, SparePool};

use super::{ExitCircuit, Origin};
use crate::api::PathSpec;
use crate::clock;

/// How often the pool is looked over without cause.
const LOOK: Duration = Duration::from_secs(1);

/// The spare circuits of an origin.
pub(super) struct Spares {
    spec: PathSpec,
    shelf: Mutex<Shelf>,
    taken: Notify,
}

struct Shelf {
    pool: SparePool<()>,
    circuits: HashMap<CircuitId, Arc<ExitCircuit>>,
}

impl Spares {
    pub(super) fn new(spec: PathSpec, count: usize) -> Self {
        let mut pool = SparePool::new(SparePolicy { max_building: 1, ..SparePolicy::default() });
        if count > 0 {
            pool.want((), count);
        }
        Self { spec, shelf: Mutex::new(Shelf { pool, circuits: HashMap::new() }), taken: Notify::new() }
    }

    pub(super) fn spec(&self) -> &PathSpec {
        &self.spec
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A warm circuit that `fits`, if one is there. It belongs to the caller.
    pub(super) fn take(&self, fits: impl Fn(&ExitCircuit) -> bool) -> Option<Arc<ExitCircuit>> {
        let mut shelf = self.shelf();
        let now = clock::now();
        let mut unfit = Vec::new();
        let mut found = None;
        while let Some(id) = shelf.pool.take(now, &()) {
            let Some(circuit) = shelf.circuits.remove(&id) else {
                continue;
            };
            if circuit.is_warm() && fits(&circuit) {
                found = Some(circuit);
                break;
            }
            unfit.push((id, circuit));
        }
        for (id, circuit) in unfit {
            if circuit.is_warm() {
                shelf.pool.built(now, &(), id);
                shelf.circuits.insert(id, circuit);
            }
        }
        drop(shelf);
        self.taken.notify_one();
        found
    }

    /// Forgets spares that have ended.
    fn sweep(&self) {
        let mut shelf = self.shelf();
        let dead: Vec<_> =
            shelf.circuits.iter().filter(|(_, circuit)| !circuit.is_usable()).map(|(id, _)| *id).collect();
        for id in dead {
            shelf.pool.closed(id);
            shelf.circuits.remove(&id);
        }
    }
}

/// Keeps the shelf full, and the sessions swept, for as long as the origin lives.
pub(super) async fn keep(origin: Weak<Origin>) {
    loop {
        let Some(origin) = origin.upgrade() else {
            return;
        };
        origin.sweep_sessions();
        origin.spares.sweep();
        let due = origin.spares.shelf().pool.next(clock::now()).is_some();
        if due {
            build(&origin).await;
            continue;
        }
        // The origin must be able to go while this waits.
        let spares = timeout(LOOK, origin.spares.taken.notified());
        let _ = spares.await;
    }
}

async fn build(origin: &Arc<Origin>) {
    let built = match origin.exit_circuit(&origin.spares.spec).await {
        Ok(circuit) => circuit.ready().await.map(|_| circuit),
        Err(error) => Err(error),
    };
    let now = clock::now();
    let mut shelf = origin.spares.shelf();
    match built {
        Ok(circuit) => {
            let id = circuit.carrier().circuit.id;
            shelf.pool.built(now, &(), id);
            shelf.circuits.insert(id, circuit);
        }
        Err(error) => {
            tracing::debug!(%error, "a spare circuit could not be built");
            shelf.pool.failed(now, &());
        }
    }
}

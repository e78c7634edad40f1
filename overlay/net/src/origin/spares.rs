//! Circuits built ahead of need, with QUIC up, each with keys and an endpoint of its own: whichever session takes one is
//! the first and only one to use it.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;

use super::session::FRESH;
use super::{ExitCircuit, Origin};
use crate::api::PathSpec;
use crate::clock;

/// How often the shelf is looked over without cause.
const LOOK: Duration = Duration::from_secs(1);

/// The pause after the first failure in a row; it doubles with each further one. So a broken network is not hammered,
/// and a relay that makes builds fail on purpose gains few new choices of relays.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// The spare circuits of an origin.
pub(super) struct Spares {
    spec: PathSpec,
    shelf: Mutex<Shelf<Arc<ExitCircuit>>>,
    taken: Notify,
}

impl Spares {
    pub(super) fn new(spec: PathSpec, count: usize) -> Self {
        Self { spec, shelf: Mutex::new(Shelf::new(count)), taken: Notify::new() }
    }

    pub(super) fn spec(&self) -> &PathSpec {
        &self.spec
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<Arc<ExitCircuit>>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A warm circuit that `fits`, if one is there. It belongs to the caller.
    pub(super) fn take(&self, fits: impl Fn(&ExitCircuit) -> bool) -> Option<Arc<ExitCircuit>> {
        let found = self.shelf().take(clock::now(), |circuit| circuit.is_warm() && fits(circuit));
        self.taken.notify_one();
        found
    }
}

/// What is ready, and when to build more. The caller says what time it is.
struct Shelf<C> {
    wanted: usize,
    /// With the time at which each was begun, oldest first.
    ready: VecDeque<(C, Instant)>,
    /// Failures in a row.
    failures: u32,
    not_before: Option<Instant>,
}

impl<C> Shelf<C> {
    fn new(wanted: usize) -> Self {
        Self { wanted, ready: VecDeque::new(), failures: 0, not_before: None }
    }

    /// Gives up what has ended (is not `usable`) or has grown so old that no session would use it.
    fn sweep(&mut self, now: Instant, usable: impl Fn(&C) -> bool) {
        self.ready.retain(|(circuit, born)| is_fresh(now, *born) && usable(circuit));
    }

    /// Whether to build one now.
    fn is_due(&self, now: Instant) -> bool {
        self.ready.len() < self.wanted && self.not_before.is_none_or(|at| now >= at)
    }

    fn built(&mut self, circuit: C, born: Instant) {
        self.failures = 0;
        self.not_before = None;
        self.ready.push_back((circuit, born));
    }

    fn failed(&mut self, now: Instant) {
        let pause = PAUSE * (1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pause.min(PAUSE_MAX));
    }

    /// The freshest that `fits`; the others keep their places and their ages.
    fn take(&mut self, now: Instant, fits: impl Fn(&C) -> bool) -> Option<C> {
        let at = self.ready.iter().rposition(|(circuit, born)| is_fresh(now, *born) && fits(circuit))?;
        self.ready.remove(at).map(|(circuit, _)| circuit)
    }
}

fn is_fresh(now: Instant, born: Instant) -> bool {
    now.saturating_duration_since(born) < FRESH
}

/// Keeps the shelf full, and the sessions swept, for as long as the origin lives.
pub(super) async fn keep(origin: Weak<Origin>) {
    loop {
        let Some(origin) = origin.upgrade() else {
            return;
        };
        origin.sweep_sessions();
        let due = {
            let mut shelf = origin.spares.shelf();
            let now = clock::now();
            shelf.sweep(now, |circuit| circuit.is_usable());
            shelf.is_due(now)
        };
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
    let mut shelf = origin.spares.shelf();
    match built {
        Ok(circuit) => {
            let born = circuit.born();
            shelf.built(circuit, born);
        }
        Err(error) => {
            tracing::debug!(%error, "a spare circuit could not be built");
            shelf.failed(clock::now());
        }
    }
}

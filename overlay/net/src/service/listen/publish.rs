//! Publishing a service's descriptor of one period: those of two periods never leave together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};
use zmesh_proto::service::descriptor::{Contents, seal};
use zmesh_proto::service::key::ServiceKey;
use zmesh_proto::service::period::Period;
use zmesh_proto::service::place_work::{self, Placing};
use zmesh_proto::service::placement::{COPIES, stores};
use zmesh_proto::service::revision::revision;
use zmesh_proto::wire::request::Failure;

use super::super::relay_circuit::{AskError, RelayCircuit};
use super::super::{SharedSecond, own_hops};
use crate::origin::Origin;
use crate::{clock, entropy};

/// How long a descriptor holds, in seconds: the time for which relays keep it.
const HOLDS: u64 = 3 * 3_600;

/// Times in descriptors are multiples of this many seconds, so that they tell little of the service's clock.
const ROUNDED: u64 = 1_800;

/// Circuits that are built at once.
const AT_ONCE: usize = 3;

/// After a relay says that it has had a newer one: as far as the clock can have been behind.
const LEAP: u64 = 1 << 22;

/// The revisions that were used, by period.
#[derive(Default)]
pub(super) struct Revisions {
    last: BTreeMap<Period, u64>,
}

impl Revisions {
    fn next(&mut self, key: &ServiceKey, period: Period, unix: u64) -> u64 {
        let by_clock = revision(&key.blinded(period), period, unix);
        let next = self.last.get(&period).map_or(by_clock, |last| by_clock.max(last.saturating_add(1)));
        self.last.insert(period, next);
        while self.last.len() > 4 {
            self.last.pop_first();
        }
        next
    }

    fn leap(&mut self, period: Period) {
        if let Some(last) = self.last.get_mut(&period) {
            *last = last.saturating_add(LEAP);
        }
    }
}

/// What became of a publication.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Relays that took the descriptor.
    pub(super) copies: usize,
    /// Relays that should have taken it, and did not.
    pub(super) missed: usize,
    /// Why the last one did not.
    pub(super) reason: String,
    /// Whether there is no path at all.
    pub(super) no_path: bool,
    /// Whether a relay has had one that is at least as new.
    pub(super) stale: bool,
}

impl Outcome {
    /// Takes in what was learnt.
    pub(super) fn note(&self, period: Period, revisions: &mut Revisions) {
        if self.stale {
            revisions.leap(period);
        }
    }
}

/// Makes the descriptor of a period, and leaves it at its relays.
pub(super) fn publish(
    origin: &Arc<Origin>,
    second: &Arc<SharedSecond>,
    key: &ServiceKey,
    revisions: &mut Revisions,
    period: Period,
    mut contents: Contents,
) -> impl Future<Output = Outcome> + Send + 'static {
    let unix = clock::unix_seconds();
    contents.not_after = (unix + HOLDS).next_multiple_of(ROUNDED);
    let network = origin.network();
    let address = key.address();
    let secret = key.blinded(period);
    let revision = revisions.next(key, period, unix);
    let descriptor: Arc<[u8]> = seal(&secret, &address, period, revision, &contents, &mut entropy::rng()).into();
    let blinded = secret.public();
    let relays = stores(&network, &blinded, period, COPIES);
    let effort = place_work::effort(&network);
    let (origin, second) = (Arc::clone(origin), Arc::clone(second));
    async move {
        let hops = own_hops(&network) + 1;
        let mut outcome = Outcome::default();
        if relays.is_empty() {
            outcome.no_path = true;
            outcome.reason = "no relay keeps descriptors of services".into();
        }
        let (mut relays, mut placing) = (relays.into_iter(), JoinSet::new());
        loop {
            while placing.len() < AT_ONCE
                && let Some(relay) = relays.next()
            {
                let (origin, second, descriptor) = (Arc::clone(&origin), Arc::clone(&second), Arc::clone(&descriptor));
                let todo = Placing { blinded, period, revision, relay };
                placing.spawn(async move {
                    let work = spawn_blocking(move || todo.solve(effort, entropy::bytes()));
                    let (circuit, work) = tokio::join!(RelayCircuit::open(&origin, relay, hops, &second), work);
                    circuit?.place(&descriptor, work.map_err(|_| AskError::Lost)?).await
                });
            }
            match placing.join_next().await {
                None => return outcome,
                Some(Ok(Ok(()))) => outcome.copies += 1,
                Some(Ok(Err(error))) => {
                    outcome.missed += 1;
                    outcome.stale |= matches!(error, AskError::Refused(Failure::Stale));
                    outcome.reason = error.to_string();
                }
                Some(Err(_)) => outcome.missed += 1,
            }
        }
    }
}

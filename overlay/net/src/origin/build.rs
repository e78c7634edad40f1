//! Choosing a path and building a circuit over it, again if need be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use zmesh_proto::node::BuildFailure;
use zmesh_proto::path::{GuardError, LastHop, Narrow, PathError, PathRequest, Reserve, select_behind};

use super::Origin;
use crate::api::{CircuitError, HopInfo, MeetingSpec, NodeEvent, PathSpec};
use crate::service::SharedSecond;
use crate::shard::{BuildStop, CircuitGuard, Sink};
use crate::{RelayId, clock};

/// Paths that one request may try.
const ATTEMPTS: u32 = 4;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// How long one attempt may take, a handshake with the guard included.
const ATTEMPT: Duration = Duration::from_secs(6);

/// A circuit that carries something; closed when the last holder lets go.
pub(crate) struct Carrier {
    pub(crate) circuit: CircuitGuard,
    pub(crate) took: Duration,
    pub(crate) path: Vec<HopInfo>,
}

/// The path that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    hops: usize,
    last: LastHop,
    exit: Option<RelayId>,
    exclude: Vec<RelayId>,
    country: Option<[u8; 2]>,
    reserve: Option<SharedReserve>,
    second: Option<Arc<SharedSecond>>,
}

/// The inner relays that a session rebuilds from; see [`Reserve`].
pub(crate) type SharedReserve = Arc<Mutex<Reserve>>;

impl Wanted {
    /// To an exit.
    pub(crate) fn exit(spec: &PathSpec) -> Self {
        let last = LastHop::Exit { port: spec.port, v6: spec.v6 };
        let (exclude, country) = (spec.exclude.clone(), spec.country);
        Self { hops: spec.hops, last, exit: spec.exit, exclude, country, reserve: None, second: None }
    }

    /// To a meeting relay.
    pub(crate) fn meeting(spec: &MeetingSpec) -> Self {
        let last = LastHop::Meeting(spec.relay);
        let reserve = spec.rebuilds.as_ref().map(|rebuilds| Arc::clone(&rebuilds.0));
        Self { hops: spec.hops, last, exit: None, exclude: spec.exclude.clone(), country: None, reserve, second: None }
    }

    /// Built again, or as a standby: the inner relays come from the session's few.
    pub(crate) fn within(mut self, reserve: &SharedReserve) -> Self {
        self.reserve = Some(Arc::clone(reserve));
        self
    }

    /// To a relay that splices meetings and serves services, as the last of `hops`.
    pub(crate) fn to(relay: RelayId, hops: usize) -> Self {
        let last = LastHop::Meeting(relay);
        Self { hops, last, exit: None, exclude: Vec::new(), country: None, reserve: None, second: None }
    }

    /// With one of these as the second relay.
    pub(crate) fn behind(mut self, second: &Arc<SharedSecond>) -> Self {
        self.second = Some(Arc::clone(second));
        self
    }

    /// To any relay that gives documents of the network, but none of `without`.
    pub(crate) fn directory(hops: usize, without: &[RelayId]) -> Self {
        Self {
            hops,
            last: LastHop::AnyDirectory,
            exit: None,
            exclude: without.to_vec(),
            country: None,
            reserve: None,
            second: None,
        }
    }

    /// To a relay that keeps chunks, behind `hops` relays of the origin's own choice, of which none is `without`.
    pub(crate) fn cache(relay: RelayId, hops: usize, without: Option<RelayId>) -> Self {
        let exclude = without.into_iter().collect();
        Self {
            hops: hops + 1,
            last: LastHop::Cache(relay),
            exit: None,
            exclude,
            country: None,
            reserve: None,
            second: None,
        }
    }
}

impl Origin {
    /// Chooses a path, `avoid`ing relays where the network has others.
    fn choose(&self, wanted: &Wanted, avoid: &[RelayId]) -> Result<Vec<RelayId>, CircuitError> {
        let network = self.network();
        // Only for newer documents is an old one still good: whoever withholds them must not choose our relays for ever.
        if !network.is_valid_at(clock::unix_seconds()) && wanted.last != LastHop::AnyDirectory {
            return Err(CircuitError::Expired { since: network.valid_until() });
        }
        let all: Vec<_> = wanted.exclude.iter().chain(avoid).copied().collect();
        self.choose_without(wanted, &all).or_else(|_| self.choose_without(wanted, &wanted.exclude))
    }

    fn choose_without(&self, wanted: &Wanted, exclude: &[RelayId]) -> Result<Vec<RelayId>, CircuitError> {
        let no_path = |error: &PathError| CircuitError::NoPath(error.to_string());
        let mut choice = self.choice();
        let choice = &mut *choice;
        let mut rng = choice.rng.fork();
        choice.guards.advance(u32::try_from(clock::unix_seconds() / DAY).unwrap_or(u32::MAX));
        for guard in self.shard.take_damaged() {
            choice.guards.tampered(&guard, clock::now());
        }
        let mut not_guard = exclude.to_vec();
        not_guard.extend(wanted.exit);
        not_guard.extend(wanted.last.given());
        let mut problem = None;
        // One guard of the set may not fit this path (it is the only exit, or of the exit's operator); another may.
        loop {
            let guard = if wanted.hops == 1 {
                None
            } else {
                let picked = choice.guards.pick(clock::now(), &choice.chooser, &not_guard, &mut rng);
                choice.keep_guards();
                match picked {
                    Ok(guard) => Some(guard),
                    Err(GuardError::Path(error)) => return Err(no_path(&error)),
                    Err(error) => {
                        return Err(problem.unwrap_or_else(|| CircuitError::NoPath(error.to_string())));
                    }
                }
            };
            let (hops, last, country) = (wanted.hops, wanted.last, wanted.country);
            let request = PathRequest { hops, last, exclude, guard, country };
            let inner = wanted.reserve.as_ref().map(|reserve| {
                let mut reserve = reserve.lock().unwrap_or_else(PoisonError::into_inner);
                let mut taken = not_guard.clone();
                taken.extend(guard);
                reserve.pick(clock::now(), &choice.chooser, &taken, hops.saturating_sub(2), &mut rng)
            });
            let second = wanted.second.as_ref().map(|second| second.members(&choice.chooser, &mut rng));
            let drawn = match second {
                Some(second) => select_behind(&mut choice.chooser, &request, &second, &mut rng),
                None => {
                    let narrow = Narrow { inner: inner.as_deref(), last: wanted.exit };
                    choice.chooser.select_narrow(&request, narrow, &mut rng)
                }
            };
            match (drawn, guard) {
                (Ok(path), _) => return Ok(path),
                (Err(error @ PathError::NotEnough { .. }), Some(guard)) => {
                    problem = Some(no_path(&error));
                    not_guard.push(guard);
                }
                (Err(error), _) => return Err(no_path(&error)),
            }
        }
    }

    /// Chooses a relay that splices meetings. A guard as soon as any other: the other side sees what is chosen, and would find the guards by
    /// what never is. (A circuit to one of them begins at another.)
    pub(crate) fn choose_meeting(&self) -> Result<RelayId, CircuitError> {
        let network = self.network();
        let hops = if network.is_test_network() { 1 } else { 2 };
        let mut choice = self.choice();
        let mut rng = choice.rng.fork();
        let request = PathRequest { hops, last: LastHop::AnyMeeting, exclude: &[], guard: None, country: None };
        let drawn = choice.chooser.select(&request, &mut rng);
        drop(choice);
        let path = drawn.map_err(|error| CircuitError::NoPath(error.to_string()))?;
        path.last().copied().ok_or(CircuitError::BadPath("the path is empty"))
    }

    /// Chooses a relay that splices meetings, from the few of one call, and not one of `apart` where there are others.
    pub(crate) fn choose_another_meeting(
        &self,
        apart: &[RelayId],
        reserve: &SharedReserve,
    ) -> Result<RelayId, CircuitError> {
        let network = self.network();
        let hops = if network.is_test_network() { 1 } else { 2 };
        let mut choice = self.choice();
        let mut rng = choice.rng.fork();
        let few = {
            let mut reserve = reserve.lock().unwrap_or_else(PoisonError::into_inner);
            reserve.pick(clock::now(), &choice.chooser, apart, 1, &mut rng)
        };
        let narrow = Narrow { inner: Some(&few), last: None };
        let request = PathRequest { hops, last: LastHop::AnyMeeting, exclude: apart, guard: None, country: None };
        let drawn = choice.chooser.select_narrow(&request, narrow, &mut rng);
        drop(choice);
        let error = match drawn {
            Ok(path) => return path.last().copied().ok_or(CircuitError::BadPath("the path is empty")),
            Err(error) => error,
        };
        tracing::debug!(%error, "none of the few relays of this call can splice; another is taken");
        self.choose_meeting()
    }

    /// Builds a circuit, trying other paths when one fails. `sink` says where the messages of a path's circuit go.
    ///
    /// # Cancel safety
    /// Dropping the future gives the circuit up.
    pub(crate) async fn build(
        &self,
        wanted: &Wanted,
        avoid: &[RelayId],
        mut sink: impl FnMut(&[RelayId]) -> Sink,
    ) -> Result<Carrier, CircuitError> {
        let mut avoid = avoid.to_vec();
        let mut reason = String::new();
        self.tell(NodeEvent::Building { hops: wanted.hops });
        for _ in 0..ATTEMPTS {
            let path = self.choose(wanted, &avoid)?;
            let failure = match timeout(ATTEMPT, self.shard.build(path.clone(), sink(&path))).await {
                Ok(Ok(built)) => {
                    self.note(&path, None);
                    Self::note_inner(wanted, &path, false);
                    self.tell(NodeEvent::CircuitReady { hops: path.len(), took: built.took });
                    let path = self.describe(&path);
                    return Ok(Carrier { circuit: built.circuit, took: built.took, path });
                }
                Ok(Err(BuildStop::ShutDown)) => return Err(CircuitError::ShutDown),
                Ok(Err(BuildStop::Refused(refusal))) => {
                    reason = refusal;
                    None
                }
                Ok(Err(BuildStop::Failed(failure))) => Some(failure),
                Err(_) => Some(BuildFailure::Timeout),
            };
            if let Some(failure) = failure {
                self.note(&path, Some(failure));
                Self::note_inner(wanted, &path, true);
                reason = failure.to_string();
            }
            self.tell(NodeEvent::CircuitFailed { reason: reason.clone() });
            // A guard is not given up for a failure behind it; the other relays are, where there are more.
            let guilty = if matches!(failure, Some(BuildFailure::Timeout)) { 0 } else { 1 };
            avoid.extend(path.iter().skip(guilty).filter(|relay| wanted.last.given() != Some(**relay)));
        }
        Err(CircuitError::Build { attempts: ATTEMPTS, reason })
    }

    /// Keeps the records of the session's inner relays.
    fn note_inner(wanted: &Wanted, path: &[RelayId], failed: bool) {
        let Some(reserve) = &wanted.reserve else { return };
        let mut reserve = reserve.lock().unwrap_or_else(PoisonError::into_inner);
        for id in path.iter().skip(1).rev().skip(1) {
            if failed {
                reserve.failed(id, clock::now());
            } else {
                reserve.succeeded(id);
            }
        }
    }

    /// Keeps the guards' records.
    fn note(&self, path: &[RelayId], failure: Option<BuildFailure>) {
        let Some(guard) = path.first() else { return };
        let mut choice = self.choice();
        match failure {
            None => {
                choice.guards.succeeded(guard);
                choice.keep_guards();
            }
            Some(BuildFailure::GuardUnreachable) => choice.guards.unreachable(guard, clock::now()),
            Some(failure) => {
                choice.guards.failed_behind(guard);
                if matches!(failure, BuildFailure::BadReply | BuildFailure::Refused) {
                    choice.guards.tampered(guard, clock::now());
                }
            }
        }
    }

    fn describe(&self, path: &[RelayId]) -> Vec<HopInfo> {
        let network = self.network();
        path.iter()
            .map(|id| {
                let relay = network.relay(id);
                HopInfo {
                    id: *id,
                    nickname: relay.map(|relay| relay.nickname().to_owned()).unwrap_or_default(),
                    country: relay.and_then(|relay| relay.country()).map(str::to_owned),
                    address: relay.and_then(|relay| relay.info().addresses.first().copied()),
                }
            })
            .collect()
    }
}

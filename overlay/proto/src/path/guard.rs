//! The few guards of a session.
//!
//! Whoever runs the first relay of a circuit sees its origin's address, so an origin should meet few of them. A
//! [`GuardSet`] draws its guards once and keeps to them: a guard that fails is tried again later and the next of the set
//! serves meanwhile, but **failure alone never brings in a new one**, or anyone who can make guards fail (by dropping
//! packets on the way to them) could drive an origin to a guard of their own. Only a guard that the network document no
//! longer lists is replaced, and even that is limited by a budget for the session.
//!
//! Altered cells, answers that do not verify and refused set-ups do not happen between honest relays, as links are
//! authenticated. A relay further on may be guilty as well as the guard, so a guard behind which they pile up only
//! *rests*: the others of the set go first for a while. When all rest, the one that has rested longest serves.
//!
//! Nothing here reads a clock: time is passed in.

use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::{LastHop, PathError, PathRequest, select};
use crate::directory::Network;

/// Guards of a session unless said otherwise.
pub const GUARDS_DEFAULT: usize = 3;

/// Replacements that a session allows per guard.
const REPLACEMENTS_PER_GUARD: u32 = 2;
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(600);
/// One more sign of tampering than this, and a guard rests …
const TAMPERED_MAX: u32 = 3;
/// … for so long.
const REST: Duration = Duration::from_secs(1800);
/// So many circuits that came up make up for one sign.
const FORGIVE_EVERY: u64 = 32;

/// Why there is no guard.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// All guards of the session failed recently.
    #[error("all guards of this session fail; the next try is in {} s", retry_in.as_secs())]
    AllFailing {
        /// Until the first of them may be tried again.
        retry_in: Duration,
    },
    /// Every guard is excluded from this path.
    #[error("every guard of this session is excluded from this path")]
    AllExcluded,
    /// Too many guards left the network.
    #[error("the guards of this session left the network and its budget for new ones is used up")]
    BudgetUsed,
    /// The network has no relay to begin with.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// How one guard did, to be shown to people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuardReport {
    /// The relay.
    pub id: RelayId,
    /// Circuits that were built through it.
    pub successes: u64,
    /// Attempts that failed at it or behind it.
    pub failures: u64,
    /// Whether it is being left alone after failures.
    pub waiting: bool,
    /// Signs that something altered packets, at it or behind it.
    pub tampered: u64,
    /// Whether the others of the set go first because of them.
    pub resting: bool,
}

#[derive(Clone, Debug)]
struct Guard {
    id: RelayId,
    successes: u64,
    failures: u64,
    failures_in_a_row: u32,
    retry_at: Option<Instant>,
    tampered: u64,
    /// Of these, those that count towards the next rest.
    suspicion: u32,
    rest_until: Option<Instant>,
}

impl Guard {
    fn rests(&self, now: Instant) -> Option<Instant> {
        self.rest_until.filter(|until| *until > now)
    }
}

/// The guards of one session. See the head of this module.
#[derive(Clone, Debug)]
pub struct GuardSet {
    size: usize,
    guards: Vec<Guard>,
    replacements_left: u32,
}

impl GuardSet {
    /// An empty set that will hold `size` guards, at least one.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let size = size.max(1);
        Self {
            size,
            guards: Vec::new(),
            replacements_left: u32::try_from(size).unwrap_or(u32::MAX).saturating_mul(REPLACEMENTS_PER_GUARD),
        }
    }

    /// The guard to use now: the first of the set that is not waiting after a failure and not in `exclude`; one that
    /// rests only when there is no other.
    ///
    /// Draws the guards at the first call, and replaces those that left the network.
    ///
    /// # Errors
    /// See [`GuardError`].
    pub fn pick(
        &mut self,
        now: Instant,
        network: &Network,
        exclude: &[RelayId],
        rng: &mut impl Rng,
    ) -> Result<RelayId, GuardError> {
        self.fill(network, rng)?;
        let allowed = || self.guards.iter().filter(|guard| !exclude.contains(&guard.id));
        let ready = allowed().filter(|guard| guard.retry_at.is_none_or(|at| at <= now));
        if let Some(guard) = ready.min_by_key(|guard| guard.rests(now)) {
            return Ok(guard.id);
        }
        match allowed().filter_map(|guard| guard.retry_at).min() {
            Some(at) => Err(GuardError::AllFailing { retry_in: at.saturating_duration_since(now) }),
            None => Err(GuardError::AllExcluded),
        }
    }

    /// A circuit through this guard came up.
    pub fn succeeded(&mut self, id: &RelayId) {
        if let Some(guard) = self.find(id) {
            guard.successes += 1;
            guard.failures_in_a_row = 0;
            guard.retry_at = None;
            if guard.successes.is_multiple_of(FORGIVE_EVERY) {
                guard.suspicion = guard.suspicion.saturating_sub(1);
            }
        }
    }

    /// The guard itself did not answer: it is left alone for a while, longer each time.
    pub fn unreachable(&mut self, id: &RelayId, now: Instant) {
        if let Some(guard) = self.find(id) {
            guard.failures += 1;
            let wait = RETRY_FIRST * 2u32.saturating_pow(guard.failures_in_a_row.min(16));
            guard.failures_in_a_row = guard.failures_in_a_row.saturating_add(1);
            guard.retry_at = Some(now + wait.min(RETRY_MAX));
        }
    }

    /// A circuit failed behind this guard. It counts in the guard's report, for a guard that kills circuits until it
    /// likes their path shows by its rate, but the guard is not left alone for it.
    pub fn failed_behind(&mut self, id: &RelayId) {
        if let Some(guard) = self.find(id) {
            guard.failures += 1;
        }
    }

    /// Something altered packets at this guard or behind it: a reply that does not verify, a set-up refused, a circuit
    /// that ended as damaged. After a few the others of the set go first for a while; no new guard is drawn.
    pub fn tampered(&mut self, id: &RelayId, now: Instant) {
        if let Some(guard) = self.find(id) {
            guard.tampered += 1;
            guard.suspicion += 1;
            if guard.suspicion > TAMPERED_MAX {
                guard.suspicion = 0;
                guard.rest_until = Some(now + REST);
            }
        }
    }

    /// How the guards do.
    #[must_use]
    pub fn report(&self, now: Instant) -> Vec<GuardReport> {
        self.guards
            .iter()
            .map(|guard| GuardReport {
                id: guard.id,
                successes: guard.successes,
                failures: guard.failures,
                waiting: guard.retry_at.is_some_and(|at| at > now),
                tampered: guard.tampered,
                resting: guard.rests(now).is_some(),
            })
            .collect()
    }

    fn find(&mut self, id: &RelayId) -> Option<&mut Guard> {
        self.guards.iter_mut().find(|guard| guard.id == *id)
    }

    fn fill(&mut self, network: &Network, rng: &mut impl Rng) -> Result<(), GuardError> {
        let first_time = self.guards.is_empty() && self.replacements_left > 0;
        let before = self.guards.len();
        self.guards.retain(|guard| network.relay(&guard.id).is_some());
        let gone = before - self.guards.len();
        // A set that the network could not fill at first stays as it is until a guard leaves.
        let wanted = if first_time { self.size } else { self.guards.len() + gone };
        while self.guards.len() < wanted {
            if !first_time {
                if self.replacements_left == 0 {
                    break;
                }
                self.replacements_left -= 1;
            }
            let Some(id) = self.draw(network, rng)? else {
                break;
            };
            self.guards.push(Guard {
                id,
                successes: 0,
                failures: 0,
                failures_in_a_row: 0,
                retry_at: None,
                tampered: 0,
                suspicion: 0,
                rest_until: None,
            });
        }
        if self.guards.is_empty() {
            return Err(GuardError::BudgetUsed);
        }
        Ok(())
    }

    /// One more guard, of another operator and network than those there where the network has one, else any other
    /// relay; nothing when all relays are guards already.
    fn draw(&self, network: &Network, rng: &mut impl Rng) -> Result<Option<RelayId>, GuardError> {
        let held: Vec<RelayId> = self.guards.iter().map(|guard| guard.id).collect();
        if held.len() >= network.relays().len() && !held.is_empty() {
            return Ok(None);
        }
        let others = super::candidates::others(network, &held);
        if others.is_empty() {
            // An empty network: let the words of the path say so.
            let want = PathRequest { hops: 2, last: LastHop::Any, exclude: &held, guard: None };
            let path = select(network, &want, rng)?;
            return Ok(path.first().copied());
        }
        let at = super::candidates::index(rng, others.len());
        Ok(others.get(at).copied())
    }
}

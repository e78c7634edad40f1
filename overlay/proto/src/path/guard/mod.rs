//! The few guards of an origin.
//!
//! Whoever runs the first relay of a circuit sees its origin's address, so an origin should meet few of them. A
//! [`GuardSet`] samples its guards by weight and keeps to them: a guard that fails is tried again later and the next of the
//! set serves meanwhile, but **failure alone never brings in a new one**, or anyone who can make guards fail (by dropping
//! packets on the way to them) could drive an origin to a guard of their own. A new one is sampled only for a guard that the
//! network document no longer lists, or whose service has ended after some weeks, drawn at random for each. Those that
//! left stay in the set for a while and count, so that a set never holds more than three relays for each of its
//! guards: whoever can have relays struck off the document gains little by it. A guard that comes back has its place again.
//!
//! The set is ordered as in Tor's proposal 271: sampled relays, of these those that are listed, of these first the
//! ones through which circuits came up, in the order in which they first did. What of it outlives a run is a [`GuardState`].
//!
//! Altered cells, answers that do not verify and refused set-ups do not happen between honest relays, as links are
//! authenticated. A relay further on may be guilty as well as the guard, so a guard behind which they pile up only
//! *rests*: the others of the set go first for a while. When all rest, the one that has rested longest serves.
//!
//! Nothing here reads a clock: time is passed in.

pub(super) mod state;

use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use self::state::{ENTRIES_MAX, Entry};
use super::candidates::below;
use super::{Chooser, PathError, Shortage};

pub use self::state::{GuardState, GuardStateError};

/// Guards of an origin unless said otherwise.
pub const GUARDS_DEFAULT: usize = 3;

/// Relays that a set holds at most for each of its guards, those that left the network included …
const SAMPLED_PER_GUARD: usize = 3;
/// … or one in so many of the network's relays, where that is less …
const SHARE_OF_NETWORK: usize = 5;
/// … but always so many for each of its guards: one that leaves has to be replaced in a small network too.
const SAMPLED_IN_SMALL: usize = 2;
/// A guard serves for so many days at least, and at most; how many is drawn for each.
const SERVES_DAYS: std::ops::RangeInclusive<u32> = 28..=56;
/// So many days after it left the network a guard is forgotten.
const FORGET_DAYS: u32 = 20;
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
    /// All guards failed recently.
    #[error("all guards fail; the next try is in {} s", retry_in.as_secs())]
    AllFailing {
        /// Until the first of them may be tried again.
        retry_in: Duration,
    },
    /// Every guard is excluded from this path.
    #[error("every guard is excluded from this path")]
    AllExcluded,
    /// Too many guards left the network.
    #[error("the guards left the network, and there were so many already that no new one is taken for now")]
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

/// How one guard did in this run.
#[derive(Clone, Debug, Default)]
struct Record {
    successes: u64,
    failures: u64,
    failures_in_a_row: u32,
    retry_at: Option<Instant>,
    tampered: u64,
    /// Of these, those that count towards the next rest.
    suspicion: u32,
    rest_until: Option<Instant>,
}

impl Record {
    fn rests(&self, now: Instant) -> Option<Instant> {
        self.rest_until.filter(|until| *until > now)
    }
}

#[derive(Clone, Debug)]
struct Guard {
    entry: Entry,
    record: Record,
}

impl Guard {
    fn is_listed(&self) -> bool {
        self.entry.unlisted == 0
    }
}

/// The guards of one origin. See the head of this module.
#[derive(Clone, Debug)]
pub struct GuardSet {
    size: usize,
    /// In the order in which they were sampled.
    sampled: Vec<Guard>,
    today: u32,
    /// What was stored last.
    stored: GuardState,
}

impl GuardSet {
    /// An empty set that will hold `size` guards, 1 to 21.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self::restore(size, GuardState::default())
    }

    /// The set of an earlier run.
    #[must_use]
    pub fn restore(size: usize, state: GuardState) -> Self {
        let sampled = state.entries.iter().map(|entry| Guard { entry: *entry, record: Record::default() }).collect();
        Self { size: size.clamp(1, ENTRIES_MAX / SAMPLED_PER_GUARD), sampled, today: 0, stored: state }
    }

    /// Tells the set which day it is, in days since 1970. Days do not go back, and a clock that runs ahead of the network
    /// document does not end the service of a guard.
    pub fn advance(&mut self, today: u32) {
        self.today = self.today.max(today);
    }

    /// The state to store, if it is another than the one that was restored or given out last.
    pub fn take_changed(&mut self) -> Option<GuardState> {
        let entries = self.sampled.iter().map(|guard| guard.entry).collect();
        let state = GuardState { entries };
        (state != self.stored).then(|| {
            self.stored = state.clone();
            state
        })
    }

    /// The guard to use now: of those that the network lists, the first in order that is not waiting after a failure
    /// and not in `exclude`; one that rests only when there is no other. First in order is the one through which a circuit
    /// came up first; those through which none did follow as they were sampled.
    ///
    /// Draws the guards at the first call, and replaces those whose service has ended or that left the network.
    ///
    /// # Errors
    /// See [`GuardError`].
    pub fn pick(
        &mut self,
        now: Instant,
        chooser: &Chooser,
        exclude: &[RelayId],
        rng: &mut impl Rng,
    ) -> Result<RelayId, GuardError> {
        self.fill(chooser, rng)?;
        let ordered = self.ordered();
        let allowed = || ordered.iter().filter(|guard| !exclude.contains(&guard.entry.id));
        let ready = allowed().filter(|guard| guard.record.retry_at.is_none_or(|at| at <= now));
        if let Some(guard) = ready.min_by_key(|guard| guard.record.rests(now)) {
            return Ok(guard.entry.id);
        }
        match allowed().filter_map(|guard| guard.record.retry_at).min() {
            Some(at) => Err(GuardError::AllFailing { retry_in: at.saturating_duration_since(now) }),
            None => Err(GuardError::AllExcluded),
        }
    }

    /// A circuit through this guard came up.
    pub fn succeeded(&mut self, id: &RelayId) {
        let ranks = self.sampled.iter().map(|guard| guard.entry.rank).max().unwrap_or(0);
        if let Some(guard) = self.find(id) {
            if guard.entry.rank == 0 {
                guard.entry.rank = ranks + 1;
            }
            let record = &mut guard.record;
            record.successes += 1;
            record.failures_in_a_row = 0;
            record.retry_at = None;
            if record.successes.is_multiple_of(FORGIVE_EVERY) {
                record.suspicion = record.suspicion.saturating_sub(1);
            }
        }
    }

    /// The guard itself did not answer: it is left alone for a while, longer each time.
    pub fn unreachable(&mut self, id: &RelayId, now: Instant) {
        if let Some(Guard { record, .. }) = self.find(id) {
            record.failures += 1;
            let wait = RETRY_FIRST * 2u32.saturating_pow(record.failures_in_a_row.min(16));
            record.failures_in_a_row = record.failures_in_a_row.saturating_add(1);
            record.retry_at = Some(now + wait.min(RETRY_MAX));
        }
    }

    /// A circuit failed behind this guard. It counts in the guard's report, for a guard that kills circuits until it
    /// likes their path shows by its rate, but the guard is not left alone for it.
    pub fn failed_behind(&mut self, id: &RelayId) {
        if let Some(guard) = self.find(id) {
            guard.record.failures += 1;
        }
    }

    /// Something altered packets at this guard or behind it: a reply that does not verify, a set-up refused, a circuit
    /// that ended as damaged. After a few the others of the set go first for a while; no new guard is drawn.
    pub fn tampered(&mut self, id: &RelayId, now: Instant) {
        if let Some(Guard { record, .. }) = self.find(id) {
            record.tampered += 1;
            record.suspicion += 1;
            if record.suspicion > TAMPERED_MAX {
                record.suspicion = 0;
                record.rest_until = Some(now + REST);
            }
        }
    }

    /// How the guards do that the network lists, in the order in which they are used.
    #[must_use]
    pub fn report(&self, now: Instant) -> Vec<GuardReport> {
        self.ordered()
            .into_iter()
            .map(|guard| GuardReport {
                id: guard.entry.id,
                successes: guard.record.successes,
                failures: guard.record.failures,
                waiting: guard.record.retry_at.is_some_and(|at| at > now),
                tampered: guard.record.tampered,
                resting: guard.record.rests(now).is_some(),
            })
            .collect()
    }

    fn find(&mut self, id: &RelayId) -> Option<&mut Guard> {
        self.sampled.iter_mut().find(|guard| guard.entry.id == *id)
    }

    /// Those that the network lists, the proven ones first.
    fn ordered(&self) -> Vec<&Guard> {
        let mut listed: Vec<&Guard> = self.sampled.iter().filter(|guard| guard.is_listed()).collect();
        listed.sort_by_key(|guard| if guard.entry.rank == 0 { u8::MAX } else { guard.entry.rank });
        listed
    }

    fn fill(&mut self, chooser: &Chooser, rng: &mut impl Rng) -> Result<(), GuardError> {
        if chooser.relays() == 0 {
            let shortage = Shortage::Relays;
            return Err(PathError::NotEnough { hops: 2, missing: 2, shortage }.into());
        }
        let today = self.today.min(chooser.last_day());
        self.note_listed(chooser, today);
        self.forget(today);
        let share = chooser.relays() / SHARE_OF_NETWORK;
        let most = share.clamp(self.size * SAMPLED_IN_SMALL, self.size * SAMPLED_PER_GUARD);
        while self.listed() < self.size && self.sampled.len() < most {
            let held: Vec<RelayId> = self.sampled.iter().map(|guard| guard.entry.id).collect();
            // All relays are guards already: a small network.
            let Some(id) = chooser.draw_apart(&held, rng) else { break };
            let until = today.saturating_add(serves(rng));
            let entry = Entry { id, until, unlisted: 0, rank: 0 };
            self.sampled.push(Guard { entry, record: Record::default() });
        }
        if self.listed() == 0 { Err(GuardError::BudgetUsed) } else { Ok(()) }
    }

    fn listed(&self) -> usize {
        self.sampled.iter().filter(|guard| guard.is_listed()).count()
    }

    /// Notes who left the network and who came back.
    fn note_listed(&mut self, chooser: &Chooser, today: u32) {
        for Guard { entry, .. } in &mut self.sampled {
            if chooser.contains(&entry.id) {
                entry.unlisted = 0;
            } else if entry.unlisted == 0 {
                entry.unlisted = today.max(1);
            }
            // Days that a wrong clock wrote down would otherwise hold for ever.
            entry.until = entry.until.min(today.saturating_add(*SERVES_DAYS.end()));
            entry.unlisted = entry.unlisted.min(today.max(1));
        }
    }

    /// Forgets guards whose service has ended, and those that left the network long ago.
    fn forget(&mut self, today: u32) {
        self.sampled.retain(|Guard { entry, .. }| {
            entry.until >= today && (entry.unlisted == 0 || today - entry.unlisted <= FORGET_DAYS)
        });
        let mut proven: Vec<&mut Guard> = self.sampled.iter_mut().filter(|guard| guard.entry.rank > 0).collect();
        proven.sort_by_key(|guard| guard.entry.rank);
        for (guard, rank) in proven.into_iter().zip(1..) {
            guard.entry.rank = rank;
        }
    }
}

/// For how many days a new guard serves.
fn serves(rng: &mut impl Rng) -> u32 {
    let span = u64::from(SERVES_DAYS.end() - SERVES_DAYS.start()) + 1;
    SERVES_DAYS.start() + u32::try_from(below(rng, span)).expect("a number below a small span")
}

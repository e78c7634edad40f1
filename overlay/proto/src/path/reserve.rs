//! The few inner relays from which a session rebuilds its circuits.
//!
//! Whoever can kill circuits (a guard, or anybody who floods a relay) forces their origin to build anew. If each new
//! circuit were a fresh draw from the whole network, enough kills would put relays of the killer at every place. So
//! what is **re**built, a standby included, takes its inner relays from a [`Reserve`]: a small set, drawn once for each
//! session. Relays of it that fail rest and are tried again later; **failure alone brings in nobody**. Relays that
//! leave the network are replaced, and a set of which too many fail may grow, both on a budget that time alone refills.
//!
//! Guards have a set of their own ([`GuardSet`](super::GuardSet)). Nothing here reads a clock.

use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::Chooser;

/// Inner relays of a session unless said otherwise.
pub const RESERVE_DEFAULT: usize = 8;

/// Newcomers that a session may take at once …
const BUDGET: u32 = 2;
/// … and the time in which it earns another one.
const EARN: Duration = Duration::from_secs(600);
/// How long a relay rests after a failure; twice as long after each further one in a row.
const REST_FIRST: Duration = Duration::from_secs(10);
const REST_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
struct Member {
    id: RelayId,
    failures_in_a_row: u32,
    rests_until: Option<Instant>,
}

/// The inner relays of one session. See the head of this module.
#[derive(Clone, Debug)]
pub struct Reserve {
    size: usize,
    members: Vec<Member>,
    drawn: bool,
    budget: u32,
    earning_since: Option<Instant>,
    used: u64,
}

impl Reserve {
    /// An empty set that will hold `size` relays, at least three.
    #[must_use]
    pub fn new(size: usize) -> Self {
        let size = size.max(3);
        Self { size, members: Vec::new(), drawn: false, budget: BUDGET, earning_since: None, used: 0 }
    }

    /// The relays to choose from now: those of the set that do not rest, and that are not in `exclude`; or all of them
    /// that are not in `exclude`, if fewer than `need` would be left. Draws the set at the first call.
    pub fn pick(
        &mut self,
        now: Instant,
        chooser: &Chooser,
        exclude: &[RelayId],
        need: usize,
        rng: &mut impl Rng,
    ) -> Vec<RelayId> {
        self.fill(now, chooser, exclude, need, rng);
        let allowed = || self.members.iter().filter(|member| !exclude.contains(&member.id));
        let rested: Vec<RelayId> = allowed()
            .filter(|member| member.rests_until.is_none_or(|until| until <= now))
            .map(|member| member.id)
            .collect();
        if rested.len() >= need { rested } else { allowed().map(|member| member.id).collect() }
    }

    /// A circuit over this relay died or could not be built; who of its relays did it is not known.
    pub fn failed(&mut self, id: &RelayId, now: Instant) {
        if let Some(member) = self.find(id) {
            let rest = REST_FIRST * 2u32.saturating_pow(member.failures_in_a_row.min(16));
            member.failures_in_a_row = member.failures_in_a_row.saturating_add(1);
            member.rests_until = Some(now + rest.min(REST_MAX));
        }
    }

    /// A circuit over this relay came up.
    pub fn succeeded(&mut self, id: &RelayId) {
        if let Some(member) = self.find(id) {
            member.failures_in_a_row = 0;
            member.rests_until = None;
        }
    }

    /// How many relays were ever in the set.
    #[must_use]
    pub fn ever(&self) -> u64 {
        self.used
    }

    fn find(&mut self, id: &RelayId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == *id)
    }

    fn fill(&mut self, now: Instant, chooser: &Chooser, exclude: &[RelayId], need: usize, rng: &mut impl Rng) {
        self.earn(now);
        let before = self.members.len();
        self.members.retain(|member| chooser.contains(&member.id));
        let gone = before - self.members.len();
        if !self.drawn {
            self.drawn = true;
            while self.members.len() < self.size && self.admit(chooser, &[], rng) {}
            return;
        }
        let usable = self
            .members
            .iter()
            .filter(|member| !exclude.contains(&member.id) && member.rests_until.is_none_or(|until| until <= now))
            .count();
        let mut wanted = gone.max(need.saturating_sub(usable));
        while wanted > 0 && self.budget > 0 && self.admit(chooser, exclude, rng) {
            self.budget -= 1;
            wanted -= 1;
        }
    }

    fn earn(&mut self, now: Instant) {
        let since = *self.earning_since.get_or_insert(now);
        let earned = u32::try_from(now.saturating_duration_since(since).as_secs() / EARN.as_secs()).unwrap_or(u32::MAX);
        if earned > 0 {
            self.budget = self.budget.saturating_add(earned).min(BUDGET);
            self.earning_since = Some(since + EARN * earned);
        }
    }

    /// Draws one more by weight, among those that are not in the set nor in `exclude`.
    fn admit(&mut self, chooser: &Chooser, exclude: &[RelayId], rng: &mut impl Rng) -> bool {
        let members: Vec<RelayId> = self.members.iter().map(|member| member.id).collect();
        let Some(id) = chooser.draw_other(&[&members, exclude], rng) else { return false };
        self.members.push(Member { id, failures_in_a_row: 0, rests_until: None });
        self.used += 1;
        true
    }
}

//! Second relays of services: a few that stay for days.
//!
//! Whoever knows a service's address can make it build circuits, as many as they have patience for. If the relay behind the guard were
//! drawn anew for each, one of them would soon be the adversary's, which then sees the guard. So a service's second relays come from a
//! small set whose members stay for days, whatever fails (Tor's vanguards-lite, proposal 333): to find the guard, the adversary has
//! to run, or to break into, one of these four, and wait for it.

#[cfg(test)]
mod tests;

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::candidates::below;
use super::{Chooser, Narrow, PathError, PathRequest, Shortage};
use crate::wire::codec::{Error, ErrorKind, Reader, Writer};

/// Second relays of a service unless said otherwise.
pub const SECOND_DEFAULT: usize = 4;

/// How long a member stays: the longer of two times drawn between these, in seconds.
const STAY_MIN: u64 = 86_400;
const STAY_MAX: u64 = 12 * 86_400;
/// Members that may be taken in, before their time, for such as left the network; they come back once a day.
const BUDGET: u32 = 2;
const EARN: u64 = 86_400;
/// The most members that are read from a file.
const MEMBERS_MAX: usize = 32;
const VERSION: u8 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Member {
    id: RelayId,
    until: u64,
}

/// The second relays of one service. See the head of this module. Times are unix seconds, as the set outlives the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecondLayer {
    size: usize,
    members: Vec<Member>,
    budget: u32,
    earning_since: u64,
}

impl SecondLayer {
    /// An empty set that will hold `size` relays, at least two.
    #[must_use]
    pub fn new(size: usize) -> Self {
        Self { size: size.clamp(2, MEMBERS_MAX / 2), members: Vec::new(), budget: BUDGET, earning_since: 0 }
    }

    /// The relays to choose the second one from. Draws those that lack: at the first call, when a member's time is over, and, on a budget,
    /// when one has left the network. Says whether the set has changed, and is to be kept.
    pub fn members(&mut self, unix: u64, chooser: &Chooser, rng: &mut impl Rng) -> (Vec<RelayId>, bool) {
        let before = self.clone();
        let first = self.members.is_empty();
        // A clock that was wrong must not make a member stay for ever.
        self.members.retain(|member| (unix..=unix.saturating_add(STAY_MAX)).contains(&member.until));
        let over = before.members.len() - self.members.len();
        self.earn(unix);
        let here = |members: &[Member]| members.iter().filter(|member| chooser.contains(&member.id)).count();
        let mut free = if first { self.size } else { over };
        while here(&self.members) < self.size && self.members.len() < MEMBERS_MAX {
            if free > 0 {
                free -= 1;
            } else if self.budget > 0 {
                self.budget -= 1;
            } else {
                break;
            }
            let held: Vec<RelayId> = self.members.iter().map(|member| member.id).collect();
            let Some(id) = chooser.draw_apart(&held, rng) else { break };
            let mut stay = || STAY_MIN + below(rng, STAY_MAX - STAY_MIN + 1);
            let until = unix.saturating_add(stay().max(stay()));
            self.members.push(Member { id, until });
        }
        let ids = self.members.iter().map(|member| member.id).filter(|id| chooser.contains(id)).collect();
        (ids, *self != before)
    }

    fn earn(&mut self, unix: u64) {
        if self.earning_since == 0 || self.earning_since > unix {
            self.earning_since = unix;
        }
        let earned = (unix - self.earning_since) / EARN;
        self.budget = u32::try_from(earned).unwrap_or(u32::MAX).saturating_add(self.budget).min(BUDGET);
        self.earning_since += earned * EARN;
    }

    /// The bytes of a file. Whoever reads it knows what the service's circuits go through: it is a secret.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        w.count8(self.size);
        w.u32(self.budget);
        w.u64(self.earning_since);
        w.count8(self.members.len());
        for member in &self.members {
            w.put(&member.id.0);
            w.u64(member.until);
        }
        w.finish()
    }

    /// Reads them.
    ///
    /// # Errors
    /// What was wrong, and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let size = r.check(|r| match usize::from(r.u8()?) {
            size if (2..=MEMBERS_MAX / 2).contains(&size) => Ok(size),
            _ => Err(r.error(ErrorKind::Invalid)),
        })?;
        let budget = r.check(|r| match r.u32()? {
            budget if budget <= BUDGET => Ok(budget),
            _ => Err(r.error(ErrorKind::Invalid)),
        })?;
        let earning_since = r.u64()?;
        let count = r.count8(MEMBERS_MAX)?;
        let members = (0..count)
            .map(|_| Ok(Member { id: RelayId(r.array()?), until: r.u64()? }))
            .collect::<Result<_, Error>>()?;
        r.finish()?;
        Ok(Self { size, members, budget, earning_since })
    }
}

/// Chooses a path whose second relay is one of `second`.
///
/// # Errors
/// As [`Chooser::select`]; a path without a guard or of two relays has no second one of its own choice and is as that makes it.
pub fn select_behind(
    chooser: &mut Chooser,
    want: &PathRequest<'_>,
    second: &[RelayId],
    rng: &mut impl Rng,
) -> Result<Vec<RelayId>, PathError> {
    let (Some(guard), 3..) = (want.guard, want.hops) else { return chooser.select(want, rng) };
    if want.hops == 3 {
        return chooser.select_narrow(want, Narrow { inner: Some(second), last: None }, rng);
    }
    // Drawn from the second relay on; whatever may not stand beside the guard is left out.
    let mut exclude = chooser.kin(&guard);
    exclude.extend_from_slice(want.exclude);
    let mut seconds: Vec<RelayId> =
        second.iter().copied().filter(|id| !exclude.contains(id) && want.last.given() != Some(*id)).collect();
    let mut problem = PathError::NotEnough { hops: want.hops, missing: 1, shortage: Shortage::Relays };
    while !seconds.is_empty() {
        let at = below(rng, seconds.len() as u64);
        let id = seconds.swap_remove(usize::try_from(at).expect("an index below a length fits"));
        let rest = PathRequest { hops: want.hops - 1, exclude: &exclude, guard: Some(id), ..*want };
        match chooser.select(&rest, rng) {
            Ok(rest) => return Ok(std::iter::once(guard).chain(rest).collect()),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

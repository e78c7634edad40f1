//! Drawing paths by weight, within the anonymity floor.

use rand_core::Rng;
use zmesh_sphinx::{MAX_HOPS, RelayId};

use super::candidates::{Candidates, Place};
use super::facts::{Distinct, Facts, Weights};
use super::latency::{Latency, link};
use super::preference::{Preference, Strength};
use super::survey::{Survey, Uncertainty, last_shares};
use super::{LastHop, OWN_HOPS_MAX, PathError, PathRequest, Shortage};
use crate::directory::Network;

/// Independent draws before all paths are gone through.
const DRAWS: usize = 2_048;

/// Kinds of requests whose strength is remembered.
const REMEMBERED: usize = 64;

/// Which relays a request is narrowed down to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Narrow<'a> {
    /// Those that may stand between first and last, and that may splice if the request leaves open which relay does. They
    /// were drawn by weight before, so among them all are equal.
    pub inner: Option<&'a [RelayId]>,
    /// The only one that may be last.
    pub last: Option<RelayId>,
}

/// What a choice left open and gave up.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The strength that the preference asks for.
    pub asked: Strength,
    /// The strength in use: weakened where the floor demands it.
    pub used: Strength,
    /// Of how many paths one was drawn.
    pub paths: u64,
    /// What a uniform choice would leave open. Nothing if there are too many paths to look at.
    pub uniform: Option<Uncertainty>,
    /// What this choice leaves open.
    pub chosen: Option<Uncertainty>,
    /// Whether any relay's capacity was measured.
    pub capacities_known: bool,
    /// Whether the network has a map of latencies.
    pub latencies_known: bool,
}

/// What identifies a kind of request, as far as its strength is concerned.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Kind {
    hops: usize,
    last: LastHop,
    country: Option<[u8; 2]>,
    guard: Option<RelayId>,
}

/// Draws paths in one network by a [`Preference`]: every path comes with a probability that is exactly its share of all
/// weights. Making one costs more than drawing from it: keep it as long as the network document holds.
///
/// The strength for a kind of request is found at its first draw, which looks at every path once (a guard given, 1,000
/// relays and any relay as the last: about 10 ms); later draws cost microseconds.
pub struct Chooser {
    facts: Vec<Facts>,
    weights: Weights,
    latency: Latency,
    preference: Preference,
    test_network: bool,
    pub(super) valid_until: u64,
    strengths: Vec<(Kind, Strength)>,
}

impl Chooser {
    /// Weighs the relays of a network.
    #[must_use]
    pub fn new(network: &Network, preference: Preference) -> Self {
        let facts = Facts::all(network);
        let weights = Weights::new(network, &facts, preference.strength, preference.floor);
        let latency = Latency::new(&facts);
        Self {
            weights,
            latency,
            facts,
            preference,
            test_network: network.is_test_network(),
            valid_until: network.valid_until(),
            strengths: Vec::new(),
        }
    }

    /// Chooses a path.
    ///
    /// # Errors
    /// See [`PathError`]. [`PathError::NotEnough`] only when there is truly no path.
    pub fn select(&mut self, want: &PathRequest<'_>, rng: &mut impl Rng) -> Result<Vec<RelayId>, PathError> {
        self.select_narrow(want, Narrow::default(), rng)
    }

    /// Chooses a path among some relays only.
    ///
    /// # Errors
    /// As [`Chooser::select`]; [`PathError::UnknownRelay`] for a last relay that is not in the network.
    pub fn select_narrow(
        &mut self,
        want: &PathRequest<'_>,
        narrow: Narrow<'_>,
        rng: &mut impl Rng,
    ) -> Result<Vec<RelayId>, PathError> {
        self.check(want)?;
        if let Some(last) = narrow.last.filter(|last| !self.contains(last)) {
            return Err(PathError::UnknownRelay(last));
        }
        let strength = self.strength(want);
        let candidates = self.candidates(want, narrow);
        for rules in self.rules(want) {
            let found = candidates
                .draw(want.hops, rules, strength, DRAWS, rng)
                .or_else(|| candidates.draw_exactly(want.hops, rules, strength, rng));
            if let Some(path) = found {
                return Ok(path.into_iter().map(|at| self.facts[at].id).collect());
            }
        }
        // How many relays are missing does not depend on which of them is the guard, unless that alone is in the way.
        let strictest = Distinct::strictest(self.test_network);
        let open = PathRequest { guard: None, ..*want };
        let among = self.candidates(&open, narrow);
        if want.guard.is_some() && among.count(want.hops, strictest) == 0 {
            return Err(explain(&among, &open, strictest));
        }
        Err(explain(&candidates, want, strictest))
    }

    /// What the choice for this request leaves open and gave up. Looks at every path.
    ///
    /// # Errors
    /// As [`Chooser::select`], but not [`PathError::NotEnough`].
    pub fn explain(&mut self, want: &PathRequest<'_>) -> Result<Explanation, PathError> {
        self.check(want)?;
        let used = self.strength(want);
        let candidates = self.candidates(want, Narrow::default());
        let rules = self.rules_in_use(&candidates, want);
        let survey = |capacity| Survey::new(&candidates, &self.weights.adversary, want.hops, rules, capacity);
        Ok(Explanation {
            asked: self.preference.strength.bounded(),
            used,
            paths: candidates.count(want.hops, rules),
            uniform: survey(0).map(|survey| survey.uncertainty(&self.latency, 0)),
            chosen: survey(used.capacity).map(|survey| survey.uncertainty(&self.latency, used.latency)),
            capacities_known: self.weights.measured,
            latencies_known: self.latency.is_known(),
        })
    }

    /// How many paths satisfy the request.
    ///
    /// # Errors
    /// As [`Chooser::explain`].
    pub fn count(&self, want: &PathRequest<'_>) -> Result<u64, PathError> {
        self.check(want)?;
        let candidates = self.candidates(want, Narrow::default());
        Ok(candidates.count(want.hops, self.rules_in_use(&candidates, want)))
    }

    /// The probability of each relay to be the last one, for those that can be. Looks at every path; nothing if there are
    /// too many or none.
    ///
    /// # Errors
    /// As [`Chooser::explain`].
    pub fn last_relays(&mut self, want: &PathRequest<'_>) -> Result<Vec<(RelayId, f64)>, PathError> {
        self.check(want)?;
        let strength = self.strength(want);
        let candidates = self.candidates(want, Narrow::default());
        let rules = self.rules_in_use(&candidates, want);
        let shares = last_shares(&candidates, want.hops, rules, strength).unwrap_or_default();
        let ids = self.facts.iter().map(|relay| relay.id);
        Ok(ids.zip(shares).filter(|(_, share)| *share > 0.0).collect())
    }

    /// How strongly requests of this kind prefer some relays: as asked for, or less where the floor demands it. What the
    /// request leaves out does not count.
    fn strength(&mut self, want: &PathRequest<'_>) -> Strength {
        let kind = Kind { hops: want.hops, last: want.last, country: want.country, guard: want.guard };
        if let Some((_, strength)) = self.strengths.iter().find(|(known, _)| *known == kind) {
            return *strength;
        }
        let strength = self.find_strength(&PathRequest { exclude: &[], ..*want });
        if self.strengths.len() == REMEMBERED {
            self.strengths.remove(0);
        }
        self.strengths.push((kind, strength));
        strength
    }

    fn find_strength(&self, want: &PathRequest<'_>) -> Strength {
        let asked = self.preference.strength.bounded();
        let idle = !self.weights.measured && (asked.latency == 0 || !self.latency.is_known());
        if asked == Strength::NONE || idle {
            return Strength::NONE;
        }
        let candidates = self.candidates(want, Narrow::default());
        let rules = self.rules_in_use(&candidates, want);
        let survey = |capacity| Survey::new(&candidates, &self.weights.adversary, want.hops, rules, capacity);
        // What cannot be looked at is not preferred: the floor wins.
        let Some(uniform) = survey(0).map(|survey| survey.uncertainty(&self.latency, 0)) else {
            return Strength::NONE;
        };
        let mut at = None;
        for strength in Preference::ladder(asked) {
            if at.as_ref().is_none_or(|(capacity, _)| *capacity != strength.capacity) {
                at = survey(strength.capacity).map(|survey| (strength.capacity, survey));
            }
            let left = at.as_ref().map(|(_, survey)| survey.uncertainty(&self.latency, strength.latency));
            if left.is_some_and(|left| left.keeps(&uniform, self.preference.floor)) {
                return strength;
            }
        }
        Strength::NONE
    }

    fn candidates(&self, want: &PathRequest<'_>, narrow: Narrow<'_>) -> Candidates<'_> {
        Candidates::new(&self.facts, &self.weights, &self.latency, want, narrow)
    }

    /// The rules in the order in which they are tried.
    fn rules(&self, want: &PathRequest<'_>) -> Vec<Distinct> {
        let strictest = Distinct::strictest(self.test_network);
        let mut rules = vec![strictest];
        if want.last.given().is_some() && strictest.last {
            rules.push(Distinct { last: false, ..strictest });
        }
        rules
    }

    /// The first of them by which there is a path, or the last one.
    fn rules_in_use(&self, candidates: &Candidates<'_>, want: &PathRequest<'_>) -> Distinct {
        let rules = self.rules(want);
        let (last, earlier) = rules.split_last().expect("there is at least one set of rules");
        earlier.iter().find(|rules| candidates.count(want.hops, **rules) > 0).copied().unwrap_or(*last)
    }

    fn check(&self, want: &PathRequest<'_>) -> Result<(), PathError> {
        let min = if self.test_network { 1 } else { 2 };
        let max = if want.last.given().is_some() { MAX_HOPS } else { OWN_HOPS_MAX };
        if !(min..=max).contains(&want.hops) {
            return Err(PathError::Hops { hops: want.hops, min, max });
        }
        if let Some(id) = want.last.given() {
            let relay = self.find(&id).ok_or(PathError::UnknownRelay(id))?;
            match want.last {
                LastHop::Meeting(_) if !relay.meeting => return Err(PathError::NotMeeting(id)),
                LastHop::Cache(_) if !relay.cache => return Err(PathError::NotCache(id)),
                _ => {}
            }
            if want.guard == Some(id) && want.hops > 1 {
                return Err(PathError::GuardUnusable(id));
            }
        }
        if let Some(guard) = want.guard {
            self.find(&guard).ok_or(PathError::UnknownRelay(guard))?;
            if want.exclude.contains(&guard) {
                return Err(PathError::GuardUnusable(guard));
            }
        }
        Ok(())
    }

    fn find(&self, id: &RelayId) -> Option<&Facts> {
        self.facts.binary_search_by_key(id, |relay| relay.id).ok().map(|at| &self.facts[at])
    }

    /// Whether the network has this relay.
    #[must_use]
    pub fn contains(&self, id: &RelayId) -> bool {
        self.find(id).is_some()
    }

    /// How many relays the network has.
    #[must_use]
    pub fn relays(&self) -> usize {
        self.facts.len()
    }

    /// The round-trip time of a link between two relays as the map has it, in milliseconds; nothing if one of them is not on
    /// the map or not in the network.
    #[must_use]
    pub fn expected_ms(&self, a: &RelayId, b: &RelayId) -> Option<f64> {
        let (a, b) = (self.find(a)?, self.find(b)?);
        let placed = a.place.is_some() && b.place.is_some();
        placed.then(|| f64::from(link(a, b)) / 10.0)
    }

    /// How strongly single relays are preferred by capacity, guards above all: as asked for, or less where the floor
    /// demands it.
    #[must_use]
    pub fn single_strength(&self) -> u8 {
        self.weights.single_strength()
    }

    /// The probability of each relay to be drawn as the first guard of a set.
    #[must_use]
    pub fn guard_shares(&self) -> Vec<(RelayId, f64)> {
        let weights = self.weights.single();
        let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        self.facts.iter().zip(weights).map(|(relay, weight)| (relay.id, f64::from(*weight) / all)).collect()
    }

    /// The last day on which the network document holds, since 1970.
    pub(super) fn last_day(&self) -> u32 {
        u32::try_from(self.valid_until / 86_400).unwrap_or(u32::MAX)
    }

    /// Draws one relay by weight among those that differ from all of `held` in operator, family and network; if there are
    /// none, among those that are simply others. A test network asks for no difference.
    pub(super) fn draw_apart(&self, held: &[RelayId], rng: &mut impl Rng) -> Option<RelayId> {
        let rules = Distinct::strictest(self.test_network);
        let held_facts: Vec<&Facts> = held.iter().filter_map(|id| self.find(id)).collect();
        let others: Vec<usize> = (0..self.facts.len()).filter(|at| !held.contains(&self.facts[*at].id)).collect();
        let apart = |at: &usize| held_facts.iter().all(|other| self.facts[*at].may_join(other, rules));
        let distinct: Vec<usize> = others.iter().copied().filter(apart).collect();
        self.draw_single(if distinct.is_empty() { others } else { distinct }, rng)
    }

    /// The relays that may not stand on a path with this one, itself included.
    pub(super) fn kin(&self, id: &RelayId) -> Vec<RelayId> {
        let rules = Distinct::strictest(self.test_network);
        let Some(relay) = self.find(id) else { return Vec::new() };
        let may_not = |other: &&Facts| other.id == *id || !other.may_join(relay, rules);
        self.facts.iter().filter(may_not).map(|other| other.id).collect()
    }

    /// Draws one relay by weight among those that are none of `held`.
    pub(super) fn draw_other(&self, held: &[&[RelayId]], rng: &mut impl Rng) -> Option<RelayId> {
        let is_held = |at: &usize| held.iter().any(|list| list.contains(&self.facts[*at].id));
        self.draw_single((0..self.facts.len()).filter(|at| !is_held(at)).collect(), rng)
    }

    fn draw_single(&self, list: Vec<usize>, rng: &mut impl Rng) -> Option<RelayId> {
        let weights = self.weights.single();
        (!list.is_empty()).then(|| self.facts[Place::new(list, |at| weights[at]).draw(rng)].id)
    }
}

#[cfg(test)]
impl Chooser {
    /// Draws without drawing freely first.
    pub(super) fn draw_exhaustively(&mut self, want: &PathRequest<'_>, rng: &mut impl Rng) -> Option<Vec<RelayId>> {
        let strength = self.strength(want);
        let candidates = self.candidates(want, Narrow::default());
        let path = candidates.draw_exactly(want.hops, Distinct::strictest(self.test_network), strength, rng)?;
        Some(path.into_iter().map(|at| self.facts[at].id).collect())
    }

    /// Who may stand at each place and what they weigh there: last, first, then the inner ones.
    pub(super) fn weights_by_place(&self, want: &PathRequest<'_>, strength: Strength) -> Vec<Vec<(RelayId, u64)>> {
        let places = self.candidates(want, Narrow::default()).places(want.hops, strength);
        let weights = |place: &Place| {
            let weigh = |(position, at): (usize, &usize)| (self.facts[*at].id, place.weight(position));
            place.list.iter().enumerate().map(weigh).collect()
        };
        places.iter().map(weights).collect()
    }

    /// Takes these relays out of the network. The weights of the others are no longer theirs.
    pub(super) fn strike(&mut self, struck: &[RelayId]) {
        self.facts.retain(|relay| !struck.contains(&relay.id));
    }
}

impl std::fmt::Debug for Chooser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chooser").field("relays", &self.facts.len()).finish_non_exhaustive()
    }
}

/// Finds out what stands in the way, by lifting one rule after the other.
fn explain(candidates: &Candidates<'_>, want: &PathRequest<'_>, strictest: Distinct) -> PathError {
    let reached = (1..want.hops).rev().find(|hops| candidates.count(*hops, strictest) > 0).unwrap_or(0);
    let none = Distinct::default();
    let shortage = if candidates.last_is_empty() {
        match want.last {
            LastHop::Exit { port, v6 } => match want.country {
                Some(country) => Shortage::ExitsThere { port, v6, country },
                None => Shortage::Exits { port, v6 },
            },
            LastHop::AnyMeeting => Shortage::MeetingRelays,
            LastHop::AnyDirectory => Shortage::DirectoryRelays,
            LastHop::Any | LastHop::Meeting(_) | LastHop::Cache(_) => Shortage::Relays,
        }
    } else if candidates.count(want.hops, none) == 0 {
        Shortage::Relays
    } else {
        let without = [
            (Distinct { operator: false, ..strictest }, Shortage::Operators),
            (Distinct { family: false, ..strictest }, Shortage::Families),
            (Distinct { prefix: false, ..strictest }, Shortage::Prefixes),
        ];
        without
            .into_iter()
            .find(|(rules, _)| candidates.count(want.hops, *rules) > 0)
            .map_or(Shortage::Combination, |(_, shortage)| shortage)
    };
    PathError::NotEnough { hops: want.hops, missing: want.hops - reached, shortage }
}

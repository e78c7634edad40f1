//! From ballots to a document: a function that everybody computes alike.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use zmesh_sphinx::RelayId;

use crate::directory::{Coordinate, Head, Measure};
use crate::wire::control::vote::{Ballot, Scope, Sighting};
use crate::wire::control::{Genesis, Parameters, RelayEntry, RelayFlags, Voter, VoterSet};
use crate::wire::document::{RELAYS_MAX, SignerId};

/// Which median uptime, in thousandths, makes a relay [`RelayFlags::STABLE`].
const STABLE_UPTIME: u16 = 950;
const RANDOM_CONTEXT: &[u8] = b"zmesh epoch random v1\0";

/// What ballots amount to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The relays, sorted by id.
    pub relays: Vec<RelayEntry>,
    /// The voters of the document after, if they are others.
    pub voters: Option<VoterSet>,
    /// The parameters.
    pub parameters: Parameters,
}

/// Counts ballots, each with the place of its voter among the voters of `head`.
#[must_use]
pub fn count(genesis: &Genesis, head: &Head, ballots: &[(u8, &Ballot)]) -> Counted {
    let electorate = Electorate { genesis, head };
    Counted {
        relays: electorate.relays(ballots),
        voters: electorate.voters(ballots),
        parameters: electorate.parameters(ballots),
    }
}

/// The randomness of a document: a hash over the secrets that it names.
pub(super) fn randomness(scope: &Scope, voters: &VoterSet, secrets: &[(u8, [u8; 32])]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(RANDOM_CONTEXT).chain_update(scope.network.0).chain_update(scope.previous.0);
    for (place, secret) in secrets {
        if let Some(voter) = voters.at(usize::from(*place)) {
            hash.update(voter.key.0);
        }
        hash.update(secret);
    }
    hash.finalize().into()
}

struct Electorate<'a> {
    genesis: &'a Genesis,
    head: &'a Head,
}

type Seen<'a> = Vec<(u8, &'a Sighting)>;

impl Electorate<'_> {
    /// How many have to have seen a relay: as agreed, but always more than may lie and never more than are honest.
    fn needed(&self) -> usize {
        let voters = &self.head.voters;
        let honest = voters.len() - voters.tolerated();
        self.head.parameters.seen_by().clamp(voters.tolerated() + 1, honest)
    }

    /// How many of these voters are of different operators. A test network may have one operator only.
    fn distinct(&self, places: impl Iterator<Item = u8>) -> usize {
        if self.genesis.terms().test_network {
            return places.collect::<BTreeSet<_>>().len();
        }
        let operator = |place: u8| self.head.voters.at(usize::from(place)).map(|voter| voter.operator.to_lowercase());
        places.filter_map(operator).collect::<BTreeSet<_>>().len()
    }

    fn relays(&self, ballots: &[(u8, &Ballot)]) -> Vec<RelayEntry> {
        let mut seen: BTreeMap<RelayId, Seen<'_>> = BTreeMap::new();
        for (place, ballot) in ballots {
            for sighting in &ballot.sightings {
                seen.entry(sighting.id).or_default().push((*place, sighting));
            }
        }
        let mut counted: Vec<(usize, RelayEntry, u16)> =
            seen.into_iter().filter_map(|(id, seen)| self.relay(id, &seen)).collect();
        if counted.len() > RELAYS_MAX {
            // Those that most saw; among them those of lower id, which costs a key search to choose.
            counted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
            counted.truncate(RELAYS_MAX);
            counted.sort_by_key(|(_, entry, _)| entry.id);
        }
        let measured = counted.iter().map(|(_, entry, _)| entry.measure.capacity).filter(|capacity| *capacity > 0);
        let middle = median(measured.collect());
        counted
            .into_iter()
            .map(|(_, entry, uptime)| {
                let fast = middle.is_some_and(|middle| entry.measure.capacity >= middle);
                let stable = uptime >= STABLE_UPTIME;
                let flags = entry.flags
                    | RelayFlags::FAST.when(fast)
                    | RelayFlags::STABLE.when(stable)
                    | RelayFlags::GUARD.when(fast && stable);
                RelayEntry { flags, ..entry }
            })
            .collect()
    }

    /// A relay that enough saw with one and the same descriptor, and the median of its uptimes.
    fn relay(&self, id: RelayId, seen: &Seen<'_>) -> Option<(usize, RelayEntry, u16)> {
        let mut by_descriptor: BTreeMap<[u8; 32], Seen<'_>> = BTreeMap::new();
        for (place, sighting) in seen {
            by_descriptor.entry(sighting.descriptor).or_default().push((*place, sighting));
        }
        let (support, descriptor, named) = by_descriptor
            .into_iter()
            .map(|(descriptor, named)| (self.distinct(named.iter().map(|(place, _)| *place)), descriptor, named))
            .max_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)))?;
        if support < self.needed() {
            return None;
        }
        let uptime = median(seen.iter().map(|(_, sighting)| sighting.uptime).collect()).unwrap_or(0);
        let said = RelayFlags::SAID
            .into_iter()
            .filter(|flag| {
                2 * named.iter().filter(|(_, sighting)| sighting.flags.contains(*flag)).count() > named.len()
            })
            .fold(RelayFlags::default(), |all, flag| all | flag);
        Some((support, RelayEntry { id, descriptor, measure: self.measure(seen), flags: said }, uptime))
    }

    /// Medians, where so many measured that those in the middle lie between figures of honest voters.
    fn measure(&self, seen: &Seen<'_>) -> Measure {
        let enough = 2 * self.head.voters.tolerated() + 1;
        let capacities: Vec<u32> =
            seen.iter().map(|(_, sighting)| sighting.measure.capacity).filter(|capacity| *capacity > 0).collect();
        let places: Vec<Coordinate> = seen.iter().filter_map(|(_, sighting)| sighting.measure.place).collect();
        let capacity = if capacities.len() >= enough { median(capacities).unwrap_or(0) } else { 0 };
        let place = (places.len() >= enough).then(|| Coordinate {
            x: median(places.iter().map(|place| place.x).collect()).unwrap_or(0),
            y: median(places.iter().map(|place| place.y).collect()).unwrap_or(0),
            height: median(places.iter().map(|place| place.height).collect()).unwrap_or(0),
        });
        Measure { capacity, place }
    }

    /// Changes that strictly more than two thirds of all voters ask for, a quarter of the set at most at a time.
    fn voters(&self, ballots: &[(u8, &Ballot)]) -> Option<VoterSet> {
        let now = &self.head.voters;
        let quorum = now.quorum();
        let changes = (now.len() / 4).max(1);
        let cap = self.genesis.voters_per_operator();

        let mut unwanted: BTreeMap<SignerId, usize> = BTreeMap::new();
        let mut wanted: BTreeMap<(SignerId, &str), usize> = BTreeMap::new();
        for (_, ballot) in ballots {
            for key in &ballot.unwanted {
                *unwanted.entry(*key).or_default() += 1;
            }
            for voter in ballot.wanted.iter().flat_map(VoterSet::voters) {
                *wanted.entry((voter.key, &voter.operator)).or_default() += 1;
            }
        }
        let leaving: Vec<SignerId> = now
            .voters()
            .iter()
            .map(|voter| voter.key)
            .filter(|key| unwanted.get(key).is_some_and(|n| *n >= quorum))
            .collect();
        let mut left = changes;
        let mut next: Vec<Voter> = now.voters().to_vec();
        for key in leaving.into_iter().take(changes) {
            if next.len() > 1 {
                next.retain(|voter| voter.key != key);
                left -= 1;
            }
        }
        let mut joining: Vec<(usize, SignerId, &str)> = wanted
            .into_iter()
            .filter(|((key, _), votes)| *votes >= quorum && now.place(key).is_none())
            .map(|((key, operator), votes)| (votes, key, operator))
            .collect();
        joining.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (_, key, operator) in joining {
            if left == 0 || next.len() >= self.head.parameters.voters() {
                break;
            }
            let same = next.iter().filter(|voter| voter.operator.to_lowercase() == operator.to_lowercase()).count();
            if same < cap && next.iter().all(|voter| voter.key != key) {
                next.push(Voter { key, operator: operator.to_owned() });
                left -= 1;
            }
        }
        // A set that breaks a rule, by whatever voters named, changes nothing.
        VoterSet::new(next, cap).ok().filter(|next| next != now)
    }

    fn parameters(&self, ballots: &[(u8, &Ballot)]) -> Parameters {
        let mut stated: BTreeMap<(&str, u32), usize> = BTreeMap::new();
        for (_, ballot) in ballots {
            for parameter in ballot.parameters.iter() {
                *stated.entry(parameter).or_default() += 1;
            }
        }
        let quorum = self.head.voters.quorum();
        stated
            .into_iter()
            .filter(|(_, votes)| *votes >= quorum)
            .fold(self.head.parameters.clone(), |all, ((name, value), _)| all.clone().with(name, value).unwrap_or(all))
    }
}

/// The middle of these, the lower one of two.
fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

//! At which relays a node that nobody reaches directly takes places to be met.
//!
//! Whoever relays can grant a place and then carry nobody, and its owner does not see that. So nobody outside can work out whom this node
//! asks, a place is not the only one, and none is kept for long.
//!
//! Pure: it is told which relays there are, and `now` is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::PeerIdentity;
use crate::gate::Network;

/// Places at once.
const PLACES: usize = 2;
/// How often the older one is given up for another.
const CHANGE_EVERY: Duration = Duration::from_secs(3_600);
/// How long a relay that gave no place, or lost it, or had its time, is not asked for another.
const REST: Duration = Duration::from_secs(300);

/// A connected peer that relays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Relay {
    pub(super) identity: PeerIdentity,
    pub(super) network: Network,
}

/// The places, each with what stands for it in the swarm.
pub(super) struct Places<L> {
    /// Of this run.
    secret: Zeroizing<[u8; 32]>,
    draws: u64,
    /// The oldest first.
    held: Vec<(Relay, L)>,
    /// Relays that rest, and until when.
    resting: BTreeMap<PeerIdentity, Instant>,
    changed: Instant,
}

impl<L: Copy + PartialEq> Places<L> {
    pub(super) fn new(secret: Zeroizing<[u8; 32]>, now: Instant) -> Self {
        Self { secret, draws: 0, held: Vec::new(), resting: BTreeMap::new(), changed: now }
    }

    /// The relay to ask for a place, if one is lacking: drawn by a secret, first a network and then one of its relays, so that many
    /// identities in one network are no more than one; and not of a network where a place is already, if there are others.
    pub(super) fn draw(&mut self, relays: &[Relay], now: Instant) -> Option<Relay> {
        if self.held.len() >= PLACES {
            return None;
        }
        self.resting.retain(|_, until| now < *until);
        self.draws += 1;
        let near = |relay: &Relay| self.held.iter().any(|(held, _)| held.network == relay.network);
        let chance = |relay: &Relay| {
            let network = self.lot(relay.network.ip().to_string().as_bytes());
            (near(relay), network, self.lot(&relay.identity.0))
        };
        relays.iter().copied().filter(|relay| self.is_free(relay)).min_by_key(chance)
    }

    /// A relay was asked for a place.
    pub(super) fn asked(&mut self, relay: Relay, listener: L, now: Instant) {
        if self.held.is_empty() {
            self.changed = now;
        }
        self.held.push((relay, listener));
    }

    /// The place to give up, if it is time for that and another relay can be asked instead.
    pub(super) fn give_up(&mut self, relays: &[Relay], now: Instant) -> Option<L> {
        self.resting.retain(|_, until| now < *until);
        let due = now.saturating_duration_since(self.changed) >= CHANGE_EVERY;
        if !due || self.held.len() < PLACES || !relays.iter().any(|relay| self.is_free(relay)) {
            return None;
        }
        self.changed = now;
        let (relay, listener) = self.held.remove(0);
        self.resting.insert(relay.identity, now + REST);
        Some(listener)
    }

    /// A place is none any more, or never was one.
    pub(super) fn lost(&mut self, listener: L, now: Instant) {
        if let Some(at) = self.held.iter().position(|(_, held)| *held == listener) {
            let (relay, _) = self.held.remove(at);
            self.resting.insert(relay.identity, now + REST);
        }
    }

    /// What stands for the place at a relay.
    pub(super) fn at(&self, relay: &PeerIdentity) -> Option<L> {
        self.held.iter().find(|(held, _)| held.identity == *relay).map(|(_, listener)| *listener)
    }

    /// Gives up all.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = L> + use<L> {
        std::mem::take(&mut self.held).into_iter().map(|(_, listener)| listener)
    }

    fn is_free(&self, relay: &Relay) -> bool {
        self.at(&relay.identity).is_none() && !self.resting.contains_key(&relay.identity)
    }

    /// A number of this draw that nobody outside can work out.
    fn lot(&self, of: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(&self.secret[..])
            .chain_update(self.draws.to_be_bytes())
            .chain_update(of)
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::network;

    const OWN: [u8; 32] = [0x5a; 32];

    fn relay(n: u8, ip: [u8; 4]) -> Relay {
        Relay { identity: PeerIdentity([n; 32]), network: network(ip.into()) }
    }

    fn places(seed: u8, now: Instant) -> Places<PeerIdentity> {
        Places::new(Zeroizing::new([seed; 32]), now)
    }

    /// Fills the places; gives the relays.
    fn fill(places: &mut Places<PeerIdentity>, relays: &[Relay], now: Instant) -> Vec<PeerIdentity> {
        while let Some(relay) = places.draw(relays, now) {
            places.asked(relay, relay.identity, now);
        }
        places.held.iter().map(|(relay, _)| relay.identity).collect()
    }

    #[test]
    fn nobody_makes_a_key_that_is_always_asked() {
        let now = Instant::now();
        let mut near = OWN;
        near[31] ^= 1;
        let near = Relay { identity: PeerIdentity(near), network: network([9, 9, 9, 9].into()) };
        let relays: Vec<Relay> = (1..10).map(|n| relay(n, [8, 8, n, 1])).chain([near]).collect();
        let runs: Vec<_> = (0..20).map(|seed| fill(&mut places(seed, now), &relays, now)).collect();
        let taken = runs.iter().filter(|run| run.contains(&near.identity)).count();
        assert!(taken < 10, "{taken} of 20 runs");
        let all: std::collections::BTreeSet<_> = runs.iter().flatten().collect();
        assert!(all.len() > 5, "runs differ: {}", all.len());
        assert!(runs.iter().all(|run| run.len() == PLACES && run[0] != run[1]));
    }

    #[test]
    fn many_identities_of_one_network_are_one() {
        let now = Instant::now();
        let crowd = (100..200).map(|n| relay(n, [9, 9, 9, n]));
        let relays: Vec<Relay> = (1..4).map(|n| relay(n, [8, 8, n, 1])).chain(crowd).collect();
        let of_crowd = |identity: &PeerIdentity| identity.0[0] >= 100;
        let runs: Vec<_> = (0..20).map(|seed| fill(&mut places(seed, now), &relays, now)).collect();
        assert!(
            runs.iter().all(|run| run.iter().filter(|identity| of_crowd(identity)).count() <= 1),
            "never both places"
        );
        let without = runs.iter().filter(|run| !run.iter().any(of_crowd)).count();
        assert!(without >= 5, "a hundred of a hundred and three are in {} of 20 runs", 20 - without);
        assert_eq!(fill(&mut places(0, now), &relays[3..], now).len(), PLACES, "where there is no other");
    }

    #[test]
    fn one_of_two_places_changes_each_hour() {
        let start = Instant::now();
        let relays: Vec<Relay> = (1..6).map(|n| relay(n, [8, 8, n, 1])).collect();
        let mut places = places(7, start);
        let (mut before, mut met) = (fill(&mut places, &relays, start), std::collections::BTreeSet::new());
        for hour in 1..=24 {
            let now = start + CHANGE_EVERY * hour;
            assert_eq!(places.give_up(&relays, now - Duration::from_secs(1)), None);
            assert_eq!(places.give_up(&relays, now), Some(before[0]), "the older one");
            let after = fill(&mut places, &relays, now);
            assert!(after[0] == before[1] && !before.contains(&after[1]), "one stays, and the other is new");
            met.extend(after.clone());
            before = after;
        }
        assert_eq!(met.len(), relays.len());
        assert_eq!(
            places.give_up(&relays[..0], start + CHANGE_EVERY * 25),
            None,
            "where there is no other, it is kept"
        );
    }

    #[test]
    fn who_gives_no_place_rests() {
        let now = Instant::now();
        let relays = [relay(1, [8, 8, 1, 1])];
        let mut places = places(7, now);
        let first = fill(&mut places, &relays, now);
        assert_eq!(first, [relays[0].identity], "one where there are no two");
        places.lost(first[0], now);
        assert_eq!(places.draw(&relays, now + REST - Duration::from_secs(1)), None);
        assert_eq!(places.draw(&relays, now + REST), Some(relays[0]));
        places.asked(relays[0], relays[0].identity, now);
        assert_eq!(places.clear().count(), 1);
        assert_eq!(places.at(&relays[0].identity), None);
    }
}

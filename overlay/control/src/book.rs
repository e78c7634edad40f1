//! The peers that are known: where they were met, how they stand, whom to call next.
//!
//! Pure: the time, in unix seconds, is an argument, and the store is written by its owner.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::PeerIdentity;
use crate::address::Direct;
use crate::limits::KNOWN_PEERS;
use crate::reputation::{Consequence, Deed};
use crate::store::Record;

/// Peers of one IPv4 /24 or IPv6 /48 with an address in the book: whoever has one network does not fill it.
const PER_NETWORK: usize = 8;
/// Ways to peers by relays that are known: at all, of one peer, and by one relay. They are forgotten after the time that a reservation
/// lasts, in seconds, unless they are told again.
const RELAYED: usize = 512;
pub(crate) const RELAYS_OF_ONE: usize = 2;
const AT_ONE_RELAY: usize = 32;
const RESERVED: u64 = 3_600;
/// The longest pause between attempts to reach a peer, in seconds.
const PAUSE_LONGEST: u64 = 600;

/// The book.
pub(crate) struct Book {
    records: BTreeMap<PeerIdentity, Record>,
    /// When one may be called again.
    rest: BTreeMap<PeerIdentity, u64>,
    changed: BTreeSet<PeerIdentity>,
    one_network: bool,
    /// At which relay peers can be met, and until when that is believed. Not stored: it does not outlive a restart for long.
    relayed: BTreeMap<Way, u64>,
}

/// A peer, and a relay at which it can be met.
type Way = (PeerIdentity, PeerIdentity);

/// Somebody to call.
pub(crate) struct Candidate {
    pub(crate) identity: PeerIdentity,
    pub(crate) addresses: Vec<Direct>,
    /// Relays at which it can be met, and where those are.
    pub(crate) relays: Vec<(PeerIdentity, Direct)>,
}

impl Book {
    /// With what the store held. `one_network` lifts the bound by network, for test networks.
    pub(crate) fn new(records: Vec<(PeerIdentity, Record)>, one_network: bool, now: u64) -> Self {
        let (rest, relayed) = (BTreeMap::new(), BTreeMap::new());
        let mut book = Self { records: BTreeMap::new(), rest, changed: BTreeSet::new(), one_network, relayed };
        for (identity, record) in records {
            book.records.insert(identity, record);
        }
        book.expire(now);
        book
    }

    /// A peer was met at an address; false if the book does not take it.
    pub(crate) fn met(&mut self, identity: PeerIdentity, address: Direct, now: u64) -> bool {
        if !self.one_network && !self.has_place(&identity, address, now) {
            return false;
        }
        self.rest.remove(&identity);
        self.change(identity, now).met_at(address, now);
        true
    }

    /// A peer can be met at a relay; false if the book does not take it. It takes only relays that it has an address of, so nobody who
    /// names one has this node call where it would not call anyway.
    ///
    /// Anybody may say so, of any relay. Where as many do as one relay has places for here, who said so longest ago and is not
    /// `connected` gives way: whoever stays takes no place away from who came before and is there.
    pub(crate) fn met_at_relay(
        &mut self,
        identity: PeerIdentity,
        relay: PeerIdentity,
        now: u64,
        connected: impl Fn(&PeerIdentity) -> bool,
    ) -> bool {
        let known = self.first_address(&relay).is_some();
        if !known || identity == relay || self.is_banned(&identity, now) || self.is_banned(&relay, now) {
            return false;
        }
        self.relayed.retain(|_, until| now < *until);
        let own = |way: &Way| way.0 == identity;
        let there = |way: &Way| way.1 == relay && !connected(&way.0);
        let told = (identity, relay);
        if !self.relayed.contains_key(&told) {
            let at_relay = self.relayed.keys().filter(|way| way.1 == relay).count();
            let fits = self.make_way(self.relayed.keys().filter(|way| own(way)).count(), RELAYS_OF_ONE, own)
                && self.make_way(at_relay, AT_ONE_RELAY, there)
                && self.make_way(self.relayed.len(), RELAYED, |_| true);
            if !fits {
                return false;
            }
        }
        self.relayed.insert(told, now + RESERVED);
        true
    }

    /// Whether there is a place where so many of at most so many are taken, or the way that was told longest ago of those that may go
    /// gives up its own.
    fn make_way(&mut self, taken: usize, most: usize, may_go: impl Fn(&Way) -> bool) -> bool {
        if taken < most {
            return true;
        }
        let first = self.relayed.iter().filter(|(way, _)| may_go(way)).min_by_key(|(_, until)| **until);
        let first = first.map(|(way, _)| *way);
        first.is_some_and(|way| self.relayed.remove(&way).is_some())
    }

    /// A peer cannot be met at a relay any more.
    pub(crate) fn left_relay(&mut self, identity: &PeerIdentity, relay: &PeerIdentity) {
        self.relayed.remove(&(*identity, *relay));
    }

    /// The relays at which a peer can be met, and where those are.
    pub(crate) fn relays_of(&self, identity: &PeerIdentity, now: u64) -> Vec<(PeerIdentity, Direct)> {
        let all = (*identity, PeerIdentity([0; 32]))..=(*identity, PeerIdentity([0xff; 32]));
        let believed =
            self.relayed.range(all).filter(|((_, relay), until)| now < **until && !self.is_banned(relay, now));
        believed.filter_map(|((_, relay), _)| Some((*relay, self.first_address(relay)?))).collect()
    }

    fn first_address(&self, identity: &PeerIdentity) -> Option<Direct> {
        self.records.get(identity)?.addresses.first().copied()
    }

    /// Notes a deed.
    pub(crate) fn note(&mut self, identity: PeerIdentity, deed: Deed, now: u64) -> Consequence {
        self.change(identity, now).reputation.note(deed, now)
    }

    /// A call was in vain. A relay at which the peer is not met is forgotten: who still is there says so again.
    pub(crate) fn failed(&mut self, identity: PeerIdentity, now: u64) {
        self.relayed.retain(|(peer, _), _| *peer != identity);
        if let Some(record) = self.records.get_mut(&identity) {
            record.failures = record.failures.saturating_add(1);
            let pause = (2_u64 << record.failures.min(10)).min(PAUSE_LONGEST);
            self.rest.insert(identity, now + pause);
            self.changed.insert(identity);
        }
    }

    /// Whom to call: the best first, those that are met at relays alone last, not those that `leave_out` names. They rest a little from now
    /// on.
    pub(crate) fn candidates(
        &mut self,
        count: usize,
        now: u64,
        leave_out: impl Fn(&PeerIdentity) -> bool,
    ) -> Vec<Candidate> {
        let unknown = Record::default();
        let mut relayed: Vec<_> =
            self.relayed.keys().map(|(peer, _)| peer).filter(|peer| !self.records.contains_key(*peer)).collect();
        relayed.dedup();
        let mut able: Vec<(&PeerIdentity, &Record)> = self
            .records
            .iter()
            .chain(relayed.into_iter().map(|identity| (identity, &unknown)))
            .filter(|(identity, record)| {
                (!record.addresses.is_empty() || !self.relays_of(identity, now).is_empty())
                    && !record.reputation.is_banned(now)
                    && self.rest.get(*identity).is_none_or(|until| now >= *until)
                    && !leave_out(identity)
            })
            .collect();
        able.sort_by(|(_, a), (_, b)| {
            let points = b.reputation.points(now).total_cmp(&a.reputation.points(now));
            let direct = a.addresses.is_empty().cmp(&b.addresses.is_empty());
            direct.then(a.failures.cmp(&b.failures)).then(points).then(b.met.cmp(&a.met))
        });
        let chosen: Vec<Candidate> = able
            .into_iter()
            .take(count)
            .map(|(identity, record)| Candidate {
                identity: *identity,
                addresses: record.addresses.clone(),
                relays: self.relays_of(identity, now),
            })
            .collect();
        for candidate in &chosen {
            self.rest.insert(candidate.identity, now + 15);
        }
        chosen
    }

    pub(crate) fn points(&self, identity: &PeerIdentity, now: u64) -> f32 {
        self.records.get(identity).map_or(0.0, |record| record.reputation.points(now))
    }

    pub(crate) fn is_banned(&self, identity: &PeerIdentity, now: u64) -> bool {
        self.records.get(identity).is_some_and(|record| record.reputation.is_banned(now))
    }

    /// Who is banned.
    pub(crate) fn banned(&self, now: u64) -> impl Iterator<Item = PeerIdentity> + '_ {
        self.records.iter().filter(move |(_, record)| record.reputation.is_banned(now)).map(|(identity, _)| *identity)
    }

    /// How many peers are known with an address.
    pub(crate) fn known(&self) -> usize {
        let direct = |identity: &PeerIdentity| self.first_address(identity).is_some();
        let relayed: BTreeSet<_> = self.relayed.keys().map(|(peer, _)| peer).filter(|peer| !direct(peer)).collect();
        self.records.keys().filter(|identity| direct(identity)).count() + relayed.len()
    }

    /// Drops what is of no use any more.
    pub(crate) fn expire(&mut self, now: u64) {
        let changed = &mut self.changed;
        self.records.retain(|identity, record| {
            let before = record.addresses.len();
            let keep = record.expire(now);
            if !keep || record.addresses.len() != before {
                changed.insert(*identity);
            }
            keep
        });
        self.rest.retain(|_, until| now < *until);
        self.relayed.retain(|_, until| now < *until);
    }

    /// What has to be written to the store, and nothing of it again; `None` is one to be forgotten.
    pub(crate) fn take_changes(&mut self) -> Vec<(PeerIdentity, Option<&Record>)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().map(|identity| (identity, self.records.get(&identity))).collect()
    }

    fn change(&mut self, identity: PeerIdentity, now: u64) -> &mut Record {
        if !self.records.contains_key(&identity) && self.records.len() >= KNOWN_PEERS {
            self.drop_worst(now);
        }
        self.changed.insert(identity);
        self.records.entry(identity).or_default()
    }

    /// Makes room. Bans get half of the book at most, so that nobody who collects them pushes good peers out; of these
    /// the one that ends first goes, of the others those without address, then those that fail, then the lowest.
    fn drop_worst(&mut self, now: u64) {
        let banned = |record: &Record| record.reputation.is_banned(now);
        let bans = self.records.values().filter(|record| banned(record)).count();
        let worst = if bans > KNOWN_PEERS / 2 {
            let banned = self.records.iter().filter(|(_, record)| banned(record));
            banned.min_by_key(|(_, record)| record.reputation.banned_until)
        } else {
            self.records.iter().filter(|(_, record)| !banned(record)).min_by(|(_, a), (_, b)| {
                let points = a.reputation.points(now).total_cmp(&b.reputation.points(now));
                let with_address = b.addresses.is_empty().cmp(&a.addresses.is_empty());
                with_address.then(b.failures.cmp(&a.failures)).then(points).then(a.met.cmp(&b.met))
            })
        };
        if let Some(identity) = worst.map(|(identity, _)| *identity) {
            self.records.remove(&identity);
            self.changed.insert(identity);
        }
    }

    /// Whether a network has a place left for a peer, or one that fails gives up its own.
    fn has_place(&mut self, identity: &PeerIdentity, address: Direct, now: u64) -> bool {
        let network = network(address.address.ip());
        let there: Vec<PeerIdentity> = self
            .records
            .iter()
            .filter(|(other, record)| {
                *other != identity && record.addresses.iter().any(|a| self::network(a.address.ip()) == network)
            })
            .map(|(other, _)| *other)
            .collect();
        if there.len() < PER_NETWORK {
            return true;
        }
        let failing = there.into_iter().find(|other| self.records[other].failures > 0);
        if let Some(failing) = failing {
            let record = self.change(failing, now);
            record.addresses.clear();
        }
        failing.is_some()
    }
}

fn network(ip: IpAddr) -> (bool, u64) {
    match ip {
        IpAddr::V4(ip) => (false, u64::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => (true, u64::try_from(ip.to_bits() >> 80).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn id(n: u32) -> PeerIdentity {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        PeerIdentity(bytes)
    }

    fn at(n: u32) -> Direct {
        let ip = IpAddr::from((0x0900_0000 + (n << 8)).to_be_bytes());
        Direct { address: (ip, 4_001).into(), quic: true }
    }

    fn empty() -> Book {
        Book::new(Vec::new(), false, NOW)
    }

    #[test]
    fn good_peers_are_called_first_and_bad_ones_not() {
        let mut book = empty();
        for n in 0..4 {
            assert!(book.met(id(n), at(n), NOW));
        }
        book.note(id(2), Deed::Helped, NOW);
        book.note(id(3), Deed::Lied, NOW);
        book.failed(id(0), NOW);
        let order: Vec<_> = book.candidates(9, NOW, |_| false).into_iter().map(|c| c.identity).collect();
        assert_eq!(order, [id(2), id(1)], "0 rests after its failure, 3 is banned");
        assert!(book.candidates(9, NOW + 1, |_| false).is_empty(), "they were just called");
        let order: Vec<_> = book.candidates(9, NOW + 20, |_| false).into_iter().map(|c| c.identity).collect();
        assert_eq!(order, [id(2), id(1), id(0)]);
        assert!(book.banned(NOW).eq([id(3)]));
    }

    fn met(book: &mut Book, peer: PeerIdentity, relay: PeerIdentity) -> bool {
        book.met_at_relay(peer, relay, NOW, |_| true)
    }

    #[test]
    fn who_is_met_at_a_relay_is_called_there_as_long_as_its_place_lasts() {
        let mut book = empty();
        let (relay, peer) = (id(1), id(2));
        assert!(!met(&mut book, peer, relay), "nobody is called because somebody named it");
        assert!(book.met(relay, at(1), NOW));
        assert!(!met(&mut book, relay, relay));
        assert!(met(&mut book, peer, relay));
        assert_eq!(book.known(), 2);
        let found = book.candidates(9, NOW, |_| false);
        assert!(found.iter().map(|c| c.identity).eq([relay, peer]), "those that are met at relays last");
        assert!(found[1].addresses.is_empty() && found[1].relays == [(relay, at(1))]);
        book.failed(peer, NOW);
        assert!(book.relays_of(&peer, NOW).is_empty(), "it was not there");
        assert!(met(&mut book, peer, relay) && book.relays_of(&peer, NOW + RESERVED - 1).len() == 1);
        assert!(book.relays_of(&peer, NOW + RESERVED).is_empty());
        book.expire(NOW + RESERVED);
        assert_eq!(book.known(), 1);
        assert!(met(&mut book, peer, relay));
        book.left_relay(&peer, &relay);
        assert!(book.relays_of(&peer, NOW).is_empty());
        book.note(relay, Deed::Lied, NOW);
        assert!(!met(&mut book, peer, relay), "a banned one is no way to others");
    }

    #[test]
    fn a_peer_is_met_at_two_relays() {
        let mut book = empty();
        for n in 1..=3 {
            assert!(book.met(id(n), at(n), NOW));
            assert!(book.met_at_relay(id(9), id(n), NOW + u64::from(n), |_| true));
        }
        assert!(
            book.relays_of(&id(9), NOW).into_iter().eq([(id(2), at(2)), (id(3), at(3))]),
            "the two that it told last"
        );
        assert_eq!(book.known(), 4);
        let found = book.candidates(9, NOW, |identity| *identity != id(9));
        assert!(found.len() == 1 && found[0].relays.len() == 2, "it is called once, by both");
        book.left_relay(&id(9), &id(2));
        assert_eq!(book.relays_of(&id(9), NOW).len(), 1);
    }

    #[test]
    fn false_claims_do_not_shut_a_relay() {
        let mut book = empty();
        assert!(book.met(id(0), at(0), NOW));
        // The first of these stays connected, the others have gone after saying so.
        let connected = |identity: &PeerIdentity| *identity == id(1_000);
        for n in 0..32 {
            assert!(book.met_at_relay(id(1_000 + n), id(0), NOW + u64::from(n), connected));
        }
        assert!(book.met_at_relay(id(1), id(0), NOW + 40, connected), "who said so longest ago and is gone gives way");
        let kept = |book: &Book, n: u32| !book.relays_of(&id(n), NOW + 40).is_empty();
        assert!(kept(&book, 1) && kept(&book, 1_000) && !kept(&book, 1_001) && kept(&book, 1_002));
        assert_eq!(book.relayed.len(), AT_ONE_RELAY);
        assert!(!book.met_at_relay(id(2), id(0), NOW + 41, |_| true), "who is there keeps its place");
        assert!(book.met_at_relay(id(1), id(0), NOW + 41, |_| true), "and renews it");
    }

    #[test]
    fn places_at_relays_have_an_end() {
        let mut book = empty();
        let place =
            |book: &mut Book, n: u32, relay: u32| book.met_at_relay(id(n), id(relay), NOW + u64::from(n), |_| true);
        for relay in 0..40 {
            assert!(book.met(id(relay), at(relay), NOW));
        }
        let taken = (0..200).filter(|n| place(&mut book, 1_000 + n, 0)).count();
        assert_eq!(taken, AT_ONE_RELAY);
        assert!(place(&mut book, 1_000, 0), "who is in stays in");
        for n in 0..1_200 {
            place(&mut book, 2_000 + n, n % 40);
        }
        assert_eq!(book.relayed.len(), RELAYED);
        assert!(!book.relays_of(&id(3_199), NOW).is_empty(), "the newest are kept");
    }

    #[test]
    fn one_network_does_not_fill_the_book() {
        let mut book = empty();
        let neighbour = |n: u8| Direct { address: (IpAddr::from([9, 9, 9, n]), 4_001).into(), quic: false };
        let taken = (0..200).filter(|n| book.met(id(u32::from(*n)), neighbour(*n), NOW)).count();
        assert_eq!(taken, PER_NETWORK);
        assert!(book.met(id(0), neighbour(0), NOW), "who is in stays in");
        book.failed(id(1), NOW);
        assert!(book.met(id(99), neighbour(99), NOW), "who fails makes room");
        assert_eq!(book.known(), PER_NETWORK);
    }

    #[test]
    fn the_book_has_an_end() {
        let mut book = empty();
        book.met(id(7), at(7), NOW);
        book.note(id(7), Deed::Helped, NOW);
        book.note(id(8), Deed::Lied, NOW);
        for n in 100..100 + 3 * u32::try_from(KNOWN_PEERS).expect("small") {
            book.met(id(n), at(n), NOW);
            book.note(id(n), Deed::Rude, NOW);
        }
        assert_eq!(book.records.len(), KNOWN_PEERS);
        assert!(book.records.contains_key(&id(7)), "a good peer is kept");
        assert!(book.is_banned(&id(8), NOW), "a ban cannot be washed out");
        for n in 10_000..12_000 {
            book.note(id(n), Deed::Lied, NOW);
        }
        assert_eq!(book.records.len(), KNOWN_PEERS);
        assert!(book.records.contains_key(&id(7)), "and bans do not push good peers out");
    }

    #[test]
    fn changes_are_given_once() {
        let mut book = empty();
        book.met(id(1), at(1), NOW);
        assert_eq!(book.take_changes().len(), 1);
        assert!(book.take_changes().is_empty());
        book.expire(NOW + 15 * 86_400);
        let changes = book.take_changes();
        assert!(changes.len() == 1 && changes[0].1.is_none(), "forgotten");
    }
}

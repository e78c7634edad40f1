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
/// Peers that are known to be met at a relay: at all, and at one. Their ways are forgotten after the time that a reservation lasts, in
/// seconds, unless they are told again.
const RELAYED: usize = 256;
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
    relayed: BTreeMap<PeerIdentity, (PeerIdentity, u64)>,
}

/// Somebody to call.
pub(crate) struct Candidate {
    pub(crate) identity: PeerIdentity,
    pub(crate) addresses: Vec<Direct>,
    /// A relay at which it can be met, and where that one is.
    pub(crate) relay: Option<(PeerIdentity, Direct)>,
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
    pub(crate) fn met_at_relay(&mut self, identity: PeerIdentity, relay: PeerIdentity, now: u64) -> bool {
        let known = self.records.get(&relay).is_some_and(|record| !record.addresses.is_empty());
        if !known || identity == relay || self.is_banned(&identity, now) || self.is_banned(&relay, now) {
            return false;
        }
        self.relayed.retain(|_, (_, until)| now < *until);
        let others = self.relayed.iter().filter(|(other, (at, _))| *at == relay && **other != identity).count();
        if others >= AT_ONE_RELAY {
            return false;
        }
        if self.relayed.len() >= RELAYED && !self.relayed.contains_key(&identity) {
            let first = self.relayed.iter().min_by_key(|(_, (_, until))| *until).map(|(other, _)| *other);
            first.map(|other| self.relayed.remove(&other));
        }
        self.relayed.insert(identity, (relay, now + RESERVED));
        true
    }

    /// A peer cannot be met at a relay any more; gives the relay, and where that one is.
    pub(crate) fn left_relay(&mut self, identity: &PeerIdentity) -> Option<(PeerIdentity, Direct)> {
        let (relay, _) = self.relayed.remove(identity)?;
        Some((relay, self.first_address(&relay)?))
    }

    /// The relay at which a peer can be met, and where that one is.
    pub(crate) fn relay_of(&self, identity: &PeerIdentity, now: u64) -> Option<(PeerIdentity, Direct)> {
        let (relay, _) =
            self.relayed.get(identity).filter(|(relay, until)| now < *until && !self.is_banned(relay, now))?;
        Some((*relay, self.first_address(relay)?))
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
        self.relayed.remove(&identity);
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
        let relayed = self.relayed.keys().filter(|identity| !self.records.contains_key(*identity));
        let mut able: Vec<(&PeerIdentity, &Record)> = self
            .records
            .iter()
            .chain(relayed.map(|identity| (identity, &unknown)))
            .filter(|(identity, record)| {
                (!record.addresses.is_empty() || self.relay_of(identity, now).is_some())
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
                relay: self.relay_of(identity, now),
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
        let relayed = self.relayed.keys().filter(|identity| !direct(identity)).count();
        self.records.keys().filter(|identity| direct(identity)).count() + relayed
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
        self.relayed.retain(|_, (_, until)| now < *until);
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

    #[test]
    fn who_is_met_at_a_relay_is_called_there_as_long_as_its_place_lasts() {
        let mut book = empty();
        let (relay, peer) = (id(1), id(2));
        assert!(!book.met_at_relay(peer, relay, NOW), "nobody is called because somebody named it");
        assert!(book.met(relay, at(1), NOW));
        assert!(!book.met_at_relay(relay, relay, NOW));
        assert!(book.met_at_relay(peer, relay, NOW));
        assert_eq!(book.known(), 2);
        let found = book.candidates(9, NOW, |_| false);
        assert!(found.iter().map(|c| c.identity).eq([relay, peer]), "those that are met at relays last");
        assert!(found[1].addresses.is_empty() && found[1].relay == Some((relay, at(1))));
        book.failed(peer, NOW);
        assert!(book.relay_of(&peer, NOW).is_none(), "it was not there");
        assert!(book.met_at_relay(peer, relay, NOW) && book.relay_of(&peer, NOW + RESERVED - 1).is_some());
        assert!(book.relay_of(&peer, NOW + RESERVED).is_none());
        book.expire(NOW + RESERVED);
        assert_eq!(book.known(), 1);
        assert!(book.met_at_relay(peer, relay, NOW) && book.left_relay(&peer) == Some((relay, at(1))));
        book.note(relay, Deed::Lied, NOW);
        assert!(!book.met_at_relay(peer, relay, NOW), "a banned one is no way to others");
    }

    #[test]
    fn places_at_relays_have_an_end() {
        let mut book = empty();
        let place = |book: &mut Book, n: u32, relay: u32| book.met_at_relay(id(n), id(relay), NOW + u64::from(n));
        for relay in 0..20 {
            assert!(book.met(id(relay), at(relay), NOW));
        }
        let taken = (0..200).filter(|n| place(&mut book, 1_000 + n, 0)).count();
        assert_eq!(taken, AT_ONE_RELAY);
        assert!(place(&mut book, 1_000, 0), "who is in stays in");
        for n in 0..600 {
            place(&mut book, 2_000 + n, n % 20);
        }
        assert_eq!(book.relayed.len(), RELAYED);
        assert!(book.relay_of(&id(2_590), NOW).is_some(), "the newest are kept");
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

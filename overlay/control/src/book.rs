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
/// The longest pause between attempts to reach a peer, in seconds.
const PAUSE_LONGEST: u64 = 600;

/// The book.
pub(crate) struct Book {
    records: BTreeMap<PeerIdentity, Record>,
    /// When one may be called again.
    rest: BTreeMap<PeerIdentity, u64>,
    changed: BTreeSet<PeerIdentity>,
    one_network: bool,
}

impl Book {
    /// With what the store held. `one_network` lifts the bound by network, for test networks.
    pub(crate) fn new(records: Vec<(PeerIdentity, Record)>, one_network: bool, now: u64) -> Self {
        let mut book = Self { records: BTreeMap::new(), rest: BTreeMap::new(), changed: BTreeSet::new(), one_network };
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

    /// Notes a deed.
    pub(crate) fn note(&mut self, identity: PeerIdentity, deed: Deed, now: u64) -> Consequence {
        self.change(identity, now).reputation.note(deed, now)
    }

    /// A call was in vain.
    pub(crate) fn failed(&mut self, identity: PeerIdentity, now: u64) {
        if let Some(record) = self.records.get_mut(&identity) {
            record.failures = record.failures.saturating_add(1);
            let pause = (2_u64 << record.failures.min(10)).min(PAUSE_LONGEST);
            self.rest.insert(identity, now + pause);
            self.changed.insert(identity);
        }
    }

    /// Whom to call: the best first, not those that `leave_out` names. They rest a little from now on.
    pub(crate) fn candidates(
        &mut self,
        count: usize,
        now: u64,
        leave_out: impl Fn(&PeerIdentity) -> bool,
    ) -> Vec<(PeerIdentity, Vec<Direct>)> {
        let mut able: Vec<(&PeerIdentity, &Record)> = self
            .records
            .iter()
            .filter(|(identity, record)| {
                !record.addresses.is_empty()
                    && !record.reputation.is_banned(now)
                    && self.rest.get(*identity).is_none_or(|until| now >= *until)
                    && !leave_out(identity)
            })
            .collect();
        able.sort_by(|(_, a), (_, b)| {
            let points = b.reputation.points(now).total_cmp(&a.reputation.points(now));
            a.failures.cmp(&b.failures).then(points).then(b.met.cmp(&a.met))
        });
        let chosen: Vec<_> =
            able.into_iter().take(count).map(|(identity, record)| (*identity, record.addresses.clone())).collect();
        for (identity, _) in &chosen {
            self.rest.insert(*identity, now + 15);
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
        self.records.values().filter(|record| !record.addresses.is_empty()).count()
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
        let order: Vec<_> = book.candidates(9, NOW, |_| false).into_iter().map(|(identity, _)| identity).collect();
        assert_eq!(order, [id(2), id(1)], "0 rests after its failure, 3 is banned");
        assert!(book.candidates(9, NOW + 1, |_| false).is_empty(), "they were just called");
        let order: Vec<_> = book.candidates(9, NOW + 20, |_| false).into_iter().map(|(identity, _)| identity).collect();
        assert_eq!(order, [id(2), id(1), id(0)]);
        assert!(book.banned(NOW).eq([id(3)]));
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

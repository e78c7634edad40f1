//! Answered handshakes of strangers in order of age within their networks, to choose which one gives way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// How many a network has, the age of its oldest, and which network.
type Rank = (usize, Reverse<u64>, u64);

/// Who waits, by network. All operations take logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Of each network, places in order of arrival and the receiver index that waits there.
    waiting: BTreeMap<u64, BTreeMap<u64, u32>>,
    /// Networks by how many wait, then by the oldest.
    ranks: BTreeSet<Rank>,
    arrivals: u64,
    len: usize,
}

impl Crowd {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Notes one more and returns its place.
    pub(super) fn enter(&mut self, from: SocketAddr, index: u32) -> u64 {
        self.arrivals += 1;
        let place = self.arrivals;
        self.change(network(from), |waiting| _ = waiting.insert(place, index));
        self.len += 1;
        place
    }

    /// Forgets one that is there.
    pub(super) fn leave(&mut self, from: SocketAddr, place: u64) {
        self.change(network(from), |waiting| _ = waiting.remove(&place));
        self.len -= 1;
    }

    /// The oldest of the network with the most.
    pub(super) fn victim(&self) -> Option<u32> {
        let (_, Reverse(place), network) = self.ranks.last()?;
        self.waiting.get(network)?.get(place).copied()
    }

    fn change(&mut self, network: u64, act: impl FnOnce(&mut BTreeMap<u64, u32>)) {
        let rank = |waiting: &BTreeMap<u64, u32>| {
            waiting.first_key_value().map(|(oldest, _)| (waiting.len(), Reverse(*oldest), network))
        };
        let waiting = self.waiting.entry(network).or_default();
        if let Some(old) = rank(waiting) {
            self.ranks.remove(&old);
        }
        act(waiting);
        match rank(waiting) {
            Some(new) => drop(self.ranks.insert(new)),
            None => drop(self.waiting.remove(&network)),
        }
    }
}

/// IPv4 address or IPv6 /48: whoever has a /48 has all its networks.
fn network(from: SocketAddr) -> u64 {
    match from.ip().to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => 1 << 63 | u64::try_from(u128::from(ip) >> 80).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_network_with_the_most_gives_way() {
        let from = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let mut crowd = Crowd::default();
        let first = crowd.enter(from("10.0.0.1:1"), 1);
        crowd.enter(from("[2001:db8:0:1::1]:1"), 2);
        crowd.enter(from("[2001:db8:0:2::1]:1"), 3);
        assert_eq!((crowd.victim(), crowd.len()), (Some(2), 3));
        crowd.leave(from("[2001:db8:0:1::1]:1"), 2);
        assert_eq!(crowd.victim(), Some(1), "one each: the oldest");
        crowd.leave(from("10.0.0.1:1"), first);
        assert_eq!(crowd.victim(), Some(3));
        crowd.leave(from("[2001:db8:0:2::1]:1"), 3);
        assert_eq!((crowd.victim(), crowd.len(), crowd.waiting.len(), crowd.ranks.len()), (None, 0, 0, 0));
    }
}

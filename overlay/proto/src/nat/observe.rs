//! What relays say of where this node's datagrams come from, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::candidate::is_private;
use crate::link::LinkId;
use crate::link::route::is_made_up;

/// Relays whose word is kept.
const MAX_WITNESSES: usize = 32;
/// Ports ahead of the last one that a translator may have gone on to, at most.
const MAX_STEP: u16 = 16;
/// Predicted ports.
const PREDICTED: u16 = 4;

/// How a translator gives out addresses (RFC 4787).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Mapping {
    /// Too few relays have said anything.
    #[default]
    Unknown = 0,
    /// There is no translator: relays see an address of this machine.
    Open = 1,
    /// The same for all destinations.
    Independent = 2,
    /// Another for each destination: an address and perhaps a port.
    Dependent = 3,
}

impl Mapping {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Unknown,
            1 => Self::Open,
            2 => Self::Independent,
            3 => Self::Dependent,
            _ => return None,
        })
    }

    /// Whether a node with such a translator is seen at the same address by everybody.
    #[must_use]
    pub fn is_fixed(self) -> bool {
        matches!(self, Self::Open | Self::Independent)
    }
}

/// Whom a translator or a firewall lets in, as far as it has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Filtering {
    /// Nobody tried.
    #[default]
    Unknown = 0,
    /// Also those to whom nothing was sent.
    Independent = 1,
    /// Only those to whom something was sent: their address, and perhaps their port.
    Dependent = 2,
}

impl Filtering {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Unknown,
            1 => Self::Independent,
            2 => Self::Dependent,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Word {
    /// The address that the relay told.
    seen: SocketAddr,
    /// Where the relay is.
    relay: SocketAddr,
    at: Instant,
    /// In which order the relays were first sent to.
    order: u64,
}

/// All that relays have said.
#[derive(Debug, Default)]
pub struct Observations {
    words: BTreeMap<LinkId, Word>,
    local: Vec<SocketAddr>,
    order: u64,
}

impl Observations {
    /// Addresses of this machine's interfaces, with the port that the socket is bound to.
    pub fn set_local(&mut self, local: Vec<SocketAddr>) {
        self.local = local;
    }

    /// Addresses of this machine's interfaces.
    #[must_use]
    pub fn local(&self) -> &[SocketAddr] {
        &self.local
    }

    /// The relay at `relay`, at the other end of `link`, sees this node at `seen`. Returns whether that is news.
    pub fn note(&mut self, now: Instant, link: LinkId, relay: SocketAddr, seen: SocketAddr) -> bool {
        // Seen through something else than the data socket: it says nothing about the socket.
        if is_made_up(relay) || is_made_up(seen) {
            return false;
        }
        let known = self.words.get(&link).copied();
        if known.is_none() && self.words.len() >= MAX_WITNESSES {
            let oldest = self.words.iter().min_by_key(|(_, word)| word.at).map(|(link, _)| *link);
            oldest.and_then(|link| self.words.remove(&link));
        }
        self.order += 1;
        let order = known.filter(|known| known.seen == seen).map_or(self.order, |known| known.order);
        self.words.insert(link, Word { seen, relay, at: now, order });
        known.is_none_or(|known| known.seen != seen)
    }

    /// The link is gone, and what was said over it counts no more.
    pub fn forget(&mut self, link: LinkId) {
        self.words.remove(&link);
    }

    /// The address that this relay sees.
    #[must_use]
    pub fn seen_by(&self, link: LinkId) -> Option<SocketAddr> {
        self.words.get(&link).map(|word| word.seen)
    }

    fn of_family(&self, v6: bool) -> impl Iterator<Item = &Word> {
        self.words.values().filter(move |word| word.seen.is_ipv6() == v6)
    }

    /// Addresses that relays see, and how many relays at different addresses see each; best confirmed first.
    #[must_use]
    pub fn reflexive(&self) -> Vec<(SocketAddr, usize)> {
        let mut witnesses: BTreeMap<SocketAddr, BTreeSet<IpAddr>> = BTreeMap::new();
        for word in self.words.values() {
            witnesses.entry(word.seen).or_default().insert(word.relay.ip());
        }
        let mut all: Vec<_> = witnesses.into_iter().map(|(seen, relays)| (seen, relays.len())).collect();
        all.sort_by_key(|(seen, count)| (std::cmp::Reverse(*count), *seen));
        all
    }

    /// How the translator of one family gives out addresses: what relays at two different addresses or ports say.
    #[must_use]
    pub fn mapping(&self, v6: bool) -> Mapping {
        let words: Vec<&Word> = self.of_family(v6).collect();
        if !words.is_empty() && words.iter().all(|word| self.local.contains(&word.seen)) {
            return Mapping::Open;
        }
        let relays: BTreeSet<SocketAddr> = words.iter().map(|word| word.relay).collect();
        let seen: BTreeSet<SocketAddr> = words.iter().map(|word| word.seen).collect();
        match (relays.len(), seen.len()) {
            (0 | 1, _) => Mapping::Unknown,
            (_, 1) => Mapping::Independent,
            _ => Mapping::Dependent,
        }
    }

    /// Where a translator that gives another port to each destination is likely to send the next flow from: it goes up by
    /// small steps. Empty when it does not.
    #[must_use]
    pub fn predicted(&self) -> Vec<SocketAddr> {
        let mut words: Vec<&Word> = self.of_family(false).filter(|word| !is_private(word.seen.ip())).collect();
        words.sort_by_key(|word| word.order);
        let (Some(last), Mapping::Dependent) = (words.last(), self.mapping(false)) else { return Vec::new() };
        let steps = words.windows(2).map(|pair| pair[1].seen.port().wrapping_sub(pair[0].seen.port()));
        let steps: Vec<u16> = steps.collect();
        if steps.is_empty() || steps.iter().any(|step| *step == 0 || *step > MAX_STEP) {
            return Vec::new();
        }
        // The smallest step is the translator's own; greater ones had flows of others in between.
        let step = steps.iter().copied().min().unwrap_or(1);
        let ports = (1..=PREDICTED).filter_map(|ahead| last.seen.port().checked_add(step * ahead));
        ports.map(|port| SocketAddr::new(last.seen.ip(), port)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::test_id;
    use crate::timer::any_instant;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn told(seen: &[&str]) -> Observations {
        let mut all = Observations::default();
        all.set_local(vec![at("192.168.1.5:9000")]);
        for (i, seen) in (1u8..).zip(seen) {
            all.note(any_instant(), test_id(i.into()), SocketAddr::from(([203, 0, 113, i], 9)), at(seen));
        }
        all
    }

    #[test]
    fn mappings_are_told_apart() {
        assert_eq!(told(&[]).mapping(false), Mapping::Unknown);
        assert_eq!(told(&["198.51.100.1:7"]).mapping(false), Mapping::Unknown, "one relay says too little");
        assert_eq!(told(&["198.51.100.1:7", "198.51.100.1:7"]).mapping(false), Mapping::Independent);
        assert_eq!(told(&["198.51.100.1:7", "198.51.100.1:8"]).mapping(false), Mapping::Dependent);
        assert_eq!(told(&["192.168.1.5:9000"]).mapping(false), Mapping::Open);
        assert_eq!(told(&["198.51.100.1:7", "198.51.100.1:7"]).mapping(true), Mapping::Unknown);
    }

    #[test]
    fn one_liar_does_not_become_the_best_address() {
        let all = told(&["198.51.100.1:7", "203.0.113.99:1", "198.51.100.1:7"]);
        assert_eq!(all.reflexive()[0], (at("198.51.100.1:7"), 2));
    }

    #[test]
    fn small_steps_are_predicted_and_random_ports_are_not() {
        let steps = told(&["198.51.100.1:4000", "198.51.100.1:4001", "198.51.100.1:4003"]);
        assert_eq!(steps.predicted()[..2], [at("198.51.100.1:4004"), at("198.51.100.1:4005")]);
        assert!(told(&["198.51.100.1:4000", "198.51.100.1:41000"]).predicted().is_empty());
        assert!(told(&["198.51.100.1:4000", "198.51.100.1:4000"]).predicted().is_empty(), "not dependent");
    }

    #[test]
    fn what_a_lost_link_said_counts_no_more() {
        let mut all = told(&["198.51.100.1:7", "198.51.100.1:8"]);
        all.forget(test_id(2));
        assert_eq!((all.mapping(false), all.reflexive().len()), (Mapping::Unknown, 1));
    }
}

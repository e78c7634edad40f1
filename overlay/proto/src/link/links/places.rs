//! Who holds the places for links: classes, addresses, and which idle link gives way.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::table::Table;
use crate::link::clock::{Nanos, SECOND};
use crate::link::types::{LinkConfig, LinkId, LinkPeerInfo};

/// How long a link without cells is spared, if nobody said whether it is in use.
const IDLE: Nanos = 60 * SECOND;
/// How long a link that is not in use is spared, so that a new one can open its first circuit.
const UNUSED: Nanos = 10 * SECOND;
/// Idle links found by one walk over the table.
const CANDIDATES: usize = 64;
/// Walks over the table are so far apart at least.
const WALK_EVERY: Nanos = SECOND;
/// An IPv6 /48 may hold so many times the links of a /64.
const SITE: usize = 4;

/// Addresses of the links that exist.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    per_source: usize,
    strangers: usize,
    accepted: usize,
    sources: BTreeMap<(u8, u64), usize>,
    addresses: BTreeMap<SocketAddr, usize>,
    idle: VecDeque<LinkId>,
    walk_at: Nanos,
}

impl Places {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            max: config.max_links,
            per_source: config.max_links_per_source.max(1),
            strangers: 0,
            accepted: 0,
            sources: BTreeMap::new(),
            addresses: BTreeMap::new(),
            idle: VecDeque::new(),
            walk_at: 0,
        }
    }

    /// Whether `len` links leave a place for one of this class: origins get three quarters of all, all accepted links
    /// fifteen sixteenths, and the rest is for links that this node opens.
    pub(super) fn has_place(&self, info: &LinkPeerInfo, len: usize) -> bool {
        len < self.max
            && (info.initiator || self.accepted < self.max - self.max / 16)
            && (!is_stranger(info) || self.strangers < self.max - self.max / 4)
    }

    /// Whether the network of this address may hold one more accepted link.
    pub(super) fn admits(&self, from: SocketAddr) -> bool {
        keys(from).into_iter().flatten().all(|key| {
            let bound = if key.0 == 48 { self.per_source.saturating_mul(SITE) } else { self.per_source };
            self.sources.get(&key).is_none_or(|count| *count < bound)
        })
    }

    /// Whether a link leads to exactly this address.
    pub(super) fn knows(&self, address: SocketAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    pub(super) fn add(&mut self, info: &LinkPeerInfo, address: SocketAddr) {
        self.accepted += usize::from(!info.initiator);
        self.strangers += usize::from(is_stranger(info));
        *self.addresses.entry(address).or_default() += 1;
        if !info.initiator {
            self.charge(address);
        }
    }

    /// `charged` is the address whose network the link counts for.
    pub(super) fn remove(&mut self, info: &LinkPeerInfo, address: SocketAddr, charged: SocketAddr) {
        self.accepted -= usize::from(!info.initiator);
        self.strangers -= usize::from(is_stranger(info));
        lower(&mut self.addresses, &address);
        if !info.initiator {
            self.discharge(charged);
        }
    }

    /// A link has moved. It counts for its new network from now on, unless that has its share already: then it goes on
    /// counting for the old one, so that moving makes no room. Returns the address that is charged.
    pub(super) fn moved(
        &mut self,
        info: &LinkPeerInfo,
        old: SocketAddr,
        new: SocketAddr,
        charged: SocketAddr,
    ) -> SocketAddr {
        lower(&mut self.addresses, &old);
        *self.addresses.entry(new).or_default() += 1;
        if info.initiator {
            return new;
        }
        self.discharge(charged);
        let next = if self.admits(new) { new } else { charged };
        self.charge(next);
        next
    }

    fn charge(&mut self, address: SocketAddr) {
        for key in keys(address).into_iter().flatten() {
            *self.sources.entry(key).or_default() += 1;
        }
    }

    fn discharge(&mut self, address: SocketAddr) {
        for key in keys(address).into_iter().flatten() {
            lower(&mut self.sources, &key);
        }
    }
}

fn lower<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A peer without a link key: an origin.
fn is_stranger(info: &LinkPeerInfo) -> bool {
    !info.initiator && info.link_key.is_none()
}

/// The networks that an address counts for: IPv4 address, or IPv6 /64 and /48. This machine itself counts for none.
fn keys(from: SocketAddr) -> [Option<(u8, u64)>; 2] {
    match from.ip().to_canonical() {
        ip if ip.is_loopback() => [None, None],
        IpAddr::V4(ip) => [Some((32, u64::from(u32::from(ip)))), None],
        IpAddr::V6(ip) => {
            let network = u64::try_from(u128::from(ip) >> 64).unwrap_or(0);
            [Some((64, network)), Some((48, network >> 16))]
        }
    }
}

impl Table {
    /// The accepted link that has been idle for longest, if one may give way. One walk finds several, and walks are
    /// rare, so that a flood does not make them.
    pub(super) fn idlest(&mut self, now: Nanos) -> Option<LinkId> {
        while let Some(id) = self.places.idle.front().copied() {
            if self.get(id).and_then(|link| link.idle_since(now)).is_some() {
                return Some(id);
            }
            self.places.idle.pop_front();
        }
        if now < self.places.walk_at {
            return None;
        }
        self.places.walk_at = now + WALK_EVERY;
        let mut idle: Vec<_> = self.iter().filter_map(|link| Some((link.idle_since(now)?, link.id))).collect();
        idle.sort_unstable();
        idle.truncate(CANDIDATES);
        self.places.idle = idle.into_iter().map(|(_, id)| id).collect();
        self.places.idle.front().copied()
    }
}

impl crate::link::link::Link {
    /// Since when the link has carried nothing, if it was accepted and may give way to another by now.
    fn idle_since(&self, now: Nanos) -> Option<Nanos> {
        let spared = match self.in_use {
            Some(true) => return None,
            Some(false) => UNUSED,
            None => IDLE,
        };
        (self.up && !self.info.initiator && now >= self.last_used + spared).then_some(self.last_used)
    }
}

//! Who has a place in the catalogue: the relays of the newest document always, others within bounds that no flood of identities passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use zmesh_sphinx::RelayId;

use super::bucket::Bucket;
use crate::wire::descriptor::Descriptor;

/// Relays that no document lists, at once.
pub const STRANGERS_MAX: usize = 256;
/// Of these, in one IPv4 /24 or IPv6 /48 that their descriptors name. Not in a test network, which has one address.
pub const STRANGERS_PER_NETWORK: usize = 8;
/// How many relays that no document lists, and that were not heard of before, are heard in a minute, all of them together.
const NEWCOMERS_PER_MINUTE: u32 = 30;
/// For how long a relay that this node is connected with is preferred to others after it was last seen, in seconds.
const MET_FOR: u64 = 3_600;
/// Met relays that are remembered.
const MET_MAX: usize = 1_024;

/// A network: of which kind, and the bits before the host's.
type Prefix = (bool, u128);

/// The places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    anywhere: bool,
    /// The relay that this node is: it has a place like one of the document.
    pub(super) own: Option<RelayId>,
    listed: BTreeSet<RelayId>,
    strangers: BTreeMap<RelayId, Stranger>,
    /// When this node was last connected with a relay.
    met: BTreeMap<RelayId, u64>,
    newcomers: Bucket,
    changed: bool,
}

#[derive(Clone, Debug)]
struct Stranger {
    networks: BTreeSet<Prefix>,
    since: u64,
}

impl Places {
    pub(super) fn new(test_network: bool) -> Self {
        Self {
            anywhere: test_network,
            own: None,
            listed: BTreeSet::new(),
            strangers: BTreeMap::new(),
            met: BTreeMap::new(),
            newcomers: Bucket::full(NEWCOMERS_PER_MINUTE),
            changed: false,
        }
    }

    pub(super) fn is_listed(&self, id: &RelayId) -> bool {
        self.own.as_ref() == Some(id) || self.listed.contains(id)
    }

    /// Whether this node was connected with it within the hour.
    fn is_met(&self, id: &RelayId, now: u64) -> bool {
        self.met.get(id).is_some_and(|at| now.saturating_sub(*at) <= MET_FOR)
    }

    pub(super) fn met(&mut self, id: RelayId, now: u64) {
        if !self.met.contains_key(&id) && self.met.len() >= MET_MAX {
            let oldest = self.met.iter().min_by_key(|(_, at)| **at).map(|(id, _)| *id);
            oldest.map(|id| self.met.remove(&id));
        }
        self.met.insert(id, now);
    }

    /// Whether an identity that is new here may still be heard in this minute. Whom this node met need not ask: its connection is bound
    /// already.
    pub(super) fn hear(&mut self, id: &RelayId, now: u64) -> bool {
        self.is_met(id, now) || self.newcomers.take(1, NEWCOMERS_PER_MINUTE, now)
    }

    /// Finds a place for a relay that has none. The relays that have to go for it; `None` if it gets none. It drives nobody out unless
    /// `pushes`, and never one that this node met.
    pub(super) fn enter(&mut self, descriptor: &Descriptor, pushes: bool, now: u64) -> Option<Vec<RelayId>> {
        let id = descriptor.id();
        if self.is_listed(&id) {
            return Some(Vec::new());
        }
        let networks = self.networks(descriptor);
        let mut gone = BTreeSet::new();
        for network in &networks {
            self.find_place(|other| other.networks.contains(network), STRANGERS_PER_NETWORK, pushes, now, &mut gone)?;
        }
        self.find_place(|_| true, STRANGERS_MAX, pushes, now, &mut gone)?;
        for id in &gone {
            self.strangers.remove(id);
        }
        self.strangers.insert(id, Stranger { networks, since: now });
        self.changed = true;
        Some(gone.into_iter().collect())
    }

    /// Adds to those who go until fewer than `most` of a kind are left.
    fn find_place(
        &self,
        is_of: impl Fn(&Stranger) -> bool,
        most: usize,
        pushes: bool,
        now: u64,
        gone: &mut BTreeSet<RelayId>,
    ) -> Option<()> {
        let there: Vec<_> = self.strangers.iter().filter(|(id, other)| is_of(other) && !gone.contains(*id)).collect();
        if there.len() < most {
            return Some(());
        }
        let unmet = there.into_iter().filter(|(id, _)| pushes && !self.is_met(id, now));
        let oldest = unmet.min_by_key(|(_, other)| other.since).map(|(id, _)| *id)?;
        gone.insert(oldest);
        Some(())
    }

    /// A relay with a place said something new.
    pub(super) fn renew(&mut self, descriptor: &Descriptor) {
        let networks = self.networks(descriptor);
        if let Some(stranger) = self.strangers.get_mut(&descriptor.id()) {
            stranger.networks = networks;
            self.changed = true;
        }
    }

    /// Takes over the relays of a new document. Those of the one before that are not in it are strangers now; the relays that have to go
    /// because these are too many.
    pub(super) fn list<'a>(
        &mut self,
        listed: BTreeSet<RelayId>,
        held: impl Iterator<Item = &'a Descriptor>,
        now: u64,
    ) -> Vec<RelayId> {
        self.listed = listed;
        for descriptor in held {
            let id = descriptor.id();
            if self.is_listed(&id) {
                self.changed |= self.strangers.remove(&id).is_some();
            } else if !self.strangers.contains_key(&id) {
                let networks = self.networks(descriptor);
                self.strangers.insert(id, Stranger { networks, since: now });
                self.changed = true;
            }
        }
        let mut order: Vec<_> = self.strangers.iter().map(|(id, one)| (self.is_met(id, now), one.since, *id)).collect();
        order.sort_unstable();
        let over = order.len().saturating_sub(STRANGERS_MAX);
        let gone: Vec<_> = order.into_iter().take(over).map(|(.., id)| id).collect();
        self.forget(&gone);
        gone
    }

    pub(super) fn forget(&mut self, gone: &[RelayId]) {
        for id in gone {
            self.changed |= self.strangers.remove(id).is_some();
        }
    }

    pub(super) fn prune(&mut self, now: u64) {
        self.met.retain(|_, at| now.saturating_sub(*at) <= MET_FOR);
    }

    pub(super) fn is_stranger(&self, id: &RelayId) -> bool {
        self.strangers.contains_key(id)
    }

    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn networks(&self, descriptor: &Descriptor) -> BTreeSet<Prefix> {
        if self.anywhere {
            return BTreeSet::new();
        }
        let info = descriptor.info();
        let addresses = info.addresses.iter().chain(info.control.iter().map(|control| &control.address));
        addresses.map(|address| prefix(address.ip())).collect()
    }
}

fn prefix(ip: IpAddr) -> Prefix {
    match ip {
        IpAddr::V4(ip) => (false, u128::from(ip.to_bits() >> 8)),
        IpAddr::V6(ip) => (true, ip.to_bits() >> 80),
    }
}

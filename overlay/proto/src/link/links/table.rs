//! The table of links: by id, by receiver index, by peer, and by the time they must act.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;

use super::places::Places;
use crate::link::clock::Nanos;
use crate::link::link::Link;
use crate::link::types::{LinkConfig, LinkId, LinkPeer, LinkPeerInfo};

/// What a receiver index stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    /// A session of this link.
    Link(LinkId),
    /// A handshake that this link has begun.
    Initiation(LinkId),
    /// A stranger's handshake that was answered.
    HalfOpen,
}

/// Receiver indexes are drawn at random by this node, so they are their own hash, and the order of a run is the same
/// for the same seed. The map is never walked.
#[derive(Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, index: u32) {
        self.0 = u64::from(index) << 32 | u64::from(index);
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    link: Option<Box<Link>>,
    /// The link's address as the places know it, and the one whose network it counts for.
    known_at: Option<(SocketAddr, SocketAddr)>,
}

/// All links of a node.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) places: Places,
    indexes: HashMap<u32, Owner, BuildHasherDefault<IndexHasher>>,
    /// Links that this node opened, by identity.
    opened: BTreeMap<[u8; 32], LinkId>,
    /// Links that relays opened, by link key.
    accepted: BTreeMap<[u8; 32], LinkId>,
    timers: BTreeSet<(Nanos, LinkId)>,
    dirty: Vec<LinkId>,
}

impl Table {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            places: Places::new(config),
            indexes: HashMap::default(),
            opened: BTreeMap::new(),
            accepted: BTreeMap::new(),
            timers: BTreeSet::new(),
            dirty: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|slot| slot.link.as_deref())
    }

    /// Whether a link of this class may be made.
    pub(super) fn has_place(&self, info: &LinkPeerInfo) -> bool {
        self.places.has_place(info, self.len())
    }

    /// Makes a link; `None` when there are too many.
    pub(super) fn insert(&mut self, info: LinkPeerInfo, address: SocketAddr, now: Nanos) -> Option<LinkId> {
        if !self.has_place(&info) || (!info.initiator && !self.places.admits(address)) {
            return None;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot::default());
                index
            }
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        let id = LinkId { index, generation: slot.generation };
        slot.link = Some(Box::new(Link::new(id, info, address, now)));
        slot.known_at = Some((address, address));
        self.places.add(&info, address);
        match (info.initiator, info.identity, info.link_key) {
            (true, Some(identity), _) => drop(self.opened.insert(identity, id)),
            (false, _, Some(key)) => drop(self.accepted.insert(key, id)),
            _ => {}
        }
        Some(id)
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        let slot = self.slots.get(usize::try_from(id.index).ok()?)?;
        slot.link.as_deref().filter(|link| link.id == id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let slot = self.slots.get_mut(usize::try_from(id.index).ok()?)?;
        slot.link.as_deref_mut().filter(|link| link.id == id)
    }

    /// Removes a link and everything that leads to it; its keys are erased.
    pub(super) fn remove(&mut self, id: LinkId) -> bool {
        let Some(link) = self.get(id) else {
            return false;
        };
        let (info, scheduled) = (link.info, link.scheduled);
        let indexes: Vec<u32> = link.local_indexes().collect();
        for index in indexes {
            self.indexes.remove(&index);
        }
        if let Some(at) = scheduled {
            self.timers.remove(&(at, id));
        }
        let lists = [(info.identity, &mut self.opened), (info.link_key, &mut self.accepted)];
        for (key, list) in lists {
            if let Some(key) = key
                && list.get(&key) == Some(&id)
            {
                list.remove(&key);
            }
        }
        if let Some(slot) = usize::try_from(id.index).ok().and_then(|at| self.slots.get_mut(at)) {
            slot.link = None;
            if let Some((address, charged)) = slot.known_at.take() {
                self.places.remove(&info, address, charged);
            }
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(id.index);
        }
        true
    }

    /// The link to this peer, whoever opened it.
    pub(super) fn to_peer(&self, peer: &LinkPeer) -> Option<LinkId> {
        let accepted = self
            .accepted
            .get(&peer.link_key)
            .copied()
            .filter(|id| self.get(*id).is_some_and(|link| link.info.identity == Some(peer.identity)));
        self.opened.get(&peer.identity).copied().or(accepted)
    }

    pub(super) fn owner(&self, index: u32) -> Option<Owner> {
        self.indexes.get(&index).copied()
    }

    /// Gives `owner` an index that is not in use, from random numbers.
    pub(super) fn claim(&mut self, owner: Owner, mut draw: impl FnMut() -> u32) -> u32 {
        loop {
            let index = draw();
            if let std::collections::hash_map::Entry::Vacant(entry) = self.indexes.entry(index) {
                entry.insert(owner);
                return index;
            }
        }
    }

    pub(super) fn assign(&mut self, index: u32, owner: Owner) {
        self.indexes.insert(index, owner);
    }

    pub(super) fn forget(&mut self, index: u32) {
        self.indexes.remove(&index);
    }

    /// The link must be looked at when the batch ends.
    pub(super) fn mark_dirty(&mut self, id: LinkId) {
        if let Some(link) = self.get_mut(id)
            && !std::mem::replace(&mut link.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    pub(super) fn next_dirty(&mut self) -> Option<LinkId> {
        while let Some(id) = self.dirty.pop() {
            if let Some(link) = self.get_mut(id) {
                link.dirty = false;
                self.follow(id);
                return Some(id);
            }
        }
        None
    }

    /// Tells the places where a link is now.
    fn follow(&mut self, id: LinkId) {
        let Some(slot) = usize::try_from(id.index).ok().and_then(|at| self.slots.get_mut(at)) else { return };
        if let (Some(link), Some((address, charged))) = (&slot.link, &mut slot.known_at)
            && *address != link.address
        {
            *charged = self.places.moved(&link.info, *address, link.address, *charged);
            *address = link.address;
        }
    }

    /// Sets when a link must act. A later time than the one that is set is not noted: the timer then fires once for
    /// nothing, which is cheaper than moving it with each datagram.
    pub(super) fn schedule(&mut self, id: LinkId, deadline: Option<Nanos>) {
        let Some(link) = self.get_mut(id) else { return };
        let Some(at) = deadline else { return };
        if link.scheduled.is_some_and(|scheduled| scheduled <= at) {
            return;
        }
        if let Some(old) = link.scheduled.replace(at) {
            self.timers.remove(&(old, id));
        }
        self.timers.insert((at, id));
    }

    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Takes a link whose time has come.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<LinkId> {
        let (at, id) = *self.timers.first().filter(|(at, _)| *at <= now)?;
        self.timers.remove(&(at, id));
        if let Some(link) = self.get_mut(id) {
            link.scheduled = None;
        }
        Some(id)
    }
}

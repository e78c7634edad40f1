//! The newest descriptor of each relay that a node has heard of.
//!
//! Anybody can make identities, so being known costs something: relays of the newest document have a place, all others share a few, where
//! those whom this node is connected with are not driven out by those of whom it only heard.

mod bucket;
mod places;

use std::collections::{BTreeMap, VecDeque};

use zmesh_sphinx::RelayId;

pub use places::{STRANGERS_MAX, STRANGERS_PER_NETWORK};

use super::Measure;
use crate::wire::control::vote::{Ballot, Sighting};
use crate::wire::control::{EpochDocument, FormError, Genesis, Reason, RelayFlags, Snapshot, Verdict, descriptor_hash};
use crate::wire::descriptor::{Descriptor, DescriptorError, LIFETIME_AGREED};
use crate::wire::document::{RELAYS_MAX, is_public};
use places::Places;

/// How much longer than [`LIFETIME_AGREED`] a descriptor may live, in seconds: an hour. The onion keys of longer ones would outlive
/// their use.
const LIFETIME_SLACK: u64 = 3_600;
/// A relay is heard again after so many seconds by the clock of whoever hears it: more is a flood, though each message be good.
const PAUSE: u64 = 60;
/// The same in a test network, where everything goes faster.
const PAUSE_TEST: u64 = 10;
/// Replaced descriptors of a relay that are kept: a ballot may name one.
const BEFORE: usize = 3;

/// Descriptors, bounded to as many relays as a document can have and [`STRANGERS_MAX`] others.
#[derive(Clone, Debug)]
pub struct Catalogue {
    test_network: bool,
    relays: BTreeMap<RelayId, Kept>,
    places: Places,
    /// By the hash by which documents name them, replaced ones too.
    hashes: BTreeMap<[u8; 32], RelayId>,
}

/// What is kept of a relay.
#[derive(Clone, Debug)]
struct Kept {
    newest: Descriptor,
    hash: [u8; 32],
    /// The latest first.
    before: VecDeque<([u8; 32], Descriptor)>,
    /// When it came, unix seconds.
    taken: u64,
}

/// How a descriptor came.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Somebody published it.
    Published,
    /// A neighbour, or the disk, had it among others.
    Handed,
}

impl Catalogue {
    /// An empty one.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        let test_network = genesis.terms().test_network;
        Self { test_network, relays: BTreeMap::new(), places: Places::new(test_network), hashes: BTreeMap::new() }
    }

    /// Gives a relay a place whatever documents say: the one that this node is.
    pub fn set_own(&mut self, id: RelayId) {
        self.places.own = Some(id);
    }

    /// This node is connected with the relay, which proved its identity: its place is not for those who were only heard of.
    pub fn met(&mut self, id: RelayId, now: u64) {
        self.places.met(id, now);
    }

    /// Takes a descriptor that was published, unless there is a reason against it. Copies are found out before proofs are verified.
    pub fn offer(&mut self, bytes: &[u8], now: u64) -> Verdict {
        if self.hashes.get(&descriptor_hash(bytes)).is_some_and(|id| self.relays[id].newest.as_bytes() == bytes) {
            return Verdict::Ignore(Reason::Duplicate);
        }
        match Descriptor::decode(bytes) {
            Ok(descriptor) => self.put(descriptor, now),
            Err(error) => Verdict::against(reason(&error)),
        }
    }

    /// As [`Catalogue::offer`], for one that is decoded.
    pub fn put(&mut self, descriptor: Descriptor, now: u64) -> Verdict {
        self.take(descriptor, Way::Published, now)
    }

    /// Takes a descriptor that a neighbour or the disk had among others: it drives nobody out, and no minute's budget is charged for it.
    pub fn fill(&mut self, descriptor: Descriptor, now: u64) -> Verdict {
        self.take(descriptor, Way::Handed, now)
    }

    fn take(&mut self, descriptor: Descriptor, way: Way, now: u64) -> Verdict {
        if let Some(reason) = self.judge(&descriptor, way, now) {
            return Verdict::against(reason);
        }
        if self.relays.contains_key(&descriptor.id()) {
            self.places.renew(&descriptor);
        } else {
            let published = way == Way::Published;
            if published && !self.places.is_listed(&descriptor.id()) && !self.places.hear(&descriptor.id(), now) {
                return Verdict::Ignore(Reason::TooMany);
            }
            let Some(gone) = self.places.enter(&descriptor, published, now) else {
                return Verdict::Ignore(Reason::Full);
            };
            gone.iter().for_each(|id| self.remove(id));
        }
        let taken = match way {
            Way::Published => now,
            Way::Handed => descriptor.terms().published.min(now),
        };
        self.insert(descriptor, taken);
        Verdict::Accept
    }

    /// Why not.
    fn judge(&self, descriptor: &Descriptor, way: Way, now: u64) -> Option<Reason> {
        if let Err(error) = descriptor.check_time(now) {
            return Some(reason(&error));
        }
        let terms = descriptor.terms();
        if terms.expires - terms.published > LIFETIME_AGREED + LIFETIME_SLACK {
            return Some(Reason::AgainstRules);
        }
        let info = descriptor.info();
        let addresses = info.addresses.iter().chain(info.control.iter().map(|control| &control.address));
        if !self.test_network && !addresses.into_iter().all(|address| is_public(address.ip())) {
            return Some(Reason::AgainstRules);
        }
        let known = self.relays.get(&descriptor.id())?;
        let revision = known.newest.terms().revision;
        let pause = if self.test_network { PAUSE_TEST } else { PAUSE };
        if known.newest.as_bytes() == descriptor.as_bytes() {
            Some(Reason::Duplicate)
        } else if revision == terms.revision {
            Some(Reason::Equivocation)
        } else if revision > terms.revision {
            Some(Reason::Stale)
        } else if way == Way::Published && now < known.taken.saturating_add(pause) {
            Some(Reason::TooMany)
        } else {
            None
        }
    }

    fn insert(&mut self, descriptor: Descriptor, taken: u64) {
        let (id, hash) = (descriptor.id(), descriptor_hash(descriptor.as_bytes()));
        self.hashes.insert(hash, id);
        match self.relays.get_mut(&id) {
            None => {
                self.relays.insert(id, Kept { newest: descriptor, hash, before: VecDeque::new(), taken });
            }
            Some(kept) => {
                let old = std::mem::replace(&mut kept.newest, descriptor);
                kept.before.push_front((std::mem::replace(&mut kept.hash, hash), old));
                kept.taken = taken;
                for (hash, _) in kept.before.drain(BEFORE.min(kept.before.len())..) {
                    self.hashes.remove(&hash);
                }
            }
        }
    }

    fn remove(&mut self, id: &RelayId) {
        let Some(kept) = self.relays.remove(id) else { return };
        for hash in kept.before.iter().map(|(hash, _)| hash).chain([&kept.hash]) {
            self.hashes.remove(hash);
        }
    }

    /// Takes over a new document, whose descriptors are verified: its relays have a place each from now on, and no others.
    pub fn list(&mut self, relays: &[Descriptor], now: u64) {
        for descriptor in relays {
            let newer = self
                .relays
                .get(&descriptor.id())
                .is_none_or(|known| known.newest.terms().revision < descriptor.terms().revision);
            if newer && descriptor.terms().expires > now {
                self.insert(descriptor.clone(), descriptor.terms().published.min(now));
            }
        }
        let listed = relays.iter().map(Descriptor::id).collect();
        let gone = self.places.list(listed, self.relays.values().map(|kept| &kept.newest), now);
        gone.iter().for_each(|id| self.remove(id));
    }

    /// Forgets what no longer holds.
    pub fn prune(&mut self, now: u64) {
        let over = self.relays.iter().filter(|(_, kept)| kept.newest.terms().expires <= now);
        let over: Vec<RelayId> = over.map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.remove(id));
        self.places.forget(&over);
        self.places.prune(now);
    }

    /// How many relays are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    /// Whether a relay is known.
    #[must_use]
    pub fn contains(&self, id: &RelayId) -> bool {
        self.relays.contains_key(id)
    }

    /// The newest descriptor of a relay.
    #[must_use]
    pub fn descriptor(&self, id: &RelayId) -> Option<&Descriptor> {
        self.relays.get(id).map(|kept| &kept.newest)
    }

    /// The descriptor of this hash, as documents name it, also if it was replaced lately.
    #[must_use]
    pub fn by_hash(&self, hash: &[u8; 32]) -> Option<&Descriptor> {
        let kept = self.relays.get(self.hashes.get(hash)?)?;
        if kept.hash == *hash {
            return Some(&kept.newest);
        }
        kept.before.iter().find(|(other, _)| other == hash).map(|(_, descriptor)| descriptor)
    }

    /// What a voter says of the relays: those that `view` tells an uptime and figures of, because the voter reached them, and whose
    /// descriptor holds until `until` (unix seconds) at least. See [`super::Chain::ballots_hold_until`].
    #[must_use]
    pub fn ballot(&self, until: u64, mut view: impl FnMut(&RelayId) -> Option<(u16, Measure)>) -> Ballot {
        let seen = self.relays.values().filter(|kept| kept.newest.terms().expires >= until);
        // A ballot has no more relays than a document; those of the newest one go first.
        let mut room = RELAYS_MAX.saturating_sub(self.relays.len() - self.strangers().count());
        let sightings = seen.filter_map(|kept| {
            let id = kept.newest.id();
            let (uptime, measure) = view(&id)?;
            if self.places.is_stranger(&id) {
                room = room.checked_sub(1)?;
            }
            Some(Sighting {
                id,
                descriptor: kept.hash,
                uptime: uptime.min(1_000),
                measure,
                flags: RelayFlags::said_by(&kept.newest),
            })
        });
        Ballot { sightings: sightings.collect(), ..Ballot::default() }
    }

    /// A document with its descriptors, if all of them are here.
    ///
    /// # Errors
    /// One is missing.
    pub fn snapshot(&self, document: EpochDocument) -> Result<Snapshot, FormError> {
        Snapshot::new(document, |entry| self.by_hash(&entry.descriptor).cloned())
    }

    /// All descriptors, by relay id.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        self.after(None)
    }

    /// The descriptors of relays above an id, by id.
    pub fn after(&self, id: Option<RelayId>) -> impl Iterator<Item = &Descriptor> {
        let from = id.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.relays.range((from, std::ops::Bound::Unbounded)).map(|(_, kept)| &kept.newest)
    }

    /// The newest descriptors of relays that no document lists: those of the others come with the document.
    pub fn strangers(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors().filter(|descriptor| self.places.is_stranger(&descriptor.id()))
    }

    /// Whether [`Catalogue::strangers`] are others than when this was last asked.
    pub fn take_changed(&mut self) -> bool {
        self.places.take_changed()
    }
}

/// What scoring is told of a descriptor that was refused.
fn reason(error: &DescriptorError) -> Reason {
    match error {
        DescriptorError::TooLarge { .. } => Reason::Oversized,
        DescriptorError::ForgedSignature | DescriptorError::ForgedProof(_) => Reason::Forged,
        DescriptorError::Expired { .. } => Reason::Expired,
        DescriptorError::NotYetValid { .. } => Reason::Early,
        _ => Reason::Malformed,
    }
}

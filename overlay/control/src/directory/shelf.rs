//! The descriptors that a directory node holds: what relays say of themselves now, whether or not a document lists them.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};
use zmesh_proto::wire::control::{Reason, Verdict};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorError};
use zmesh_sphinx::RelayId;

use super::question::PAGE;
use crate::address;

/// Descriptors at once: as many as a document lists.
const DESCRIPTORS: usize = 4_096;
/// A relay may replace its descriptor this often, in seconds; more often is ignored.
const PAUSE: u64 = 10;
/// Replaced descriptors of a relay that are kept.
const BEFORE: usize = 3;

/// The shelf.
pub(crate) struct Shelf {
    relays: BTreeMap<RelayId, Kept>,
    test_network: bool,
}

/// What is kept of a relay: a ballot may name a descriptor that was replaced since.
struct Kept {
    newest: Descriptor,
    hash: [u8; 32],
    before: VecDeque<([u8; 32], Descriptor)>,
}

impl Shelf {
    pub(crate) fn new(test_network: bool) -> Self {
        Self { relays: BTreeMap::new(), test_network }
    }

    /// Judges a descriptor as it came, and keeps it if it is good.
    pub(crate) fn offer(&mut self, bytes: &[u8], now: u64) -> Verdict {
        match Descriptor::decode(bytes) {
            Ok(descriptor) => self.put(descriptor, now),
            Err(DescriptorError::ForgedSignature | DescriptorError::ForgedProof(_)) => Verdict::against(Reason::Forged),
            Err(DescriptorError::TooLarge { .. }) => Verdict::against(Reason::Oversized),
            Err(_) => Verdict::against(Reason::Malformed),
        }
    }

    /// Judges a descriptor and keeps it if it is good.
    pub(crate) fn put(&mut self, descriptor: Descriptor, now: u64) -> Verdict {
        match descriptor.check_time(now) {
            Err(DescriptorError::Expired { .. }) => return Verdict::against(Reason::Expired),
            Err(_) => return Verdict::against(Reason::Early),
            Ok(()) => {}
        }
        if !self.test_network && !descriptor.info().addresses.iter().all(|at| address::is_public(at.ip())) {
            return Verdict::against(Reason::AgainstRules);
        }
        if let Some(kept) = self.relays.get(&descriptor.id()) {
            let known = &kept.newest;
            if known.as_bytes() == descriptor.as_bytes() {
                return Verdict::against(Reason::Duplicate);
            }
            if known.terms().revision >= descriptor.terms().revision {
                return Verdict::against(Reason::Stale);
            }
            if known.terms().published + PAUSE > descriptor.terms().published {
                return Verdict::against(Reason::TooMany);
            }
        } else if self.relays.len() >= DESCRIPTORS {
            self.expire(now);
            if self.relays.len() >= DESCRIPTORS {
                return Verdict::against(Reason::Full);
            }
        }
        self.keep(descriptor);
        Verdict::Accept
    }

    fn keep(&mut self, descriptor: Descriptor) {
        let hash: [u8; 32] = Sha256::digest(descriptor.as_bytes()).into();
        match self.relays.entry(descriptor.id()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Kept { newest: descriptor, hash, before: VecDeque::new() });
            }
            Entry::Occupied(mut occupied) => {
                let kept = occupied.get_mut();
                let old = std::mem::replace(&mut kept.newest, descriptor);
                kept.before.push_front((std::mem::replace(&mut kept.hash, hash), old));
                kept.before.truncate(BEFORE);
            }
        }
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.relays.retain(|_, kept| !matches!(kept.newest.check_time(now), Err(DescriptorError::Expired { .. })));
    }

    pub(crate) fn len(&self) -> usize {
        self.relays.len()
    }

    /// The newest descriptors with their hashes, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Descriptor, &[u8; 32])> {
        self.relays.values().map(|kept| (&kept.newest, &kept.hash))
    }

    pub(crate) fn contains(&self, id: &RelayId) -> bool {
        self.relays.contains_key(id)
    }

    /// The descriptor of a relay with this hash, also if it was replaced lately.
    pub(crate) fn by_hash(&self, id: &RelayId, hash: &[u8; 32]) -> Option<&Descriptor> {
        let kept = self.relays.get(id)?;
        if kept.hash == *hash {
            return Some(&kept.newest);
        }
        kept.before.iter().find(|(other, _)| other == hash).map(|(_, descriptor)| descriptor)
    }

    /// A page of descriptors above an id.
    pub(crate) fn page(&self, after: Option<RelayId>) -> Vec<Vec<u8>> {
        let mut size = 0;
        self.relays
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after))
            .map(|(_, kept)| kept.newest.as_bytes().to_vec())
            .take_while(|bytes| {
                size += bytes.len();
                size <= PAGE
            })
            .collect()
    }
}

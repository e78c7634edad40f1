//! The descriptors that a directory node holds: what relays say of themselves now, whether or not a document lists them.
//!
//! Pure: the time, in unix seconds, is an argument.

use std::collections::BTreeMap;

use zmesh_proto::wire::control::{Reason, Verdict};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorError};
use zmesh_sphinx::RelayId;

use super::question::PAGE;
use crate::address;

/// Descriptors at once: as many as a document lists.
const DESCRIPTORS: usize = 4_096;
/// A relay may replace its descriptor this often, in seconds; more often is ignored.
const PAUSE: u64 = 10;

/// The shelf.
pub(crate) struct Shelf {
    descriptors: BTreeMap<RelayId, Descriptor>,
    test_network: bool,
}

impl Shelf {
    pub(crate) fn new(test_network: bool) -> Self {
        Self { descriptors: BTreeMap::new(), test_network }
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
        if let Some(known) = self.descriptors.get(&descriptor.id()) {
            if known.as_bytes() == descriptor.as_bytes() {
                return Verdict::against(Reason::Duplicate);
            }
            if known.terms().revision >= descriptor.terms().revision {
                return Verdict::against(Reason::Stale);
            }
            if known.terms().published + PAUSE > descriptor.terms().published {
                return Verdict::against(Reason::TooMany);
            }
        } else if self.descriptors.len() >= DESCRIPTORS {
            self.expire(now);
            if self.descriptors.len() >= DESCRIPTORS {
                return Verdict::against(Reason::Full);
            }
        }
        self.descriptors.insert(descriptor.id(), descriptor);
        Verdict::Accept
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.descriptors.retain(|_, descriptor| !matches!(descriptor.check_time(now), Err(DescriptorError::Expired { .. })));
    }

    pub(crate) fn len(&self) -> usize {
        self.descriptors.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Descriptor> {
        self.descriptors.values()
    }

    /// A page of descriptors above an id.
    pub(crate) fn page(&self, after: Option<RelayId>) -> Vec<Vec<u8>> {
        let mut size = 0;
        self.descriptors
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after))
            .map(|(_, descriptor)| descriptor.as_bytes().to_vec())
            .take_while(|bytes| {
                size += bytes.len();
                size <= PAGE
            })
            .collect()
    }
}

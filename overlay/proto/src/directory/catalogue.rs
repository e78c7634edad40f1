//! The newest descriptor of each relay that a node has heard of, and the newest report of its load.

use std::collections::BTreeMap;

use zmesh_sphinx::RelayId;

use super::Measure;
use crate::wire::control::vote::{Ballot, Sighting};
use crate::wire::control::{
    EpochDocument, FormError, Genesis, LoadReport, Reason, RelayFlags, Snapshot, Verdict, descriptor_hash,
};
use crate::wire::descriptor::{Descriptor, DescriptorError, LIFETIME_AGREED};
use crate::wire::document::{NetworkId, RELAYS_MAX, is_public};

/// How much longer than [`LIFETIME_AGREED`] a descriptor may live, in seconds: an hour. The onion keys of longer ones would outlive
/// their use.
const LIFETIME_SLACK: u64 = 3_600;

/// Descriptors and reports of load, bounded to as many relays as a document can have.
#[derive(Clone, Debug)]
pub struct Catalogue {
    network: NetworkId,
    test_network: bool,
    descriptors: BTreeMap<RelayId, Descriptor>,
    /// By the hash by which documents name them.
    hashes: BTreeMap<[u8; 32], RelayId>,
    loads: BTreeMap<RelayId, LoadReport>,
}

impl Catalogue {
    /// An empty one.
    #[must_use]
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            network: genesis.network_id(),
            test_network: genesis.terms().test_network,
            descriptors: BTreeMap::new(),
            hashes: BTreeMap::new(),
            loads: BTreeMap::new(),
        }
    }

    /// Takes a descriptor that was published, unless there is a reason against it. What a known one is a copy of, or older than, is found
    /// out before its proofs are verified.
    pub fn offer(&mut self, bytes: &[u8], now: u64) -> Verdict {
        if self.hashes.contains_key(&descriptor_hash(bytes)) {
            return Verdict::Ignore(Reason::Duplicate);
        }
        match Descriptor::decode(bytes) {
            Ok(descriptor) => match self.judge(&descriptor, now) {
                Some(reason) => Verdict::against(reason),
                None => {
                    self.insert(descriptor);
                    Verdict::Accept
                }
            },
            Err(error) => Verdict::against(reason(&error)),
        }
    }

    /// Why not.
    fn judge(&self, descriptor: &Descriptor, now: u64) -> Option<Reason> {
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
        match self.descriptors.get(&descriptor.id()).map(|known| known.terms().revision) {
            Some(known) if known == terms.revision => Some(Reason::Equivocation),
            Some(known) if known > terms.revision => Some(Reason::Stale),
            None if self.descriptors.len() >= RELAYS_MAX => Some(Reason::Full),
            _ => None,
        }
    }

    fn insert(&mut self, descriptor: Descriptor) {
        self.hashes.insert(descriptor_hash(descriptor.as_bytes()), descriptor.id());
        if let Some(old) = self.descriptors.insert(descriptor.id(), descriptor) {
            self.hashes.remove(&descriptor_hash(old.as_bytes()));
        }
    }

    /// Takes a report of load that was published, unless there is a reason against it.
    pub fn offer_load(&mut self, bytes: &[u8], now: u64) -> Verdict {
        let report = match LoadReport::decode(bytes) {
            Ok(report) => report,
            Err(FormError::TooLarge { .. }) => return Verdict::Reject(Reason::Oversized),
            Err(FormError::ForgedSignature) => return Verdict::Reject(Reason::Forged),
            Err(_) => return Verdict::Reject(Reason::Malformed),
        };
        if report.network != self.network {
            return Verdict::Reject(Reason::OtherNetwork);
        }
        if !report.holds_at(now) {
            return Verdict::Ignore(if report.made > now { Reason::Early } else { Reason::Expired });
        }
        let relay = report.relay();
        if !self.descriptors.contains_key(&relay) {
            return Verdict::Ignore(Reason::Unrelated);
        }
        match self.loads.get(&relay) {
            Some(known) if *known == report => Verdict::Ignore(Reason::Duplicate),
            Some(known) if known.made >= report.made => Verdict::Ignore(Reason::Stale),
            _ => {
                self.loads.insert(relay, report);
                Verdict::Accept
            }
        }
    }

    /// Forgets what no longer holds.
    pub fn prune(&mut self, now: u64) {
        self.loads.retain(|_, report| report.holds_at(now));
        self.descriptors.retain(|_, descriptor| descriptor.terms().expires > now);
        let descriptors = &self.descriptors;
        self.hashes.retain(|_, id| descriptors.contains_key(id));
        self.loads.retain(|id, _| descriptors.contains_key(id));
    }

    /// The newest descriptor of a relay.
    #[must_use]
    pub fn descriptor(&self, id: &RelayId) -> Option<&Descriptor> {
        self.descriptors.get(id)
    }

    /// The descriptor of this hash, as documents name it.
    #[must_use]
    pub fn by_hash(&self, hash: &[u8; 32]) -> Option<&Descriptor> {
        self.descriptors.get(self.hashes.get(hash)?)
    }

    /// What a voter says of the relays: those that `view` tells an uptime and figures of, because the voter reached them, and whose
    /// descriptor holds until `until` (unix seconds) at least. See [`super::Chain::ballots_hold_until`].
    #[must_use]
    pub fn ballot(&self, until: u64, mut view: impl FnMut(&RelayId) -> Option<(u16, Measure)>) -> Ballot {
        let seen = self.descriptors.values().filter(|descriptor| descriptor.terms().expires >= until);
        let sightings = seen.filter_map(|descriptor| {
            let (uptime, measure) = view(&descriptor.id())?;
            Some(Sighting {
                id: descriptor.id(),
                descriptor: descriptor_hash(descriptor.as_bytes()),
                uptime: uptime.min(1_000),
                measure,
                flags: RelayFlags::said_by(descriptor),
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
        self.descriptors.values()
    }

    /// The newest report of a relay's load, if it holds.
    #[must_use]
    pub fn load(&self, id: &RelayId, now: u64) -> Option<&LoadReport> {
        self.loads.get(id).filter(|report| report.holds_at(now))
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

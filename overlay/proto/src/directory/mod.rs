//! The set of relays that a node knows: a verified network document, ready to be asked.
//!
//! Two forms of document feed a [`Network`]: the network file, which its signers sign for weeks, and the epoch document, on
//! which voters agree every epoch ([`Chain`]). Whoever chooses paths or builds circuits need not know which it was.

mod by_hand;
mod catalogue;
mod chain;
mod entry;
#[cfg(test)]
pub(crate) mod fixture;
mod fork;
mod heads;
mod heartbeats;
mod held;
mod measure;
pub mod measuring;
mod proofs;
mod refresh;
#[cfg(test)]
mod tests;
pub mod voting;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use zmesh_sphinx::{OnionPublic, PathHop, RelayId};

use crate::link::LinkPeer;
use crate::wire::control::{HeaderHash, RelayFlags, Snapshot};
use crate::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, Region, Terms};
use crate::wire::document::{Document, NetworkId, SignerId, is_public};

pub use crate::wire::document::DocumentError;
pub use by_hand::ByHand;
pub use catalogue::{Catalogue, STRANGERS_MAX, STRANGERS_PER_NETWORK};
pub use chain::{Chain, ChainError, Head, TRUST_LIMIT};
pub use fork::{DoubleSigners, FORK_MAX, Fork};
pub use heads::{COMPARED, Comparison, Known, Lie, Said, Split, Warning, compare};
pub use heartbeats::{Health, Heartbeats, LOAD_STEPS};
pub use held::{CHANGES_MAX, Held, HeldError, Step, read_changes};
pub use measure::{Coordinate, Measure};
pub use proofs::{PROOF_EPOCHS, PROOFS_MAX, PROOFS_PER_VOTER, ProofChange, ProofError, ProofName, Proofs};
pub use refresh::{next_refresh, retry_after};

/// A verified network document that was valid when it was read.
#[derive(Clone, Debug)]
pub struct Network {
    id: NetworkId,
    name: String,
    test_network: bool,
    valid_after: u64,
    valid_until: u64,
    signers: Vec<SignerId>,
    /// Sorted by id: the document's rule.
    relays: Vec<Relay>,
    /// What was measured of them, for those of which something was.
    measures: BTreeMap<RelayId, Measure>,
    /// What only an epoch document has.
    agreed: Option<Agreed>,
}

/// What only an epoch document says.
#[derive(Clone, Debug)]
struct Agreed {
    epoch: u64,
    hash: HeaderHash,
    randomness: [u8; 32],
    flags: BTreeMap<RelayId, RelayFlags>,
}

impl Network {
    /// Reads a network file and checks everything: form, every descriptor, signatures and their number, time.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn decode(bytes: &[u8], unix_now: u64) -> Result<Self, DocumentError> {
        Self::from_document(Document::from_text(bytes)?, unix_now)
    }

    /// Takes a document if it holds at `unix_now`, in seconds.
    ///
    /// # Errors
    /// [`DocumentError::Expired`], [`DocumentError::NotYetValid`].
    pub fn from_document(document: Document, unix_now: u64) -> Result<Self, DocumentError> {
        document.check_time(unix_now)?;
        let id = document.network_id();
        let name = document.name().to_owned();
        let test_network = document.is_test_network();
        let (valid_after, valid_until) = (document.valid_after(), document.valid_until());
        let signers = document.signers();
        let relays = document.into_descriptors().into_iter().map(|descriptor| Relay { descriptor }).collect();
        let measures = BTreeMap::new();
        Ok(Self { id, name, test_network, valid_after, valid_until, signers, relays, measures, agreed: None })
    }

    /// Takes the snapshot of the newest document that a chain trusts, if it holds at `unix_now`, in seconds. Relays whose descriptor ends
    /// before the document does are left out, and so are private addresses where the network is no test network: every holder of the
    /// document leaves out the same ones.
    ///
    /// # Errors
    /// The chain trusts another document, or it does not hold at this time.
    pub fn from_snapshot(chain: &Chain, snapshot: Snapshot, unix_now: u64) -> Result<Self, ChainError> {
        let hash = snapshot.document().hash();
        let (genesis, head) = (chain.genesis(), chain.head());
        if hash != head.hash {
            return Err(ChainError::OtherHeader { wanted: head.hash, found: hash });
        }
        chain.check_time(unix_now)?;
        let test_network = genesis.terms().test_network;
        let (document, descriptors) = snapshot.into_parts();
        let usable = |descriptor: &Descriptor| {
            let info = descriptor.info();
            descriptor.terms().expires >= head.valid_until
                && (test_network || info.addresses.iter().all(|address| is_public(address.ip())))
        };
        let (mut relays, mut measures, mut flags) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        for (entry, descriptor) in document.relays().iter().zip(descriptors) {
            if usable(&descriptor) {
                relays.push(Relay { descriptor });
                measures.insert(entry.id, entry.measure);
                flags.insert(entry.id, entry.flags);
            }
        }
        let agreed = Agreed { epoch: head.epoch, hash, randomness: head.randomness, flags };
        Ok(Self {
            id: genesis.network_id(),
            name: genesis.terms().name.clone(),
            test_network,
            valid_after: head.valid_after,
            valid_until: head.valid_until,
            signers: head.voters.voters().iter().map(|voter| voter.key).collect(),
            relays,
            measures,
            agreed: Some(agreed),
        })
    }

    /// The epoch of the document, if it is one that voters agreed on.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.agreed.as_ref().map(|agreed| agreed.epoch)
    }

    /// The hash by which an epoch document is named.
    #[must_use]
    pub fn header_hash(&self) -> Option<HeaderHash> {
        self.agreed.as_ref().map(|agreed| agreed.hash)
    }

    /// What the voters say of a relay besides figures; no flag where nobody voted.
    #[must_use]
    pub fn flags(&self, id: &RelayId) -> RelayFlags {
        self.agreed.as_ref().and_then(|agreed| agreed.flags.get(id)).copied().unwrap_or_default()
    }

    /// The same network with what was measured of its relays.
    #[must_use]
    pub fn with_measures(self, measures: BTreeMap<RelayId, Measure>) -> Self {
        Self { measures, ..self }
    }

    /// What was measured of a relay; nothing by default.
    #[must_use]
    pub fn measure(&self, id: &RelayId) -> Measure {
        self.measures.get(id).copied().unwrap_or_default()
    }

    /// A value that all who hold this document share and that places things on relays. An epoch document has fresh randomness; a
    /// network file has none, so it can be known ahead there.
    #[must_use]
    pub fn shared_random(&self) -> [u8; 32] {
        if let Some(agreed) = &self.agreed {
            return agreed.randomness;
        }
        let mut hash = Sha256::new();
        hash.update(b"zmesh network file random v1\0");
        hash.update(self.id.0);
        hash.update(self.valid_after.to_be_bytes());
        hash.finalize().into()
    }

    /// All relays, sorted by id.
    #[must_use]
    pub fn relays(&self) -> &[Relay] {
        &self.relays
    }

    /// One relay.
    #[must_use]
    pub fn relay(&self, id: &RelayId) -> Option<&Relay> {
        let at = self.relays.binary_search_by_key(id, Relay::id).ok()?;
        self.relays.get(at)
    }

    /// The network's id: a hash over name, test flag and signers, or over the genesis. Invites pin it.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        self.id
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From when the document holds, unix seconds.
    #[must_use]
    pub fn valid_after(&self) -> u64 {
        self.valid_after
    }

    /// The first second at which it no longer holds, unix time. No relay's descriptor ends earlier.
    #[must_use]
    pub fn valid_until(&self) -> u64 {
        self.valid_until
    }

    /// Whether the document still holds at this time (unix seconds).
    #[must_use]
    pub fn is_valid_at(&self, unix: u64) -> bool {
        unix < self.valid_until
    }

    /// Whether this is a test network: relays of one operator and one machine may share a path.
    #[must_use]
    pub fn is_test_network(&self) -> bool {
        self.test_network
    }

    /// Who may sign the next document of this network.
    #[must_use]
    pub fn signers(&self) -> &[SignerId] {
        &self.signers
    }

    /// The hops of a path, with the onion keys of this time (unix seconds), ready for a set-up. `None` when a relay is
    /// not in the document or has no key for this time.
    #[must_use]
    pub fn path_hops(&self, path: &[RelayId], unix: u64) -> Option<Vec<PathHop>> {
        path.iter()
            .map(|id| {
                let onion = self.relay(id)?.onion_at(unix)?;
                Some(PathHop { id: *id, onion })
            })
            .collect()
    }
}

/// A relay of a [`Network`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Relay {
    descriptor: Descriptor,
}

impl Relay {
    /// The relay's id.
    #[must_use]
    pub fn id(&self) -> RelayId {
        self.descriptor.id()
    }

    /// Its Ed25519 identity.
    #[must_use]
    pub fn identity(&self) -> [u8; 32] {
        self.descriptor.identity()
    }

    /// What a link to it needs.
    #[must_use]
    pub fn link_peer(&self) -> LinkPeer {
        LinkPeer {
            identity: self.descriptor.identity(),
            link_key: self.descriptor.link_key(),
            addresses: self.info().addresses.clone(),
        }
    }

    /// The onion key to which set-ups of this time (unix seconds) are made.
    #[must_use]
    pub fn onion_at(&self, unix: u64) -> Option<OnionPublic> {
        self.descriptor.onion_at(unix)
    }

    /// The Ed25519 key of its TLS, if it is an exit, keeps chunks or splices meetings.
    #[must_use]
    pub fn exit_key(&self) -> Option<[u8; 32]> {
        self.descriptor.exit_key()
    }

    /// What leaves the network here, if anything does.
    #[must_use]
    pub fn exit(&self) -> Option<&ExitSummary> {
        self.info().exit.as_ref()
    }

    /// Whether it splices circuits that meet here.
    #[must_use]
    pub fn is_meeting(&self) -> bool {
        self.info().meeting
    }

    /// Whether it keeps chunks.
    #[must_use]
    pub fn is_cache(&self) -> bool {
        self.info().cache
    }

    /// Whether it serves documents to whoever asks.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.info().directory
    }

    /// Which part of the world it stands in.
    #[must_use]
    pub fn region(&self) -> Option<Region> {
        self.info().region
    }

    /// The name for people.
    #[must_use]
    pub fn nickname(&self) -> &str {
        &self.info().nickname
    }

    /// Who runs it.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.info().operator
    }

    /// The wider group that should not share a path.
    #[must_use]
    pub fn family(&self) -> Option<&str> {
        self.info().family.as_deref()
    }

    /// Where it stands: two capital letters.
    #[must_use]
    pub fn country(&self) -> Option<&str> {
        self.info().country.as_ref().and_then(|letters| std::str::from_utf8(letters).ok())
    }

    /// Everything that its operator says about it.
    #[must_use]
    pub fn info(&self) -> &DescriptorInfo {
        self.descriptor.info()
    }

    /// From when until when its descriptor holds, and its revision.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.descriptor.terms()
    }

    /// The descriptor itself.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

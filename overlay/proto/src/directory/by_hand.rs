//! A document whose voters' keys are all in one place: for the first document of a network that one person starts, and for tests.

use std::collections::BTreeMap;

use zmesh_sphinx::RelayId;

use super::{Chain, Measure};
use crate::keys::{SignerKey, VRF_PROOF_LEN};
use crate::wire::control::{
    Certificate, EpochDocument, FormError, Header, HeaderFields, Parameters, RelayEntry, RelayFlags, SignedHeader,
    Snapshot, VoterSet, descriptor_hash, table_hash, write_table,
};
use crate::wire::descriptor::Descriptor;
use crate::wire::document::SignerId;

/// What a document says that is made by hand.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// Its epoch, later than the chain's newest.
    pub epoch: u64,
    /// Its randomness.
    pub randomness: [u8; 32],
    /// The relays.
    pub descriptors: Vec<Descriptor>,
    /// What was measured of them.
    pub measures: BTreeMap<RelayId, Measure>,
    /// The voters of the next document, if they are others.
    pub voters: Option<VoterSet>,
    /// The parameters.
    pub parameters: Parameters,
}

impl ByHand {
    /// A document of an epoch with these relays, everything else as it is.
    #[must_use]
    pub fn new(chain: &Chain, epoch: u64, descriptors: Vec<Descriptor>) -> Self {
        Self {
            epoch,
            randomness: chain.head().randomness,
            descriptors,
            measures: BTreeMap::new(),
            voters: None,
            parameters: chain.head().parameters.clone(),
        }
    }

    /// Signs it with those of `keys` whom the chain's newest document names as voters. It has no proof of a proposer: nobody drew lots.
    ///
    /// # Errors
    /// There are no relays or too many, one is there twice, or the epoch is not later than that of the chain. Whether the keys are
    /// enough is found out by whoever verifies it.
    pub fn sign(mut self, chain: &Chain, keys: &[SignerKey]) -> Result<Snapshot, FormError> {
        let (genesis, head) = (chain.genesis(), chain.head());
        self.descriptors.sort_by_key(Descriptor::id);
        let relays: Vec<RelayEntry> = self
            .descriptors
            .iter()
            .map(|descriptor| RelayEntry {
                id: descriptor.id(),
                descriptor: descriptor_hash(descriptor.as_bytes()),
                measure: self.measures.get(&descriptor.id()).copied().unwrap_or_default(),
                flags: RelayFlags::said_by(descriptor),
            })
            .collect();
        let header = Header::new(HeaderFields {
            network: genesis.network_id(),
            epoch: self.epoch,
            previous_epoch: head.epoch,
            previous: head.hash,
            valid_after: genesis.epoch_start(self.epoch),
            valid_until: genesis.epoch_start(self.epoch.saturating_add(self.parameters.lifetime())),
            proposer: keys.first().map_or(SignerId([0; 32]), |key| SignerId(key.public())),
            round: 0,
            proof: [0; VRF_PROOF_LEN],
            randomness: self.randomness,
            signers: head.voters.hash(),
            voters: self.voters,
            parameters: self.parameters,
            relay_count: relays.len(),
            relays: table_hash(&write_table(&relays)),
        })?;
        let mut signatures: Vec<(u8, [u8; 64])> = keys
            .iter()
            .filter_map(|key| {
                let place = head.voters.place(&SignerId(key.public()))?;
                let signature = key.sign_precommit(&genesis.network_id(), &head.hash, 0, Some(&header.hash()));
                Some((u8::try_from(place).ok()?, signature))
            })
            .collect();
        signatures.sort_by_key(|(place, _)| *place);
        let signed = SignedHeader::new(header, Certificate { round: 0, signatures })?;
        let document = EpochDocument::new(signed, relays)?;
        let mut descriptors = self.descriptors.into_iter();
        Snapshot::new(document, |_| descriptors.next())
    }
}

//! Proofs that voters said two things, as a node keeps them over restarts: few, each verified when it comes back, and forgotten when
//! the documents that they were about are long gone.
//!
//! Pure: it says what to write down and what to forget, and the driver does so.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::wire::control::vote::{EVIDENCE_MAX, Evidence};
use crate::wire::document::{NetworkId, SignerId};

/// Proofs that are kept at most.
pub const PROOFS_MAX: usize = 128;
/// Proofs against one voter that are kept at most: so it takes many who are guilty to have a proof forgotten, and one says enough.
pub const PROOFS_PER_VOTER: usize = 4;
/// For how many epochs after the document that it was about a proof is kept: a month of hours.
pub const PROOF_EPOCHS: u64 = 720;

/// Under which name a proof is kept: the epoch of the document before the one that was voted on, and a hash of the proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProofName {
    epoch: u64,
    hash: [u8; 32],
}

impl ProofName {
    /// The length of [`ProofName::to_bytes`].
    pub const LEN: usize = 40;

    fn of(evidence: &Evidence, bytes: &[u8]) -> Self {
        Self { epoch: evidence.votes().0.scope().previous_epoch, hash: Sha256::digest(bytes).into() }
    }

    /// The name in bytes, which sort by epoch.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..].copy_from_slice(&self.hash);
        bytes
    }
}

/// Something to write down, or to forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProofChange {
    /// Keep these bytes under this name.
    Keep(ProofName, Vec<u8>),
    /// Forget what is kept under this name.
    Forget(ProofName),
}

/// Why what was kept is none of this network's proofs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// It is no proof: damaged, or not signed.
    #[error("it proves nothing")]
    NoProof,
    /// It is a proof, and kept under another's name.
    #[error("it is kept under another name")]
    OtherName,
    /// It is of another network.
    #[error("it is of another network")]
    OtherNetwork,
    /// It is of an epoch that is long gone.
    #[error("its epoch is long gone")]
    LongGone,
    /// Whom it is against was no voter.
    #[error("it is against nobody who votes")]
    NoVoter,
    /// There are as many as are kept, or as are kept against its voter.
    #[error("there are enough")]
    Enough,
}

/// The proofs that a node keeps.
#[derive(Clone, Debug)]
pub struct Proofs {
    network: NetworkId,
    kept: BTreeMap<ProofName, Evidence>,
}

impl Proofs {
    /// None yet, of this network.
    #[must_use]
    pub fn new(network: NetworkId) -> Self {
        Self { network, kept: BTreeMap::new() }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Against how many voters.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.kept.values().map(Evidence::voter).collect::<std::collections::BTreeSet<SignerId>>().len()
    }

    /// Takes a verified proof while the newest document is of the epoch `head`: what is to be written down and forgotten. Nothing, if it
    /// is known or has no place.
    #[must_use]
    pub fn note(&mut self, evidence: &Evidence, head: u64) -> Vec<ProofChange> {
        let bytes = evidence.encode();
        let name = ProofName::of(evidence, &bytes);
        match self.put(name, evidence.clone(), bytes.len(), head) {
            Ok(None) => vec![ProofChange::Keep(name, bytes)],
            Ok(Some(instead)) => vec![ProofChange::Forget(instead), ProofChange::Keep(name, bytes)],
            Err(_) => Vec::new(),
        }
    }

    /// Takes what was kept under a name when the node starts, if it verifies, and if `entitled` says that it is not against somebody
    /// who was no voter, as far as the node knows who was.
    ///
    /// # Errors
    /// See [`ProofError`]; it is to be forgotten.
    pub fn restore(
        &mut self,
        name: &[u8],
        bytes: &[u8],
        head: u64,
        entitled: impl FnOnce(&Evidence) -> bool,
    ) -> Result<(), ProofError> {
        // The name is a hash of what was kept: most damage is found without looking at signatures.
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        if name.get(8..) != Some(hash.as_slice()) {
            return Err(ProofError::OtherName);
        }
        let evidence = Evidence::decode(bytes).map_err(|_| ProofError::NoProof)?;
        let own = ProofName::of(&evidence, bytes);
        if own.to_bytes().as_slice() != name {
            return Err(ProofError::OtherName);
        }
        if !entitled(&evidence) {
            return Err(ProofError::NoVoter);
        }
        self.put(own, evidence, bytes.len(), head).map(drop)
    }

    /// Forgets what is long gone when the newest document is of the epoch `head`.
    #[must_use]
    pub fn expire(&mut self, head: u64) -> Vec<ProofChange> {
        let gone: Vec<ProofName> = self.kept.keys().copied().filter(|name| is_long_gone(name, head)).collect();
        gone.into_iter()
            .map(|name| {
                self.kept.remove(&name);
                ProofChange::Forget(name)
            })
            .collect()
    }

    /// Keeps a proof; the answer is one that made room for it.
    fn put(
        &mut self,
        name: ProofName,
        evidence: Evidence,
        len: usize,
        head: u64,
    ) -> Result<Option<ProofName>, ProofError> {
        if evidence.votes().0.scope().network != self.network {
            return Err(ProofError::OtherNetwork);
        }
        if is_long_gone(&name, head) {
            return Err(ProofError::LongGone);
        }
        if len > EVIDENCE_MAX || self.kept.contains_key(&name) {
            return Err(ProofError::Enough);
        }
        let against = self.kept.iter().filter(|(_, kept)| kept.voter() == evidence.voter());
        let instead = if against.clone().count() >= PROOFS_PER_VOTER {
            against.map(|(name, _)| *name).next()
        } else if self.kept.len() >= PROOFS_MAX {
            self.kept.keys().next().copied()
        } else {
            None
        };
        // The latest are those that may still be of use.
        if instead.is_some_and(|instead| instead.epoch >= name.epoch) {
            return Err(ProofError::Enough);
        }
        if let Some(instead) = instead {
            self.kept.remove(&instead);
        }
        self.kept.insert(name, evidence);
        Ok(instead)
    }
}

fn is_long_gone(name: &ProofName, head: u64) -> bool {
    name.epoch.saturating_add(PROOF_EPOCHS) < head
}

//! The newest document that a client or a relay holds, with all that it was verified by.
//!
//! A newcomer makes one from a genesis whose hash it pinned, the headers at which voters changed, and a snapshot; who was here
//! before reads it from the disk, where nothing is believed that signatures do not show anew; and it moves on by differences.

#[cfg(test)]
pub(super) mod tests;

use super::chain::{Chain, ChainError};
use super::heads::Known;
use super::{Network, TRUST_LIMIT};
use crate::wire::bootstrap::Checkpoint;
use crate::wire::codec::{self, ErrorKind, Reader, Writer};
use crate::wire::control::{
    Difference, EpochDocument, FormError, Genesis, HeaderHash, SIGNED_HEADER_MAX, SignedHeader, Snapshot, VoterSet,
};
use crate::wire::document::NetworkId;

/// Most headers at which voters changed that are read at once.
pub const CHANGES_MAX: usize = 4_096;

const VERSION: u8 = 1;

/// A verified document with its descriptors, and the way from the genesis to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    chain: Chain,
    snapshot: Snapshot,
    /// Who signed the document.
    signers: VoterSet,
    /// Every header since the genesis at which voters changed.
    changes: Vec<SignedHeader>,
}

/// What brings a client from one document to a later one, besides changes of voters.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// What changed since the document that is held.
    Difference(&'a Difference),
    /// The bytes of a whole snapshot.
    Snapshot(&'a [u8]),
}

impl Held {
    /// Verifies a newcomer's first document: the genesis is the one that was pinned, `changes` are the headers at which voters
    /// changed, oldest first, and `snapshot` is the newest document with its descriptors.
    ///
    /// # Errors
    /// See [`ChainError`]; never one about time.
    pub fn begin(
        pinned: NetworkId,
        genesis: Genesis,
        changes: Vec<SignedHeader>,
        snapshot: &[u8],
    ) -> Result<Self, ChainError> {
        if genesis.network_id() != pinned {
            return Err(ChainError::OtherNetwork(genesis.network_id()));
        }
        let mut chain = Chain::from_genesis(genesis);
        let mut signers = follow(&mut chain, &changes)?;
        let document = Snapshot::document_of(snapshot)?;
        check_signed(&chain, &document)?;
        // Only now: reading descriptors takes long, and nobody else can make us do it.
        let snapshot = Snapshot::decode(snapshot)?;
        let changes = arrive(&mut chain, &mut signers, changes, snapshot.document().signed())?;
        Ok(Self { chain, snapshot, signers, changes })
    }

    /// Whether the way from the genesis to the document leads through a checkpoint.
    ///
    /// # Errors
    /// [`ChainError::OffCheckpoint`].
    pub fn check_passes(&self, checkpoint: &Checkpoint) -> Result<(), ChainError> {
        let off = Err(ChainError::OffCheckpoint { epoch: checkpoint.epoch });
        if self.epoch() < checkpoint.epoch {
            return off;
        }
        let mut voters = self.chain.genesis().voters();
        let newest = self.snapshot.document().signed();
        for header in self.changes.iter().chain([newest]).map(SignedHeader::header) {
            if header.epoch() == checkpoint.epoch && header.hash() != checkpoint.hash
                || header.previous_epoch() == checkpoint.epoch && header.previous() != checkpoint.hash
            {
                return off;
            }
            if header.epoch() <= checkpoint.epoch {
                voters = header.voters().unwrap_or(voters);
            }
        }
        // The genesis, too, can be a checkpoint; its hash is the network's id, which is pinned anyway.
        if voters.hash() == checkpoint.voters { Ok(()) } else { off }
    }

    /// This document as a checkpoint for a bootstrap line.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let head = self.chain.head();
        Checkpoint { epoch: head.epoch, hash: head.hash, voters: head.voters.hash() }
    }

    /// Moves on to a later document, over changes of voters in between, oldest first. Nothing changes if something is bad.
    ///
    /// # Errors
    /// As [`Held::begin`].
    pub fn advance(&mut self, changes: &[SignedHeader], step: Step<'_>) -> Result<(), ChainError> {
        let mut chain = self.chain.clone();
        let fresh: Vec<_> =
            changes.iter().filter(|change| change.header().epoch() > chain.head().epoch).cloned().collect();
        let mut signers = follow(&mut chain, &fresh)?;
        let all = [&self.changes[..], &fresh].concat();
        let snapshot = match step {
            Step::Difference(difference) => {
                if difference.signed().header().hash() != chain.head().hash {
                    chain.verify(difference.signed())?;
                }
                difference.apply(&self.snapshot)?
            }
            Step::Snapshot(bytes) => {
                check_signed(&chain, &Snapshot::document_of(bytes)?)?;
                Snapshot::decode(bytes)?
            }
        };
        let signed = snapshot.document().signed();
        if signed.header().epoch() <= self.chain.head().epoch {
            return Err(ChainError::NotNewer { have: self.chain.head().epoch, found: signed.header().epoch() });
        }
        let changes = arrive(&mut chain, &mut signers, all, signed)?;
        *self = Self { chain, snapshot, signers, changes };
        Ok(())
    }

    /// The chain, whose head is the document.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The document and its descriptors.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The headers at which voters changed, oldest first.
    #[must_use]
    pub fn changes(&self) -> &[SignedHeader] {
        &self.changes
    }

    /// The epoch of the document.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.chain.head().epoch
    }

    /// The hash of the document.
    #[must_use]
    pub fn hash(&self) -> HeaderHash {
        self.chain.head().hash
    }

    /// What [`compare`](super::compare) needs.
    #[must_use]
    pub fn known(&self) -> Known<'_> {
        Known { chain: &self.chain, header: self.snapshot.document().signed(), signers: &self.signers }
    }

    /// The network that the document describes, if it holds at `unix_now`, in seconds.
    ///
    /// # Errors
    /// It does not hold at this time, or lists what it must not.
    pub fn network(&self, unix_now: u64) -> Result<Network, ChainError> {
        Network::from_snapshot(&self.chain, self.snapshot.clone(), unix_now)
    }

    /// Whether the document is young enough to go on from after a pause.
    ///
    /// # Errors
    /// [`ChainError::TooOld`].
    pub fn check_age(&self, unix_now: u64) -> Result<(), ChainError> {
        self.chain.check_age(unix_now, TRUST_LIMIT)
    }

    /// The bytes for the disk. Nothing in them is secret or about the client: it is what everybody has.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(VERSION);
        w.bytes16(self.chain.genesis().as_bytes());
        w.count16(self.changes.len());
        for change in &self.changes {
            w.bytes16(&change.encode());
        }
        w.put(&self.snapshot.encode());
        w.finish()
    }

    /// Of which network these bytes say that they are, for whoever only wants to look at them: nothing is verified, and whoever trusts the
    /// answer pins what the bytes' maker chose.
    ///
    /// # Errors
    /// The bytes are cut or of another kind.
    pub fn named_network(bytes: &[u8]) -> Result<NetworkId, HeldError> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        Ok(Genesis::decode(r.bytes16(usize::from(u16::MAX))?).map_err(ChainError::from)?.network_id())
    }

    /// Reads and verifies what [`Held::encode`] wrote, from the genesis on.
    ///
    /// # Errors
    /// See [`HeldError`].
    pub fn decode(pinned: NetworkId, bytes: &[u8]) -> Result<Self, HeldError> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let genesis = Genesis::decode(r.bytes16(usize::from(u16::MAX))?).map_err(ChainError::from)?;
        let count = r.count16(CHANGES_MAX)?;
        let changes = (0..count)
            .map(|_| Ok(SignedHeader::decode(r.bytes16(SIGNED_HEADER_MAX)?).map_err(ChainError::from)?))
            .collect::<Result<_, HeldError>>()?;
        Ok(Self::begin(pinned, genesis, changes, r.rest())?)
    }
}

/// Why what is on the disk cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeldError {
    /// The bytes are cut or of another kind.
    #[error("the stored document is malformed: {0}")]
    Malformed(#[from] codec::Error),
    /// It does not verify.
    #[error(transparent)]
    Refused(#[from] ChainError),
}

/// Reads headers at which voters changed, as relays give them: each behind four bytes of length.
///
/// # Errors
/// They are cut, too many, or one is no signed header.
pub fn read_changes(bytes: &[u8]) -> Result<Vec<SignedHeader>, HeldError> {
    let mut r = Reader::new(bytes);
    let mut changes = Vec::new();
    while r.remaining() > 0 {
        let change = r.check(|r| match r.u32()? as usize {
            len if len <= SIGNED_HEADER_MAX && changes.len() < CHANGES_MAX => r.take(len),
            _ => Err(r.error(ErrorKind::TooLong)),
        })?;
        changes.push(SignedHeader::decode(change).map_err(ChainError::from)?);
    }
    Ok(changes)
}

/// Follows headers at which voters changed, and gives who signed the last one, or the genesis's voters.
fn follow(chain: &mut Chain, changes: &[SignedHeader]) -> Result<VoterSet, ChainError> {
    let mut signers = chain.head().voters.clone();
    for change in changes {
        signers = chain.head().voters.clone();
        chain.advance(change)?;
    }
    Ok(signers)
}

fn check_signed(chain: &Chain, document: &EpochDocument) -> Result<(), ChainError> {
    chain.verify_document(document)
}

/// Moves on to the newest document, and gives the changes with it.
fn arrive(
    chain: &mut Chain,
    signers: &mut VoterSet,
    mut changes: Vec<SignedHeader>,
    signed: &SignedHeader,
) -> Result<Vec<SignedHeader>, ChainError> {
    if signed.header().hash() != chain.head().hash {
        *signers = chain.head().voters.clone();
        chain.advance(signed)?;
        if signed.header().voters().is_some() {
            changes.push(signed.clone());
        }
    }
    if changes.len() > CHANGES_MAX {
        return Err(
            FormError::Field { field: "list of changes of voters", rule: "can have at most 4,096 entries" }.into()
        );
    }
    Ok(changes)
}

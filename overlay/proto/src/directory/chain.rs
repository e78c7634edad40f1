//! What a client trusts, and how it comes to trust what is newer: by signatures alone.
//!
//! A [`Chain`] starts at the genesis that its user pinned, or at a header of which its user has the hash, and moves on by
//! headers that strictly more than two thirds of the voters signed whom the last one named. A client that was away follows the
//! headers at which voters changed, and needs none in between: the same voters sign as long as they do not change.

use crate::keys;
use crate::wire::bootstrap::Checkpoint;
use crate::wire::control::{
    EpochDocument, FormError, Genesis, Header, HeaderHash, Parameters, SignedHeader, Snapshot, VoterSet,
    precommit_message,
};
use crate::wire::descriptor::CLOCK_SKEW;
use crate::wire::document::{NetworkId, SignerId};

/// How old what a client trusts may be before it has to be told anew, in seconds: 90 days. The keys of voters who left may be
/// anybody's after a while, and they could sign another history.
pub const TRUST_LIMIT: u64 = 90 * 86_400;

/// Why a document, or a chain of headers, was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The bytes break a rule of their form.
    #[error(transparent)]
    Form(#[from] FormError),
    /// Of another network.
    #[error("the document is of the network {0}, not of this one")]
    OtherNetwork(NetworkId),
    /// Not newer than what is trusted.
    #[error("the document is of epoch {found}, not newer than epoch {have} that is known")]
    NotNewer {
        /// The epoch that is trusted.
        have: u64,
        /// The epoch of the document.
        found: u64,
    },
    /// It follows another document of the epoch that is trusted: the history has two branches.
    #[error("the document follows {found} where {have} is known: the network's history is forked")]
    OtherPast {
        /// What is trusted.
        have: HeaderHash,
        /// What the document names as the one before it.
        found: HeaderHash,
    },
    /// Signed by other voters than those who are known.
    #[error("the document is signed by other voters: headers between it and epoch {have} are missing")]
    OtherVoters {
        /// The epoch that is trusted.
        have: u64,
    },
    /// Too few signatures.
    #[error("the document has {have} of the {need} signatures that it needs")]
    TooFewSignatures {
        /// How many there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// A signature does not verify.
    #[error("the signature of {0} is forged, or the document was altered")]
    ForgedSignature(SignerId),
    /// Its times are not those of its epoch, or an operator has too many voters.
    #[error("the document breaks a rule of its network: the {0}")]
    AgainstRules(&'static str),
    /// It no longer holds.
    #[error("the newest document ended at {since} (unix time): get a newer one")]
    Expired {
        /// When it ended, unix seconds.
        since: u64,
    },
    /// It does not hold yet.
    #[error("the document is not valid before {from} (unix time): check the clock")]
    NotYetValid {
        /// When it begins, unix seconds.
        from: u64,
    },
    /// What is trusted is too old to start from.
    #[error("what is known of the network is {age} seconds old, over the limit of {limit}: get a new bootstrap line")]
    TooOld {
        /// Its age, in seconds.
        age: u64,
        /// The limit, in seconds.
        limit: u64,
    },
    /// The history does not lead through the document that the bootstrap line names.
    #[error("the network's history does not lead through the document of epoch {epoch} that the bootstrap line names")]
    OffCheckpoint {
        /// The epoch of that document.
        epoch: u64,
    },
    /// The header is not the one that the user pinned.
    #[error("the document is {found}, not {wanted} that was asked for")]
    OtherHeader {
        /// The hash that the user has.
        wanted: HeaderHash,
        /// The hash of the header.
        found: HeaderHash,
    },
}

/// The newest document that is trusted, or the genesis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its epoch; 0 for the genesis.
    pub epoch: u64,
    /// Its hash; the network id for the genesis.
    pub hash: HeaderHash,
    /// From when it holds, unix seconds.
    pub valid_after: u64,
    /// The first second at which it no longer holds, unix time.
    pub valid_until: u64,
    /// Its randomness.
    pub randomness: [u8; 32],
    /// Who signs the next one.
    pub voters: VoterSet,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A genesis that is pinned, and the newest header that is trusted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    genesis: Genesis,
    head: Head,
}

impl Chain {
    /// Starts from the genesis alone.
    #[must_use]
    pub fn from_genesis(genesis: Genesis) -> Self {
        let head = Head {
            epoch: 0,
            hash: HeaderHash(genesis.network_id().0),
            valid_after: genesis.epoch_start(0),
            valid_until: genesis.epoch_start(1),
            randomness: genesis.randomness(),
            voters: genesis.voters().clone(),
            parameters: genesis.terms().parameters.clone(),
        };
        Self { genesis, head }
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The newest header that is trusted.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Until when a descriptor has to hold that a ballot cast now names: the end of the document that comes of it, unix seconds, with an
    /// epoch to spare because agreement may be late.
    #[must_use]
    pub fn ballots_hold_until(&self, unix_now: u64) -> u64 {
        let epoch = self.genesis.epoch_at(unix_now).max(self.head.epoch) + 2;
        self.genesis.epoch_start(epoch.saturating_add(self.head.parameters.lifetime()))
    }

    /// Whether what is trusted is young enough to start from at `unix_now`, with the limit in seconds: [`TRUST_LIMIT`] unless a test
    /// says otherwise. Ask before a client that was away, or is new, goes on.
    ///
    /// # Errors
    /// [`ChainError::TooOld`].
    pub fn check_age(&self, unix_now: u64, limit: u64) -> Result<(), ChainError> {
        let age = unix_now.saturating_sub(self.head.valid_after);
        if age > limit { Err(ChainError::TooOld { age, limit }) } else { Ok(()) }
    }

    /// Whether the newest header holds at `unix_now`; clocks may differ by an hour, and by an epoch at most, at its beginning.
    ///
    /// # Errors
    /// [`ChainError::Expired`], [`ChainError::NotYetValid`].
    pub fn check_time(&self, unix_now: u64) -> Result<(), ChainError> {
        if unix_now >= self.head.valid_until {
            return Err(ChainError::Expired { since: self.head.valid_until });
        }
        let skew = CLOCK_SKEW.max(u64::from(self.genesis.terms().epoch_length));
        if unix_now.saturating_add(skew) < self.head.valid_after {
            return Err(ChainError::NotYetValid { from: self.head.valid_after });
        }
        Ok(())
    }

    /// Whether a newcomer may start from this genesis at `unix_now`: by itself as long as its voters' keys are young, else by a checkpoint that
    /// is. The limit is [`TRUST_LIMIT`].
    ///
    /// # Errors
    /// [`ChainError::TooOld`].
    pub fn check_start(genesis: &Genesis, checkpoint: Option<&Checkpoint>, unix_now: u64) -> Result<(), ChainError> {
        let start = genesis.epoch_start(checkpoint.map_or(0, |checkpoint| checkpoint.epoch));
        let age = unix_now.saturating_sub(start);
        if age > TRUST_LIMIT { Err(ChainError::TooOld { age, limit: TRUST_LIMIT }) } else { Ok(()) }
    }

    /// Verifies a header against the voters whom the newest trusted one named, without moving on.
    ///
    /// # Errors
    /// See [`ChainError`]; never one about time.
    pub fn verify(&self, signed: &SignedHeader) -> Result<(), ChainError> {
        let header = signed.header();
        check_network(&self.genesis, header)?;
        if header.epoch() <= self.head.epoch {
            return Err(ChainError::NotNewer { have: self.head.epoch, found: header.epoch() });
        }
        if header.previous_epoch() == self.head.epoch && header.previous() != self.head.hash {
            return Err(ChainError::OtherPast { have: self.head.hash, found: header.previous() });
        }
        verify_signatures(&self.head.voters, signed, self.head.epoch)
    }

    /// Moves on to a header.
    ///
    /// # Errors
    /// As [`Chain::verify`]; nothing changes then.
    pub fn advance(&mut self, signed: &SignedHeader) -> Result<(), ChainError> {
        self.verify(signed)?;
        let header = signed.header();
        let voters = header.voters().unwrap_or(&self.head.voters).clone();
        self.head = Head::of(header, voters);
        Ok(())
    }

    /// Moves on over several headers, oldest first: those at which voters changed, and the newest. Nothing changes if one is bad.
    ///
    /// # Errors
    /// As [`Chain::verify`].
    pub fn follow<'a>(&mut self, headers: impl IntoIterator<Item = &'a SignedHeader>) -> Result<(), ChainError> {
        let mut next = self.clone();
        headers.into_iter().try_for_each(|signed| next.advance(signed))?;
        *self = next;
        Ok(())
    }

    /// Whether a header that is the newest trusted one, or newer, is signed as it has to be: what a client asks of a document of the
    /// epoch that it has already.
    ///
    /// # Errors
    /// As [`Chain::verify`].
    pub fn verify_document(&self, document: &EpochDocument) -> Result<(), ChainError> {
        if document.hash() == self.head.hash { Ok(()) } else { self.verify(document.signed()) }
    }

    /// Reads a snapshot, verifies the document first and then its descriptors, and moves on to it.
    ///
    /// # Errors
    /// See [`ChainError`]; never one about time. Nothing changes then.
    pub fn accept_snapshot(&mut self, bytes: &[u8]) -> Result<Snapshot, ChainError> {
        let document = Snapshot::document_of(bytes)?;
        self.verify_document(&document)?;
        let snapshot = Snapshot::decode(bytes)?;
        if document.hash() != self.head.hash {
            self.advance(document.signed())?;
        }
        Ok(snapshot)
    }
}

impl Head {
    fn of(header: &Header, voters: VoterSet) -> Self {
        Self {
            epoch: header.epoch(),
            hash: header.hash(),
            valid_after: header.valid_after(),
            valid_until: header.valid_until(),
            randomness: header.randomness(),
            voters,
            parameters: header.parameters().clone(),
        }
    }
}

/// What a header has to keep whoever signed it.
pub(crate) fn check_network(genesis: &Genesis, header: &Header) -> Result<(), ChainError> {
    if header.network() != genesis.network_id() {
        return Err(ChainError::OtherNetwork(header.network()));
    }
    if !genesis.times_match(header) {
        return Err(ChainError::AgainstRules("times"));
    }
    let cap = genesis.voters_per_operator();
    let crowded = |set: &VoterSet| set.voters().iter().any(|voter| set.of_operator(&voter.operator) > cap);
    if header.voters().is_some_and(crowded) {
        return Err(ChainError::AgainstRules("number of voters per operator"));
    }
    Ok(())
}

/// Whether enough of these voters signed. One bad signature spoils the header, even if the others are enough.
pub(crate) fn verify_signatures(voters: &VoterSet, signed: &SignedHeader, have: u64) -> Result<(), ChainError> {
    let (header, certificate) = (signed.header(), signed.certificate());
    if header.signers() != voters.hash() {
        return Err(ChainError::OtherVoters { have });
    }
    let count = certificate.signatures.len();
    if count < voters.quorum() {
        return Err(ChainError::TooFewSignatures { have: count, need: voters.quorum() });
    }
    let message = precommit_message(&header.network(), &header.previous(), certificate.round, Some(&header.hash()));
    for (place, signature) in &certificate.signatures {
        let voter = voters.at(usize::from(*place)).ok_or(ChainError::AgainstRules("places of the signers"))?;
        if !keys::verify(&voter.key.0, &message, signature) {
            return Err(ChainError::ForgedSignature(voter.key));
        }
    }
    Ok(())
}

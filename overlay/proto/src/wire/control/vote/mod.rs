//! What voters send each other to agree on the next document: commitments to randomness and what opens them, ballots,
//! proposals, prevotes and precommits, and proof that a voter said two things.
//!
//! A [`VoteMessage`] exists only with a signature that verifies under the key that it names. Whether that key is a voter's is
//! known to whoever has the document that the message's [`Scope`] names.

mod ballot;
mod evidence;
mod schema;
#[cfg(test)]
mod tests;

use prost::Message as _;
use sha2::{Digest, Sha256};

pub use ballot::{Ballot, SIGHTING_LEN, Sighting};
pub use evidence::{EVIDENCE_MAX, Evidence};
pub(crate) use schema::{read_placed, write_placed};

use super::canonical::{self, FormError, array, rule};
use super::{HEADER_MAX, Header, HeaderHash, Topic, VOTERS_MAX, precommit_message};
use crate::keys::{self, SignerKey, VRF_PROOF_LEN};
use crate::wire::document::{NetworkId, SignerId};

const COMMITMENT_CONTEXT: &[u8] = b"zmesh commitment v1\0";
const BALLOT_ID_CONTEXT: &[u8] = b"zmesh ballot id v1\0";

/// Which document is being agreed on: the successor of a document of a network.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Scope {
    /// The network.
    pub network: NetworkId,
    /// The epoch of the document before; 0 for the genesis.
    pub previous_epoch: u64,
    /// Its hash, or the network id.
    pub previous: HeaderHash,
}

/// What a voter says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Vote {
    /// That it takes part with its secret, which nobody knows yet.
    Commitment([u8; 32]),
    /// The proof of its secret, from which everybody computes it. Its key has one secret for each document to agree on.
    Reveal([u8; VRF_PROOF_LEN]),
    /// What it knows of the relays.
    Ballot(Ballot),
    /// A document.
    Proposal(Box<Proposal>),
    /// That it would take this document in this round, or none.
    Prevote {
        /// The round.
        round: u32,
        /// The hash of the document's header.
        header: Option<HeaderHash>,
    },
    /// That it takes this document in this round, or none. Enough of these are the document's signatures.
    Precommit {
        /// The round.
        round: u32,
        /// The hash of the document's header.
        header: Option<HeaderHash>,
    },
}

/// A proposed document: its header, and of what its relays, voters and randomness were made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proposal {
    /// The round in which it is proposed.
    pub round: u32,
    /// The round in which enough voters prevoted it before, if they did.
    pub locked_round: Option<u32>,
    /// The proof of whoever proposes it now, which ranks it among the round's proposals.
    pub proof: [u8; VRF_PROOF_LEN],
    /// The header.
    pub header: Header,
    /// The ballots that were counted: the place of each voter, ascending, and [`VoteMessage::ballot_id`] of its ballot.
    pub ballots: Vec<(u8, [u8; 32])>,
    /// The secrets that the randomness is made of: the place of each voter, ascending, and the proof of its secret.
    pub secrets: Vec<(u8, [u8; VRF_PROOF_LEN])>,
}

/// The kinds of votes, in the order of their numbers on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum VoteKind {
    /// [`Vote::Commitment`].
    Commitment,
    /// [`Vote::Reveal`].
    Reveal,
    /// [`Vote::Ballot`].
    Ballot,
    /// [`Vote::Proposal`].
    Proposal,
    /// [`Vote::Prevote`].
    Prevote,
    /// [`Vote::Precommit`].
    Precommit,
}

impl VoteKind {
    const ALL: [Self; 6] =
        [Self::Commitment, Self::Reveal, Self::Ballot, Self::Proposal, Self::Prevote, Self::Precommit];

    fn number(self) -> u32 {
        self as u32 + 1
    }

    /// Each kind is signed in a context of its own. Precommits have another, over fewer fields: they become the document's signatures.
    fn context(self) -> &'static [u8] {
        match self {
            Self::Commitment => b"zmesh vote commitment v1\0",
            Self::Reveal => b"zmesh vote reveal v1\0",
            Self::Ballot => b"zmesh vote ballot v1\0",
            Self::Proposal => b"zmesh vote proposal v1\0",
            Self::Prevote => b"zmesh vote prevote v1\0",
            Self::Precommit => b"zmesh vote precommit v1\0",
        }
    }

    fn max(self) -> usize {
        match self {
            Self::Ballot => Topic::Votes.message_max(),
            Self::Proposal => HEADER_MAX + VOTERS_MAX * (33 + 1 + VRF_PROOF_LEN) + 512,
            _ => 512,
        }
    }
}

/// A signed vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoteMessage {
    scope: Scope,
    voter: SignerId,
    vote: Vote,
    signature: [u8; 64],
    /// Where what is signed begins in the bytes cannot be told for precommits, so it is kept.
    message: Vec<u8>,
    bytes: Vec<u8>,
    id: [u8; 32],
    ballot_id: Option<[u8; 32]>,
}

impl VoteMessage {
    /// Signs a vote. The caller keeps what it signed: two votes of a kind in one scope and round are proof against the signer.
    ///
    /// # Errors
    /// The vote breaks a rule of its form.
    pub fn sign(key: &SignerKey, scope: Scope, vote: Vote) -> Result<Self, FormError> {
        let kind = vote.kind();
        let body = schema::Body::of(&scope, key.public(), &vote).encode_to_vec();
        let signature = key.sign(&signed_message(&scope, &vote, &body)).to_vec();
        Self::peek(&schema::Envelope { kind: kind.number(), body, signature }.encode_to_vec())
    }

    /// Reads a vote and verifies its signature.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let read = Self::peek(bytes)?;
        if read.is_signed() { Ok(read) } else { Err(FormError::ForgedSignature) }
    }

    /// Reads a vote whose signature is looked at later ([`VoteMessage::is_signed`]): most of what arrives can be refused for less.
    pub(crate) fn peek(bytes: &[u8]) -> Result<Self, FormError> {
        let envelope: schema::Envelope = canonical::read_strict(bytes, Topic::Votes.message_max())?;
        let kind =
            VoteKind::ALL.into_iter().find(|kind| kind.number() == envelope.kind).ok_or(FormError::Undecodable)?;
        if bytes.len() > kind.max() {
            return Err(FormError::TooLarge { len: bytes.len(), max: kind.max() });
        }
        let (body, extended) = canonical::read::<schema::Body>(&envelope.body, kind.max())?;
        let (scope, voter, vote) = body.parse(kind)?;
        let signature: [u8; 64] = array(&envelope.signature, "signature")?;
        // What the signature does not cover must not be there.
        rule(kind != VoteKind::Precommit || !extended, "precommit", "cannot be extended")?;
        let message = signed_message(&scope, &vote, &envelope.body);
        let ballot_id = (kind == VoteKind::Ballot).then(|| ballot_id(&envelope.body));
        let id = Sha256::digest(bytes).into();
        Ok(Self { scope, voter, vote, signature, message, bytes: bytes.to_vec(), id, ballot_id })
    }

    /// Whether the signature verifies under the key that it names.
    pub(crate) fn is_signed(&self) -> bool {
        keys::verify(&self.voter.0, &self.message, &self.signature)
    }

    #[cfg(test)]
    pub(crate) fn signed_bytes(&self) -> &[u8] {
        &self.message
    }

    /// The bytes, as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes: these very bytes and no others, signature included.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// How proposals name a ballot; `None` for other kinds. It is a hash of what the voter signed and not of the signature: a voter
    /// can sign one ballot in many ways, and all of them are the same ballot.
    #[must_use]
    pub fn ballot_id(&self) -> Option<[u8; 32]> {
        self.ballot_id
    }

    /// Whether the voter signed the very same bytes in both, in whatever way.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.vote.kind() == other.vote.kind() && self.message == other.message
    }

    /// What it is a vote on.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Who votes.
    #[must_use]
    pub fn voter(&self) -> SignerId {
        self.voter
    }

    /// What it says.
    #[must_use]
    pub fn vote(&self) -> &Vote {
        &self.vote
    }

    /// The signature: of a precommit, one of the document's.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.signature
    }
}

impl Vote {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> VoteKind {
        match self {
            Self::Commitment(_) => VoteKind::Commitment,
            Self::Reveal(_) => VoteKind::Reveal,
            Self::Ballot(_) => VoteKind::Ballot,
            Self::Proposal(_) => VoteKind::Proposal,
            Self::Prevote { .. } => VoteKind::Prevote,
            Self::Precommit { .. } => VoteKind::Precommit,
        }
    }

    /// The round that it is for; 0 for what comes before rounds.
    #[must_use]
    pub fn round(&self) -> u32 {
        match self {
            Self::Proposal(proposal) => proposal.round,
            Self::Prevote { round, .. } | Self::Precommit { round, .. } => *round,
            Self::Commitment(_) | Self::Reveal(_) | Self::Ballot(_) => 0,
        }
    }
}

/// What the voter signs.
fn signed_message(scope: &Scope, vote: &Vote, body: &[u8]) -> Vec<u8> {
    match vote {
        Vote::Precommit { round, header } => {
            precommit_message(&scope.network, &scope.previous, *round, header.as_ref())
        }
        _ => [vote.kind().context(), body].concat(),
    }
}

fn ballot_id(body: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(BALLOT_ID_CONTEXT).chain_update(body).finalize().into()
}

/// What announces a voter's secret before anybody knows it.
#[must_use]
pub(crate) fn commitment(scope: &Scope, voter: &SignerId, secret: &[u8; 32]) -> [u8; 32] {
    Sha256::new_with_prefix(COMMITMENT_CONTEXT)
        .chain_update(scope.network.0)
        .chain_update(scope.previous.0)
        .chain_update(voter.0)
        .chain_update(secret)
        .finalize()
        .into()
}

//! Proof that a voter said two things where it may say one.

use prost::Message as _;

use super::{VoteKind, VoteMessage};
use crate::wire::control::canonical::{self, FormError, rule};
use crate::wire::document::SignerId;

/// Largest proof, in bytes. Ballots are too large to be proven with: whoever sends two is left out of the count, and that is all.
pub const EVIDENCE_MAX: usize = 64 * 1024;

/// Two votes of one voter, of one kind, scope and round, that differ. Only the voter can have made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    first: VoteMessage,
    second: VoteMessage,
}

impl Evidence {
    /// Whether two votes prove something against their voter. Commitments and what comes after do; ballots do not, by size.
    #[must_use]
    pub fn find(first: &VoteMessage, second: &VoteMessage) -> Option<Self> {
        let (a, b) = (first.vote(), second.vote());
        let same = first.voter() == second.voter()
            && first.scope() == second.scope()
            && a.kind() == b.kind()
            && a.round() == b.round();
        if !same || a == b || a.kind() == VoteKind::Ballot {
            return None;
        }
        let (first, second) = if first.id() < second.id() { (first, second) } else { (second, first) };
        Some(Self { first: first.clone(), second: second.clone() })
    }

    /// Whom it is against.
    #[must_use]
    pub fn voter(&self) -> SignerId {
        self.first.voter()
    }

    /// The two votes.
    #[must_use]
    pub fn votes(&self) -> (&VoteMessage, &VoteMessage) {
        (&self.first, &self.second)
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::Evidence { first: self.first.as_bytes().to_vec(), second: self.second.as_bytes().to_vec() }
            .encode_to_vec()
    }

    /// Reads a proof and verifies both signatures.
    ///
    /// # Errors
    /// See [`FormError`], or the two do not contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Evidence = canonical::read_strict(bytes, EVIDENCE_MAX)?;
        let (first, second) = (VoteMessage::decode(&message.first)?, VoteMessage::decode(&message.second)?);
        let found = Self::find(&first, &second).filter(|found| found.first == first);
        rule(found.is_some(), "pair of votes", "has to contradict itself, the lower id first")?;
        Ok(Self { first, second })
    }
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Evidence {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) first: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) second: Vec<u8>,
    }
}

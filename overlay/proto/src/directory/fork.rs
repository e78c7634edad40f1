//! Two histories: proof that voters signed more than one document where there may be one.

use prost::Message as _;

use super::chain::{self, ChainError};
use crate::wire::control::{FormError, Genesis, SIGNED_HEADER_MAX, SignedHeader, VoterSet, canonical};
use crate::wire::document::SignerId;

/// Largest proof, in bytes.
pub const FORK_MAX: usize = 2 * SIGNED_HEADER_MAX + 16;

/// Two different documents of one epoch, or two that follow the same one, both with enough signatures.
///
/// With fewer than a third of the voters faulty there is none. Whoever finds one stops, says so, and passes it on: it convinces
/// everybody who knows the voters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    first: SignedHeader,
    second: SignedHeader,
}

/// Who signed both branches of a [`Fork`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DoubleSigners {
    /// Their keys, sorted.
    pub keys: Vec<SignerId>,
    /// Whether both were signed in one round as successors of one document, which no honest voter ever does. Otherwise each of these
    /// signed two documents in different rounds or of different pasts: at least a third of all voters broke a rule, these are among
    /// whom they are found, and an honest voter may stand among them.
    pub proven: bool,
}

impl Fork {
    /// Whether two headers are a fork. Their signatures are not looked at here: see [`Fork::verify`].
    #[must_use]
    pub fn find(first: &SignedHeader, second: &SignedHeader) -> Option<Self> {
        let (a, b) = (first.header(), second.header());
        let conflict = a.epoch() == b.epoch() || a.previous() == b.previous();
        if a.network() != b.network() || a.hash() == b.hash() || !conflict {
            return None;
        }
        // One form for each pair.
        let (first, second) = if a.hash() < b.hash() { (first, second) } else { (second, first) };
        Some(Self { first: first.clone(), second: second.clone() })
    }

    /// Verifies both branches against the voters of their epoch, and names those who signed both.
    ///
    /// # Errors
    /// A branch is not signed as it has to be: there is no fork then.
    pub fn verify(&self, genesis: &Genesis, voters: &VoterSet) -> Result<DoubleSigners, ChainError> {
        for signed in [&self.first, &self.second] {
            chain::check_network(genesis, signed.header())?;
            chain::verify_signatures(voters, signed, 0)?;
        }
        let (a, b) = (self.first.certificate(), self.second.certificate());
        let keys = a
            .signatures
            .iter()
            .filter(|(place, _)| b.signatures.iter().any(|(other, _)| other == place))
            .filter_map(|(place, _)| voters.at(usize::from(*place)).map(|voter| voter.key))
            .collect();
        let proven = a.round == b.round && self.first.header().previous() == self.second.header().previous();
        Ok(DoubleSigners { keys, proven })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        schema::Fork { first: self.first.encode(), second: self.second.encode() }.encode_to_vec()
    }

    /// Reads a proof. Its signatures are not verified yet.
    ///
    /// # Errors
    /// Malformed, or the two headers do not contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Fork = canonical::read_strict(bytes, FORK_MAX)?;
        let (first, second) = (SignedHeader::decode(&message.first)?, SignedHeader::decode(&message.second)?);
        match Self::find(&first, &second) {
            Some(fork) if fork.first == first => Ok(fork),
            _ => Err(FormError::Field {
                field: "pair of headers",
                rule: "has to contradict each other, the lower hash first",
            }),
        }
    }
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Fork {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) first: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) second: Vec<u8>,
    }
}

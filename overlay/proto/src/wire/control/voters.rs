//! Who votes.

use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};

use super::canonical::{FormError, array, rule};
use super::schema;
use crate::wire::descriptor::is_organisation;
use crate::wire::document::{SignerId, signatures_needed};

/// Most voters.
pub const VOTERS_MAX: usize = 64;

const CONTEXT: &[u8] = b"zmesh voter set v1\0";

/// A voter: a relay's or another node's Ed25519 identity, and who runs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Voter {
    /// Its key.
    pub key: SignerId,
    /// Who runs it, 1 to 64 bytes. Operators are compared without regard to case.
    pub operator: String,
}

/// The voters of an epoch, sorted by key. Each has one vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoterSet(Vec<Voter>);

impl VoterSet {
    /// Takes voters in any order; at most `per_operator` may be of one operator.
    ///
    /// # Errors
    /// There are none or more than 64, one is there twice, a key is no usable Ed25519 key, an operator's name breaks its rule or an
    /// operator has too many.
    pub fn new(mut voters: Vec<Voter>, per_operator: usize) -> Result<Self, FormError> {
        voters.sort_by_key(|voter| voter.key);
        let set = Self(voters);
        set.check(per_operator)?;
        Ok(set)
    }

    fn check(&self, per_operator: usize) -> Result<(), FormError> {
        rule((1..=VOTERS_MAX).contains(&self.0.len()), "list of voters", "has to have 1 to 64 entries")?;
        rule(
            self.0.windows(2).all(|pair| pair[0].key < pair[1].key),
            "list of voters",
            "has to be sorted by key, each once",
        )?;
        for voter in &self.0 {
            rule(
                VerifyingKey::from_bytes(&voter.key.0).is_ok_and(|key| !key.is_weak()),
                "key of a voter",
                "has to be a usable Ed25519 key",
            )?;
            rule(
                is_organisation(&voter.operator),
                "operator of a voter",
                "has to be 1 to 64 bytes of plain text without spaces at its ends",
            )?;
            rule(
                self.of_operator(&voter.operator) <= per_operator,
                "list of voters",
                "has more voters of one operator than the network allows",
            )?;
        }
        Ok(())
    }

    /// How many voters this operator has.
    #[must_use]
    pub fn of_operator(&self, operator: &str) -> usize {
        let operator = operator.to_lowercase();
        self.0.iter().filter(|voter| voter.operator.to_lowercase() == operator).count()
    }

    /// How many there are; never none.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no set is empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many have to agree: strictly more than two thirds.
    #[must_use]
    pub fn quorum(&self) -> usize {
        signatures_needed(self.0.len())
    }

    /// How many may be faulty, silent or lying: fewer than a third.
    #[must_use]
    pub fn tolerated(&self) -> usize {
        (self.0.len() - 1) / 3
    }

    /// All of them, in their order.
    #[must_use]
    pub fn voters(&self) -> &[Voter] {
        &self.0
    }

    /// The voter at a place.
    #[must_use]
    pub fn at(&self, place: usize) -> Option<&Voter> {
        self.0.get(place)
    }

    /// The place of a voter.
    #[must_use]
    pub fn place(&self, key: &SignerId) -> Option<usize> {
        self.0.binary_search_by(|voter| voter.key.cmp(key)).ok()
    }

    /// A hash over all of them, by which a document names who signs it.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(CONTEXT);
        for voter in &self.0 {
            hash.update(voter.key.0);
            hash.update([u8::try_from(voter.operator.len()).expect("operators are capped at 64 bytes")]);
            hash.update(voter.operator.as_bytes());
        }
        hash.finalize().into()
    }

    pub(crate) fn write(&self) -> Vec<schema::Voter> {
        self.0
            .iter()
            .map(|voter| schema::Voter { key: voter.key.0.to_vec(), operator: voter.operator.clone() })
            .collect()
    }

    pub(crate) fn read(list: Vec<schema::Voter>, per_operator: usize) -> Result<Self, FormError> {
        let voters = list
            .into_iter()
            .map(|voter| Ok(Voter { key: SignerId(array(&voter.key, "key of a voter")?), operator: voter.operator }))
            .collect::<Result<Vec<_>, FormError>>()?;
        let set = Self(voters);
        set.check(per_operator)?;
        Ok(set)
    }
}

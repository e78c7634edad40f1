//! What a network whose voters agree on its documents begins with. Everybody who uses the network pins its hash.

use std::fmt;

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::canonical::{self, FormError, rule};
use super::{Header, Parameters, VoterSet, schema};
use crate::wire::codec::armour::{self, ArmourError, Label};
use crate::wire::codec::is_clean;
use crate::wire::document::{NAME_MAX, NetworkId};

/// Largest genesis, in bytes.
pub(super) const GENESIS_MAX: usize = 16 * 1024;
/// Shortest epoch, in seconds: only test networks turn over so fast.
pub const EPOCH_LENGTH_MIN: u32 = 2;
/// Longest epoch, in seconds: a day.
pub const EPOCH_LENGTH_MAX: u32 = 86_400;
/// Shortest epoch of a network that is no test network, in seconds: a minute.
const EPOCH_LENGTH_REAL_MIN: u32 = 60;

const ID_CONTEXT: &[u8] = b"zmesh genesis v1\0";
const RANDOM_CONTEXT: &[u8] = b"zmesh genesis random v1\0";

/// What a genesis is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GenesisTerms {
    /// The network's name, 1 to 64 bytes.
    pub name: String,
    /// Lifts the constraints on paths, addresses and operators, for tests on one machine.
    pub test_network: bool,
    /// How long an epoch lasts, in seconds: 60 to 86,400; from 2 in a test network.
    pub epoch_length: u32,
    /// When epoch 0 begins, unix seconds. The first document is that of epoch 1 or a later one.
    pub epoch_zero: u64,
    /// How many voters one operator may have, now and later, at least 1.
    pub voters_per_operator: u32,
    /// Who votes on the first document.
    pub voters: VoterSet,
    /// What is agreed from the start besides.
    pub parameters: Parameters,
}

/// The beginning of a network.
#[derive(Clone, PartialEq, Eq)]
pub struct Genesis {
    terms: GenesisTerms,
    id: NetworkId,
    bytes: Vec<u8>,
}

impl Genesis {
    /// Makes a genesis.
    ///
    /// # Errors
    /// A field breaks its rule, or an operator has too many voters.
    pub fn new(terms: GenesisTerms) -> Result<Self, FormError> {
        let bytes = schema::Genesis {
            name: terms.name,
            test_network: terms.test_network,
            epoch_length: terms.epoch_length,
            epoch_zero: terms.epoch_zero,
            voters_per_operator: terms.voters_per_operator,
            voters: terms.voters.write(),
            parameters: terms.parameters.write(),
        }
        .encode_to_vec();
        Self::decode(&bytes)
    }

    /// Reads the binary.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::Genesis = canonical::read_strict(bytes, GENESIS_MAX)?;
        let name = &message.name;
        rule(
            (1..=NAME_MAX).contains(&name.len()) && is_clean(name) && name.trim() == name,
            "name of the network",
            "has to be 1 to 64 bytes of plain text without spaces at its ends",
        )?;
        let shortest = if message.test_network { EPOCH_LENGTH_MIN } else { EPOCH_LENGTH_REAL_MIN };
        rule(
            (shortest..=EPOCH_LENGTH_MAX).contains(&message.epoch_length),
            "length of an epoch",
            "has to be 60 to 86,400 seconds, or 2 and more in a test network",
        )?;
        rule(
            (1..=1 << 40).contains(&message.epoch_zero),
            "beginning of epoch 0",
            "has to be a unix time in seconds of this age",
        )?;
        rule(message.voters_per_operator >= 1, "number of voters per operator", "has to be 1 or more")?;
        let voters = VoterSet::read(message.voters, message.voters_per_operator as usize)?;
        let parameters = Parameters::read(message.parameters)?;
        let terms = GenesisTerms {
            name: message.name,
            test_network: message.test_network,
            epoch_length: message.epoch_length,
            epoch_zero: message.epoch_zero,
            voters_per_operator: message.voters_per_operator,
            voters,
            parameters,
        };
        let id = NetworkId(Sha256::new_with_prefix(ID_CONTEXT).chain_update(bytes).finalize().into());
        Ok(Self { terms, id, bytes: bytes.to_vec() })
    }

    /// The binary.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Text armour around the binary.
    #[must_use]
    pub fn to_text(&self) -> String {
        armour::encode(Label::Genesis, &self.bytes).to_string()
    }

    /// Reads text armour.
    ///
    /// # Errors
    /// The text is no armour of a genesis (first level), or a rule is broken (second level).
    pub fn from_text(text: &[u8]) -> Result<Result<Self, FormError>, ArmourError> {
        Ok(Self::decode(&armour::decode(Label::Genesis, text, 2 * GENESIS_MAX)?))
    }

    /// The network's id: a hash over everything here.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        self.id
    }

    /// What it is made of.
    #[must_use]
    pub fn terms(&self) -> &GenesisTerms {
        &self.terms
    }

    /// The voters of the first document.
    #[must_use]
    pub fn voters(&self) -> &VoterSet {
        &self.terms.voters
    }

    /// How many voters an operator may have.
    #[must_use]
    pub fn voters_per_operator(&self) -> usize {
        self.terms.voters_per_operator as usize
    }

    /// The randomness that stands before the first document: known to everybody.
    #[must_use]
    pub fn randomness(&self) -> [u8; 32] {
        Sha256::new_with_prefix(RANDOM_CONTEXT).chain_update(self.id.0).finalize().into()
    }

    /// The epoch of a time (unix seconds); 0 before the beginning.
    #[must_use]
    pub fn epoch_at(&self, unix: u64) -> u64 {
        unix.saturating_sub(self.terms.epoch_zero) / u64::from(self.terms.epoch_length)
    }

    /// When an epoch begins, unix seconds.
    #[must_use]
    pub fn epoch_start(&self, epoch: u64) -> u64 {
        self.terms.epoch_zero.saturating_add(epoch.saturating_mul(u64::from(self.terms.epoch_length)))
    }

    /// Whether a header's times are those of its epoch in this network.
    #[must_use]
    pub fn times_match(&self, header: &Header) -> bool {
        let lifetime = header.parameters().lifetime();
        header.valid_after() == self.epoch_start(header.epoch())
            && header.valid_until() == self.epoch_start(header.epoch().saturating_add(lifetime))
    }
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Genesis").field("id", &self.id).field("terms", &self.terms).finish()
    }
}

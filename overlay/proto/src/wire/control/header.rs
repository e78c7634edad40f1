//! The head of an epoch document: everything but the relays, which it hashes. This is what voters sign.

use std::fmt;

use prost::Message as _;
use sha2::{Digest, Sha256};

use super::canonical::{self, FormError, array, rule};
use super::{Parameters, VOTERS_MAX, VoterSet, schema};
use crate::keys::VRF_PROOF_LEN;
use crate::wire::document::{NetworkId, RELAYS_MAX, SignerId};

/// Largest header, in bytes.
pub const HEADER_MAX: usize = 16 * 1024;
/// Largest header with its signatures, in bytes.
pub const SIGNED_HEADER_MAX: usize = HEADER_MAX + 8 * 1024;

const HASH_CONTEXT: &[u8] = b"zmesh epoch header v1\0";
const TABLE_CONTEXT: &[u8] = b"zmesh epoch relays v1\0";
const PRECOMMIT_CONTEXT: &[u8] = b"zmesh precommit v1\0";
const SIGNATURE_LEN: usize = 65;

/// Names an epoch document: a hash over its header. The genesis stands in this place before the first, by its network id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderHash(pub [u8; 32]);

impl fmt::Display for HeaderHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for HeaderHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeaderHash({self})")
    }
}

/// The hash of a table of relays.
pub(crate) fn table_hash(table: &[u8]) -> [u8; 32] {
    Sha256::new_with_prefix(TABLE_CONTEXT).chain_update(table).finalize().into()
}

/// What a voter signs to precommit a header in a round, or nothing (`None`), as the successor of `previous`.
#[must_use]
pub fn precommit_message(
    network: &NetworkId,
    previous: &HeaderHash,
    round: u32,
    header: Option<&HeaderHash>,
) -> Vec<u8> {
    let header = header.map_or([0; 32], |hash| hash.0);
    [PRECOMMIT_CONTEXT, &network.0, &previous.0, &round.to_be_bytes(), &header].concat()
}

/// The fields of a header, for those who make one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HeaderFields {
    pub(crate) network: NetworkId,
    pub(crate) epoch: u64,
    pub(crate) previous_epoch: u64,
    pub(crate) previous: HeaderHash,
    pub(crate) valid_after: u64,
    pub(crate) valid_until: u64,
    pub(crate) proposer: SignerId,
    pub(crate) round: u32,
    pub(crate) proof: [u8; VRF_PROOF_LEN],
    pub(crate) randomness: [u8; 32],
    /// The hash of the voters who sign it.
    pub(crate) signers: [u8; 32],
    /// The voters of the next epoch, if they are others.
    pub(crate) voters: Option<VoterSet>,
    pub(crate) parameters: Parameters,
    pub(crate) relay_count: usize,
    pub(crate) relays: [u8; 32],
}

/// The head of an epoch document, well formed and of whatever origin: see [`SignedHeader`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    fields: HeaderFields,
    hash: HeaderHash,
    bytes: Vec<u8>,
    extended: bool,
}

impl Header {
    pub(crate) fn new(fields: HeaderFields) -> Result<Self, FormError> {
        let bytes = schema::Header {
            network: fields.network.0.to_vec(),
            epoch: fields.epoch,
            previous_epoch: fields.previous_epoch,
            previous: fields.previous.0.to_vec(),
            valid_after: fields.valid_after,
            valid_until: fields.valid_until,
            proposer: fields.proposer.0.to_vec(),
            round: fields.round,
            proof: fields.proof.to_vec(),
            randomness: fields.randomness.to_vec(),
            signers: fields.signers.to_vec(),
            voters: fields.voters.as_ref().map(VoterSet::write).unwrap_or_default(),
            parameters: fields.parameters.write(),
            relay_count: u32::try_from(fields.relay_count).unwrap_or(u32::MAX),
            relays: fields.relays.to_vec(),
        }
        .encode_to_vec();
        Self::decode(&bytes)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let (message, extended) = canonical::read::<schema::Header>(bytes, HEADER_MAX)?;
        rule(message.epoch > message.previous_epoch, "epoch", "has to be later than that before")?;
        rule(message.valid_after < message.valid_until, "validity", "has to end after it begins")?;
        let relay_count = message.relay_count as usize;
        rule(relay_count <= RELAYS_MAX, "number of relays", "can be at most 4,096")?;
        let voters = match message.voters.is_empty() {
            true => None,
            // The cap by operator is the genesis's, and checked against it.
            false => Some(VoterSet::read(message.voters, VOTERS_MAX)?),
        };
        let fields = HeaderFields {
            network: NetworkId(array(&message.network, "network id")?),
            epoch: message.epoch,
            previous_epoch: message.previous_epoch,
            previous: HeaderHash(array(&message.previous, "hash of the document before")?),
            valid_after: message.valid_after,
            valid_until: message.valid_until,
            proposer: SignerId(array(&message.proposer, "proposer")?),
            round: message.round,
            proof: array(&message.proof, "proof of the proposer")?,
            randomness: array(&message.randomness, "randomness")?,
            signers: array(&message.signers, "hash of the signers")?,
            voters,
            parameters: Parameters::read(message.parameters)?,
            relay_count,
            relays: array(&message.relays, "hash of the relays")?,
        };
        // One form: voters that stay are not listed again.
        rule(
            fields.voters.as_ref().is_none_or(|voters| voters.hash() != fields.signers),
            "list of voters",
            "has to be left out where nothing changes",
        )?;
        let hash = HeaderHash(Sha256::new_with_prefix(HASH_CONTEXT).chain_update(bytes).finalize().into());
        Ok(Self { fields, hash, bytes: bytes.to_vec(), extended })
    }

    /// The bytes that are hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its hash, which voters sign and the next document names.
    #[must_use]
    pub fn hash(&self) -> HeaderHash {
        self.hash
    }

    /// Whether it has fields that this version does not know. Voters never sign such a header.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> NetworkId {
        self.fields.network
    }

    /// The epoch, at least 1.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.fields.epoch
    }

    /// The epoch of the document before; 0 for the genesis. Epochs in which nothing was agreed leave gaps.
    #[must_use]
    pub fn previous_epoch(&self) -> u64 {
        self.fields.previous_epoch
    }

    /// The hash of the document before, or the network id for the genesis.
    #[must_use]
    pub fn previous(&self) -> HeaderHash {
        self.fields.previous
    }

    /// From when the document holds, unix seconds.
    #[must_use]
    pub fn valid_after(&self) -> u64 {
        self.fields.valid_after
    }

    /// The first second at which it no longer holds, unix time.
    #[must_use]
    pub fn valid_until(&self) -> u64 {
        self.fields.valid_until
    }

    /// Who proposed it.
    #[must_use]
    pub fn proposer(&self) -> SignerId {
        self.fields.proposer
    }

    /// In which round it was proposed first.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.fields.round
    }

    /// The proof of the proposer's place in that round.
    #[must_use]
    pub fn proof(&self) -> &[u8; VRF_PROOF_LEN] {
        &self.fields.proof
    }

    /// The epoch's fresh randomness.
    #[must_use]
    pub fn randomness(&self) -> [u8; 32] {
        self.fields.randomness
    }

    /// The hash of the voters who sign it: those whom the document before named.
    #[must_use]
    pub fn signers(&self) -> [u8; 32] {
        self.fields.signers
    }

    /// The voters of the next document, if they are others than those who sign this one.
    #[must_use]
    pub fn voters(&self) -> Option<&VoterSet> {
        self.fields.voters.as_ref()
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.fields.parameters
    }

    /// How many relays there are.
    #[must_use]
    pub fn relay_count(&self) -> usize {
        self.fields.relay_count
    }

    /// The hash of the table of relays.
    #[must_use]
    pub fn relays(&self) -> [u8; 32] {
        self.fields.relays
    }
}

/// Precommits of one round: the place of each voter in the set that signs, and its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The round in which they were cast.
    pub round: u32,
    /// Places, ascending, and signatures.
    pub signatures: Vec<(u8, [u8; 64])>,
}

/// A header with signatures under it. They are verified by whoever knows the voters: `directory::Chain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHeader {
    header: Header,
    certificate: Certificate,
}

impl SignedHeader {
    /// Puts both together.
    ///
    /// # Errors
    /// The places are not ascending, or over the number of voters that there can be.
    pub fn new(header: Header, certificate: Certificate) -> Result<Self, FormError> {
        let places = &certificate.signatures;
        rule(
            places.len() <= VOTERS_MAX
                && places.windows(2).all(|pair| pair[0].0 < pair[1].0)
                && places.last().is_none_or(|(place, _)| usize::from(*place) < VOTERS_MAX),
            "list of signatures",
            "has to be sorted by voter, each once",
        )?;
        Ok(Self { header, certificate })
    }

    /// Reads a header and its signatures. Nothing is verified yet.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let message: schema::SignedHeader = canonical::read_strict(bytes, SIGNED_HEADER_MAX)?;
        let (parts, rest) = message.signatures.as_chunks::<SIGNATURE_LEN>();
        rule(rest.is_empty(), "list of signatures", "has to be of whole signatures")?;
        let signatures = parts
            .iter()
            .map(|part| Ok((part[0], array(&part[1..], "signature")?)))
            .collect::<Result<Vec<_>, FormError>>()?;
        Self::new(Header::decode(&message.header)?, Certificate { round: message.round, signatures })
    }

    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut signatures = Vec::with_capacity(self.certificate.signatures.len() * SIGNATURE_LEN);
        for (place, signature) in &self.certificate.signatures {
            signatures.push(*place);
            signatures.extend_from_slice(signature);
        }
        schema::SignedHeader { header: self.header.bytes.clone(), round: self.certificate.round, signatures }
            .encode_to_vec()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The signatures.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

//! The network document as a file: which relays there are, signed by those whom its users trust to say so.
//!
//! A [`Draft`] is built up (relays added, signed by each signer in turn) and has the same form as a finished
//! [`Document`], with fewer signatures and another label on its armour. Strictly more than two thirds of the listed
//! signers have to sign. Who the signers are is pinned by the [`NetworkId`], which invites carry.
//! `specs/05-directory.md` has the bytes.

mod body;
mod draft;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use zmesh_sphinx::RelayId;

pub(crate) use body::is_public;
pub use body::{LIFETIME_MAX, NAME_MAX, RELAYS_MAX, SIGNERS_MAX};
pub use draft::{Added, Draft, DraftTerms, Progress};

use super::codec::armour::{self, ArmourError, Label};
use super::codec::{self, Reader};
use super::descriptor::{CLOCK_SKEW, Descriptor, DescriptorError};
use body::{Body, Signatures};

/// Largest document as text, in bytes.
pub const TEXT_MAX: usize = 32 << 20;

const ID_CONTEXT: &[u8] = b"zmesh network id v1\0";

/// Names a network: a hash over its name, its test flag and its set of signers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(pub [u8; 32]);

impl NetworkId {
    fn of(body: &Body) -> Self {
        let mut hash = Sha256::new_with_prefix(ID_CONTEXT);
        hash.update([u8::from(body.test_network)]);
        hash.update([u8::try_from(body.name.len()).expect("names are capped at 64 bytes")]);
        hash.update(body.name.as_bytes());
        for signer in &body.signers {
            hash.update(signer);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkId({self})")
    }
}

/// A signer's public key; prints as hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignerId(pub [u8; 32]);

impl SignerId {
    /// Reads 64 hexadecimal digits, as `Display` writes them. The key itself is checked when it is listed.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SignerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerId({self})")
    }
}

/// Why a document or a draft was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The text is no network document.
    #[error(transparent)]
    Armour(#[from] ArmourError),
    /// The bytes are malformed.
    #[error("the network document is malformed: {0}")]
    Malformed(#[from] codec::Error),
    /// A field breaks its rule.
    #[error("the {field} {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// A listed signer is no usable Ed25519 key.
    #[error("the signer {0} is no usable Ed25519 key")]
    WeakSigner(SignerId),
    /// A signer is listed twice.
    #[error("the signer {0} is listed twice")]
    DuplicateSigner(SignerId),
    /// A relay in it is bad.
    #[error("relay number {index}, at byte {offset}: {error}")]
    Descriptor {
        /// Its place in the document, from 1.
        index: usize,
        /// Offset in the document, in bytes.
        offset: usize,
        /// What is wrong with it.
        error: DescriptorError,
    },
    /// A relay is there twice.
    #[error("the relay {0} is listed twice")]
    DuplicateRelay(RelayId),
    /// Two relays announce the same key.
    #[error("the relays {0} and {1} announce the same key")]
    SharedKey(RelayId, RelayId),
    /// An older description of a relay than the one that is there.
    #[error("the descriptor of {nickname} has revision {found}, not newer than revision {known} that is there already")]
    OldRevision {
        /// The relay's nickname.
        nickname: String,
        /// Revision that is there.
        known: u64,
        /// Revision that was to replace it.
        found: u64,
    },
    /// A relay's descriptor ends before the document does.
    #[error(
        "the descriptor of {nickname} expires at {expires}, before the network at {valid_until} (unix time): export a fresh one or shorten the network's validity"
    )]
    OutlivesRelay {
        /// The relay's nickname.
        nickname: String,
        /// When its descriptor expires, unix seconds.
        expires: u64,
        /// When the document would, unix seconds.
        valid_until: u64,
    },
    /// A relay has an address that is not public, and the network is no test network.
    #[error("{nickname} has the address {address}, which is not public: only a test network may list it")]
    PrivateAddress {
        /// The relay's nickname.
        nickname: String,
        /// The address.
        address: SocketAddr,
    },
    /// A signature does not verify.
    #[error("the signature of {0} is forged, or the network document was altered")]
    ForgedSignature(SignerId),
    /// Not enough signatures.
    #[error("the network document has {have} of the {need} signatures that it needs")]
    TooFewSignatures {
        /// Valid signatures.
        have: usize,
        /// Signatures needed.
        need: usize,
    },
    /// The key is none of the document's signers.
    #[error("the key {0} is not among the signers of this network")]
    UnknownSigner(SignerId),
    /// Past its validity.
    #[error("the network document expired at {since} (unix time): get a newer one")]
    Expired {
        /// When it expired, unix seconds.
        since: u64,
    },
    /// Not valid yet.
    #[error("the network document is not valid before {from} (unix time): check the clock")]
    NotYetValid {
        /// When it becomes valid, unix seconds.
        from: u64,
    },
}

/// How many of `signers` have to sign: strictly more than two thirds.
#[must_use]
pub fn signatures_needed(signers: usize) -> usize {
    2 * signers / 3 + 1
}

/// A document with enough valid signatures, of whatever time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    body: Body,
    signatures: Signatures,
}

impl Document {
    /// Reads text armour and verifies everything but the time.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn from_text(text: &[u8]) -> Result<Self, DocumentError> {
        if armour::kind(text) == Some(Label::NetworkDraft) {
            // Say how far the draft is rather than that it is of another kind.
            return Draft::from_text(text)?.into_document();
        }
        Self::decode(&armour::decode(Label::Network, text, TEXT_MAX)?)
    }

    /// Reads the binary and verifies everything but the time.
    ///
    /// # Errors
    /// See [`DocumentError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut r = Reader::new(bytes);
        let body = Body::read(&mut r)?;
        let signed = r.passed(0);
        let signatures = Signatures::read(&mut r, &body, signed)?;
        r.finish()?;
        Self::from_parts(body, signatures)
    }

    fn from_parts(body: Body, signatures: Signatures) -> Result<Self, DocumentError> {
        body.check_complete()?;
        let (have, need) = (signatures.len(), signatures_needed(body.signers.len()));
        if have < need {
            return Err(DocumentError::TooFewSignatures { have, need });
        }
        Ok(Self { body, signatures })
    }

    /// The binary.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        body::encode(&self.body, &self.signatures)
    }

    /// Text armour around the binary: the network file.
    #[must_use]
    pub fn to_text(&self) -> String {
        armour::encode(Label::Network, &self.encode()).to_string()
    }

    /// Whether the document holds at `unix_now`, in seconds; [`CLOCK_SKEW`] is allowed at its beginning.
    ///
    /// # Errors
    /// [`DocumentError::Expired`], [`DocumentError::NotYetValid`].
    pub fn check_time(&self, unix_now: u64) -> Result<(), DocumentError> {
        self.body.check_time(unix_now)
    }

    /// The network's id.
    #[must_use]
    pub fn network_id(&self) -> NetworkId {
        NetworkId::of(&self.body)
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.body.name
    }

    /// Whether constraints on paths and addresses are lifted, for tests on one machine.
    #[must_use]
    pub fn is_test_network(&self) -> bool {
        self.body.test_network
    }

    /// From when the document holds, unix seconds.
    #[must_use]
    pub fn valid_after(&self) -> u64 {
        self.body.valid_after
    }

    /// The first second at which it no longer holds, unix time.
    #[must_use]
    pub fn valid_until(&self) -> u64 {
        self.body.valid_until
    }

    /// All signers, whether they signed or not, sorted.
    #[must_use]
    pub fn signers(&self) -> Vec<SignerId> {
        self.body.signers.iter().copied().map(SignerId).collect()
    }

    /// Those who signed.
    #[must_use]
    pub fn signed_by(&self) -> Vec<SignerId> {
        self.signatures.signers(&self.body)
    }

    /// The relays, sorted by id.
    #[must_use]
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.body.descriptors
    }

    pub(crate) fn into_descriptors(self) -> Vec<Descriptor> {
        self.body.descriptors
    }
}

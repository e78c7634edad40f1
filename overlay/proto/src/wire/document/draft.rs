//! A network document while it is being put together.

use zmesh_sphinx::RelayId;

use super::body::{self, Body, Signatures};
use super::{Document, DocumentError, NetworkId, SignerId, TEXT_MAX, signatures_needed};
use crate::keys::SignerKey;
use crate::wire::codec::armour::{self, Label};
use crate::wire::codec::{Reader, Writer};
use crate::wire::descriptor::Descriptor;

/// What a draft starts from. Times are unix seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DraftTerms {
    /// The network's name, 1 to 64 bytes.
    pub name: String,
    /// Lifts the constraints on paths and addresses, for tests on one machine.
    pub test_network: bool,
    /// From when the document holds.
    pub valid_after: u64,
    /// The first second at which it no longer does.
    pub valid_until: u64,
    /// Who signs, in any order, 1 to 64.
    pub signers: Vec<SignerId>,
}

/// What adding a descriptor did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// A relay that was not there.
    New,
    /// A newer description of a relay that was there with this revision.
    Replaced {
        /// The revision that is gone.
        revision: u64,
    },
    /// The very same descriptor was there already; nothing changed.
    Unchanged,
}

/// How far the signing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Signatures there are.
    pub have: usize,
    /// Signatures needed.
    pub need: usize,
}

impl Progress {
    /// Whether there are enough.
    #[must_use]
    pub fn is_enough(self) -> bool {
        self.have >= self.need
    }
}

/// A document while it is being put together: shown, added to, and signed by each signer in turn. Any change other than
/// a signature drops the signatures that are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    body: Body,
    signatures: Signatures,
}

impl Draft {
    /// An empty network.
    ///
    /// # Errors
    /// A field breaks its rule, or a signer is listed twice or is no usable key.
    pub fn new(terms: DraftTerms) -> Result<Self, DocumentError> {
        let mut signers: Vec<[u8; 32]> = terms.signers.iter().map(|signer| signer.0).collect();
        signers.sort_unstable();
        let body = Body {
            name: terms.name,
            test_network: terms.test_network,
            valid_after: terms.valid_after,
            valid_until: terms.valid_until,
            signers,
            descriptors: Vec::new(),
        };
        body.check()?;
        Ok(Self { body, signatures: Signatures::default() })
    }

    /// Adds a relay, or replaces its description by a newer one.
    ///
    /// # Errors
    /// The description is not newer than the one there, its address is not public in a network that is no test network,
    /// its keys are another relay's, or the network is full. The draft is unchanged then.
    pub fn add(&mut self, descriptor: Descriptor) -> Result<Added, DocumentError> {
        let mut next = self.body.clone();
        let added = match next.descriptors.binary_search_by_key(&descriptor.id(), Descriptor::id) {
            Ok(at) => {
                let known = &next.descriptors[at];
                if *known == descriptor {
                    return Ok(Added::Unchanged);
                }
                let (revision, found) = (known.terms().revision, descriptor.terms().revision);
                if found <= revision {
                    return Err(DocumentError::OldRevision {
                        nickname: known.info().nickname.clone(),
                        known: revision,
                        found,
                    });
                }
                next.descriptors[at] = descriptor;
                Added::Replaced { revision }
            }
            Err(at) => {
                next.descriptors.insert(at, descriptor);
                Added::New
            }
        };
        next.check()?;
        self.body = next;
        self.signatures.clear();
        Ok(added)
    }

    /// Removes a relay; whether it was there.
    pub fn remove(&mut self, id: &RelayId) -> bool {
        let Ok(at) = self.body.descriptors.binary_search_by_key(id, Descriptor::id) else {
            return false;
        };
        self.body.descriptors.remove(at);
        self.signatures.clear();
        true
    }

    /// Sets from when until when the document holds, in unix seconds.
    ///
    /// # Errors
    /// The period is empty or over 62 days. The draft is unchanged then.
    pub fn set_validity(&mut self, valid_after: u64, valid_until: u64) -> Result<(), DocumentError> {
        let mut next = self.body.clone();
        next.valid_after = valid_after;
        next.valid_until = valid_until;
        next.check()?;
        self.body = next;
        self.signatures.clear();
        Ok(())
    }

    /// Signs, after checking that the document would be accepted at `unix_now`, in seconds.
    ///
    /// # Errors
    /// The key is none of the signers, the document is empty or expired, or a relay's descriptor is, or ends before the
    /// document does.
    pub fn sign(&mut self, key: &SignerKey, unix_now: u64) -> Result<Progress, DocumentError> {
        let public = key.public();
        let Ok(at) = self.body.signers.binary_search(&public) else {
            return Err(DocumentError::UnknownSigner(SignerId(public)));
        };
        self.body.check_complete()?;
        self.body.check_time(unix_now)?;
        for (at, descriptor) in self.body.descriptors.iter().enumerate() {
            descriptor.check_time(unix_now).map_err(|error| DocumentError::Descriptor {
                index: at + 1,
                offset: 0,
                error,
            })?;
        }
        let mut w = Writer::new();
        self.body.write(&mut w);
        let signature = key.sign(&body::message(w.as_slice()));
        self.signatures.insert(at, signature);
        Ok(self.progress())
    }

    /// Takes the signatures of another copy of the same draft, so that signers need not wait for each other.
    ///
    /// # Errors
    /// The copies differ in anything but their signatures.
    pub fn merge(&mut self, other: &Self) -> Result<Progress, DocumentError> {
        if self.body != other.body {
            return Err(DocumentError::Field { field: "other draft", rule: "differs in more than its signatures" });
        }
        self.signatures.extend(&other.signatures);
        Ok(self.progress())
    }

    /// How far the signing is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { have: self.signatures.len(), need: signatures_needed(self.body.signers.len()) }
    }

    /// The finished document.
    ///
    /// # Errors
    /// [`DocumentError::TooFewSignatures`], or what [`Draft::sign`] would find wrong apart from the time.
    pub fn into_document(self) -> Result<Document, DocumentError> {
        Document::from_parts(self.body, self.signatures)
    }

    /// Text armour: a network file once the signatures are enough, a draft until then.
    #[must_use]
    pub fn to_text(&self) -> String {
        let label = if self.progress().is_enough() { Label::Network } else { Label::NetworkDraft };
        armour::encode(label, &body::encode(&self.body, &self.signatures)).to_string()
    }

    /// Reads a draft, or a finished document to work on.
    ///
    /// # Errors
    /// The text is neither, or malformed, or something in it is forged.
    pub fn from_text(text: &[u8]) -> Result<Self, DocumentError> {
        let label = match armour::kind(text) {
            Some(Label::NetworkDraft) => Label::NetworkDraft,
            _ => Label::Network,
        };
        Self::decode(&armour::decode(label, text, TEXT_MAX)?)
    }

    /// Reads the binary of a draft or of a finished document.
    ///
    /// # Errors
    /// Malformed, or something in it is forged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut r = Reader::new(bytes);
        let body = Body::read(&mut r)?;
        let signed = r.passed(0);
        let signatures = Signatures::read(&mut r, &body, signed)?;
        r.finish()?;
        Ok(Self { body, signatures })
    }

    /// The binary.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        body::encode(&self.body, &self.signatures)
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

    /// Whether this is to be a test network.
    #[must_use]
    pub fn is_test_network(&self) -> bool {
        self.body.test_network
    }

    /// From when the document is to hold, unix seconds.
    #[must_use]
    pub fn valid_after(&self) -> u64 {
        self.body.valid_after
    }

    /// The first second at which it no longer will, unix time.
    #[must_use]
    pub fn valid_until(&self) -> u64 {
        self.body.valid_until
    }

    /// All signers, sorted.
    #[must_use]
    pub fn signers(&self) -> Vec<SignerId> {
        self.body.signers.iter().copied().map(SignerId).collect()
    }

    /// Those who signed so far.
    #[must_use]
    pub fn signed_by(&self) -> Vec<SignerId> {
        self.signatures.signers(&self.body)
    }

    /// The relays, sorted by id.
    #[must_use]
    pub fn descriptors(&self) -> &[Descriptor] {
        &self.body.descriptors
    }
}

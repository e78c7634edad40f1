//! A relay's signed self-description.
//!
//! A [`Descriptor`] exists only whole and verified: [`Descriptor::create`] makes one from a relay's keys and
//! [`Descriptor::decode`] reads one and checks its signature, the proofs that the relay holds the keys it announces, and
//! every rule on its fields. What depends on the time is asked separately ([`Descriptor::check_time`]).
//! `specs/05-directory.md` has the bytes.

mod body;
mod control;
mod ports;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use ed25519_dalek::Signer as _;
use zmesh_sphinx::{OnionPublic, RelayId};

pub(crate) use body::is_organisation;
pub use body::{ADDRESSES_MAX, CONTROL_ADDRESSES_MAX, DESCRIPTOR_MAX, LIFETIME_MAX, NICKNAME_MAX, ORGANISATION_MAX};
pub use control::{ControlAddress, ControlCarrier, Region};
pub use ports::{PORT_RANGES_MAX, PortSet};

use crate::keys::{self, OVERLAP_SECONDS, RelayKeys, epoch_at};
use crate::wire::codec::armour::{self, ArmourError, Label};
use crate::wire::codec::{self, Reader, Writer};

/// How long a descriptor is valid unless its operator says otherwise, in seconds: 35 days.
pub const LIFETIME_DEFAULT: u64 = 35 * 86_400;
/// How long a descriptor is valid in a network whose voters agree on a document every epoch, in seconds: a day. It
/// holds the onion keys of three half days and no more, and a relay that is gone is soon forgotten.
pub const LIFETIME_AGREED: u64 = 86_400;
/// How far in the future a descriptor or document may seem to begin, in seconds, because clocks differ.
pub const CLOCK_SKEW: u64 = 3_600;

const CONTEXT: &[u8] = b"zmesh descriptor v1\0";
const TEXT_MAX: usize = 2 * DESCRIPTOR_MAX;

/// Why a descriptor was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The text is no descriptor.
    #[error(transparent)]
    Armour(#[from] ArmourError),
    /// The bytes are malformed.
    #[error("the descriptor is malformed: {0}")]
    Malformed(#[from] codec::Error),
    /// Longer than any descriptor.
    #[error("the descriptor is {len} bytes long, over the limit of {DESCRIPTOR_MAX}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// A field breaks its rule.
    #[error("the {field} {rule}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// The signature does not verify: forged, or altered after signing.
    #[error("the descriptor's signature is forged or the descriptor was altered")]
    ForgedSignature,
    /// The relay does not prove that it holds a key that it announces.
    #[error("the descriptor announces a key ({0}) without proof of holding it")]
    ForgedProof(AnnouncedKey),
    /// Past its validity.
    #[error("the descriptor expired at {since} (unix time)")]
    Expired {
        /// When it expired, unix seconds.
        since: u64,
    },
    /// Published in the future.
    #[error("the descriptor was published in the future, at {from} (unix time): check the clocks")]
    NotYetValid {
        /// When it was published, unix seconds.
        from: u64,
    },
    /// The relay's keys do not cover the wanted validity.
    #[error("the onion keys do not cover the descriptor's validity: {0}")]
    Keys(#[from] keys::Error),
}

/// Which announced key lacks its proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AnnouncedKey {
    /// The X25519 link key.
    Link,
    /// The schedule of onion keys.
    Onion,
    /// The TLS key of an exit or of a relay that keeps chunks.
    Exit,
}

impl std::fmt::Display for AnnouncedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Link => "link key",
            Self::Onion => "onion keys",
            Self::Exit => "exit key",
        })
    }
}

/// What an operator says about a relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescriptorInfo {
    /// A name for people: 1 to 24 of `A–Z a–z 0–9 . _ -`. Not unique, and nothing relies on it.
    pub nickname: String,
    /// Who runs the relay, 1 to 64 bytes. A path never has two relays of one operator.
    pub operator: String,
    /// A wider group that should not share a path, 1 to 64 bytes.
    pub family: Option<String>,
    /// Where it stands: two capital letters (ISO 3166-1).
    pub country: Option<[u8; 2]>,
    /// Where links reach it: 1 to 8, best first.
    pub addresses: Vec<SocketAddr>,
    /// What leaves the network here, if anything does.
    pub exit: Option<ExitSummary>,
    /// Whether it splices circuits that meet here.
    pub meeting: bool,
    /// Whether it keeps chunks and gives them to whoever asks.
    pub cache: bool,
    /// Whether it offers to mix rooms.
    pub mixer: bool,
    /// Whether it serves documents, their differences and descriptors to whoever asks.
    pub directory: bool,
    /// Which part of the world it stands in, coarsely.
    pub region: Option<Region>,
    /// Where other relays reach it for the control plane: at most 4, best first; none for a relay that stays out of it.
    pub control: Vec<ControlAddress>,
}

/// What an exit accepts, in short: a guide for path choice. Its policy decides each request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExitSummary {
    /// Reaches IPv4 destinations.
    pub v4: bool,
    /// Reaches IPv6 destinations.
    pub v6: bool,
    /// Destination ports.
    pub ports: PortSet,
}

impl ExitSummary {
    /// Whether this exit takes destinations on `port`, over IPv6 if `v6` is set, over any version otherwise.
    #[must_use]
    pub fn accepts(&self, port: u16, v6: bool) -> bool {
        (self.v6 || !v6) && self.ports.contains(port)
    }
}

/// From when until when a descriptor holds, and which of a relay's descriptors is newer. Times are unix seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// When it was made.
    pub published: u64,
    /// The first second at which it no longer holds.
    pub expires: u64,
    /// Grows with every descriptor of a relay: nobody replaces a newer one by an older.
    pub revision: u64,
}

impl Terms {
    /// The default: valid from now for [`LIFETIME_DEFAULT`], and the time as the revision.
    #[must_use]
    pub fn from_now(unix_now: u64) -> Self {
        Self { published: unix_now, expires: unix_now.saturating_add(LIFETIME_DEFAULT), revision: unix_now }
    }

    /// For networks that agree on a document every epoch: valid from now for [`LIFETIME_AGREED`].
    #[must_use]
    pub fn agreed(unix_now: u64) -> Self {
        Self { expires: unix_now.saturating_add(LIFETIME_AGREED), ..Self::from_now(unix_now) }
    }
}

/// A verified descriptor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    id: RelayId,
    body: body::Body,
    bytes: Vec<u8>,
}

impl Descriptor {
    /// Describes the relay with these keys.
    ///
    /// # Errors
    /// A field breaks its rule, or the onion keys of the period have been erased.
    pub fn create(keys: &RelayKeys, info: &DescriptorInfo, terms: Terms) -> Result<Self, DescriptorError> {
        body::check_terms(terms)?;
        // Clocks differ: an origin that lags may still set up with the key of the epoch before.
        let first = epoch_at(terms.published.saturating_sub(OVERLAP_SECONDS)).max(keys.onion().first_epoch());
        let last = epoch_at((terms.expires - 1).saturating_add(OVERLAP_SECONDS));
        let count = (last.saturating_sub(first) as usize) + 1;
        let secrets = keys.onion().schedule(first, count)?;
        let body = body::Body::new(keys, info, terms, first, &secrets)?;
        let mut w = Writer::new();
        body.write(&mut w);
        let signature = keys.identity().sign(&signed_message(w.as_slice()));
        w.put(&signature.to_bytes());
        Ok(Self { id: keys.id(), body, bytes: w.finish() })
    }

    /// Reads and verifies a descriptor.
    ///
    /// # Errors
    /// See [`DescriptorError`]; never one about time.
    pub fn decode(bytes: &[u8]) -> Result<Self, DescriptorError> {
        if bytes.len() > DESCRIPTOR_MAX {
            return Err(DescriptorError::TooLarge { len: bytes.len() });
        }
        let mut r = Reader::new(bytes);
        let body = body::Body::read(&mut r)?;
        let signed = r.passed(0);
        let signature = r.array::<64>()?;
        r.finish()?;
        if !keys::verify(&body.identity, &signed_message(signed), &signature) {
            return Err(DescriptorError::ForgedSignature);
        }
        body.verify_proofs()?;
        Ok(Self { id: keys::relay_id(&body.identity), body, bytes: bytes.to_vec() })
    }

    /// The signed bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Text armour around [`Descriptor::as_bytes`], to hand to whoever builds the network document.
    #[must_use]
    pub fn to_text(&self) -> String {
        armour::encode(Label::Descriptor, &self.bytes).to_string()
    }

    /// Reads and verifies text armour.
    ///
    /// # Errors
    /// As [`Descriptor::decode`], or the text is no armour of a descriptor.
    pub fn from_text(text: &[u8]) -> Result<Self, DescriptorError> {
        Self::decode(&armour::decode(Label::Descriptor, text, TEXT_MAX)?)
    }

    /// Whether the descriptor holds at `unix_now`, in seconds; [`CLOCK_SKEW`] is allowed at its beginning.
    ///
    /// # Errors
    /// [`DescriptorError::Expired`], [`DescriptorError::NotYetValid`].
    pub fn check_time(&self, unix_now: u64) -> Result<(), DescriptorError> {
        let terms = self.body.terms;
        if unix_now >= terms.expires {
            return Err(DescriptorError::Expired { since: terms.expires });
        }
        if unix_now.saturating_add(CLOCK_SKEW) < terms.published {
            return Err(DescriptorError::NotYetValid { from: terms.published });
        }
        Ok(())
    }

    /// The relay's id.
    #[must_use]
    pub fn id(&self) -> RelayId {
        self.id
    }

    /// The relay's Ed25519 identity.
    #[must_use]
    pub fn identity(&self) -> [u8; 32] {
        self.body.identity
    }

    /// The relay's X25519 link key.
    #[must_use]
    pub fn link_key(&self) -> [u8; 32] {
        self.body.link_key
    }

    /// The onion key to which set-ups of this time (unix seconds) are made.
    #[must_use]
    pub fn onion_at(&self, unix: u64) -> Option<OnionPublic> {
        let index = epoch_at(unix).checked_sub(self.body.onion_first)?;
        let key = self.body.onion_keys.get(index as usize)?;
        OnionPublic::from_bytes(key).ok()
    }

    /// What the operator says about the relay.
    #[must_use]
    pub fn info(&self) -> &DescriptorInfo {
        &self.body.info
    }

    /// From when until when it holds, and its revision.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.body.terms
    }

    /// The Ed25519 key of the relay's TLS, if it is an exit or keeps chunks.
    #[must_use]
    pub fn exit_key(&self) -> Option<[u8; 32]> {
        self.body.exit.map(|exit| exit.key)
    }
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [CONTEXT, body].concat()
}

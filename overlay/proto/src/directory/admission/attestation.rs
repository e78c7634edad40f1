//! What a node says of another's uptime.

use prost::Message as _;

use crate::keys::{self, SignerKey};
use crate::wire::control::canonical::{self, FormError, array, rule};
use crate::wire::document::{NetworkId, SignerId};

/// For how long an attestation holds, in seconds: two hours.
pub const ATTESTATION_LIFE: u64 = 7_200;
/// Largest attestation, in bytes.
pub const ATTESTATION_MAX: usize = 256;

const CONTEXT: &[u8] = b"zmesh uptime attestation v1\0";
/// How far in the future one may seem to be made, in seconds.
const SKEW: u64 = 300;

/// One node's word on how much of the time another was up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attestation {
    /// The network.
    pub network: NetworkId,
    /// Who says it.
    pub observer: SignerId,
    /// Of whom.
    pub subject: SignerId,
    /// When it was made, unix seconds.
    pub made: u64,
    /// For how many seconds the observer has watched.
    pub watched: u64,
    /// For how much of that time it was up, in thousandths.
    pub uptime: u16,
}

impl Attestation {
    /// Signs it with the observer's key.
    ///
    /// # Errors
    /// The uptime is over 1,000 thousandths, or the key is another's.
    pub fn sign(&self, key: &SignerKey) -> Result<Vec<u8>, FormError> {
        rule(key.public() == self.observer.0, "observer", "has to be that of the key")?;
        self.check()?;
        let body = schema::Attestation {
            network: self.network.0.to_vec(),
            observer: self.observer.0.to_vec(),
            subject: self.subject.0.to_vec(),
            made: self.made,
            watched: self.watched,
            uptime: u32::from(self.uptime),
        }
        .encode_to_vec();
        let signature = key.sign(&[CONTEXT, &body].concat()).to_vec();
        Ok(schema::Signed { body, signature }.encode_to_vec())
    }

    /// Reads and verifies one.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let signed: schema::Signed = canonical::read_strict(bytes, ATTESTATION_MAX)?;
        let (message, _) = canonical::read::<schema::Attestation>(&signed.body, ATTESTATION_MAX)?;
        let attestation = Self {
            network: NetworkId(array(&message.network, "network id")?),
            observer: SignerId(array(&message.observer, "observer")?),
            subject: SignerId(array(&message.subject, "subject")?),
            made: message.made,
            watched: message.watched,
            uptime: u16::try_from(message.uptime).unwrap_or(u16::MAX),
        };
        attestation.check()?;
        let signature = array(&signed.signature, "signature")?;
        if !keys::verify(&attestation.observer.0, &[CONTEXT, &signed.body].concat(), &signature) {
            return Err(FormError::ForgedSignature);
        }
        Ok(attestation)
    }

    /// Whether it holds at a time (unix seconds).
    #[must_use]
    pub fn holds_at(&self, now: u64) -> bool {
        self.made <= now.saturating_add(SKEW) && now < self.made.saturating_add(ATTESTATION_LIFE)
    }

    fn check(&self) -> Result<(), FormError> {
        rule(self.uptime <= 1_000, "uptime", "can be at most 1,000 thousandths")
    }
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Attestation {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) network: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) observer: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) subject: Vec<u8>,
        #[prost(uint64, tag = "4")]
        pub(super) made: u64,
        #[prost(uint64, tag = "5")]
        pub(super) watched: u64,
        #[prost(uint32, tag = "6")]
        pub(super) uptime: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Signed {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) body: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) signature: Vec<u8>,
    }
}

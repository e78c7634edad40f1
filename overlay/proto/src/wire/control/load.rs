//! What a relay says of its load: a small message of short life, apart from the descriptor.

use ed25519_dalek::Signer as _;
use prost::Message as _;
use zmesh_sphinx::RelayId;

use super::canonical::{self, FormError, array, rule};
use super::schema;
use crate::keys::{self, RelayKeys};
use crate::wire::document::NetworkId;

/// Longest life of a report, in seconds.
pub const LOAD_LIFE: u32 = 300;
/// Largest report, in bytes.
pub const LOAD_MAX: usize = 256;

const CONTEXT: &[u8] = b"zmesh load report v1\0";

/// A relay's load as it says itself. Nothing rests on it but hints: voters measure for themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadReport {
    /// The network that it is for.
    pub network: NetworkId,
    /// The relay's Ed25519 identity.
    pub identity: [u8; 32],
    /// When it was made, unix seconds. Later ones replace earlier ones.
    pub made: u64,
    /// How many seconds it holds: 1 to 300.
    pub life: u32,
    /// How much of what it can do it does, in thousandths.
    pub load: u16,
    /// What it forwards at most, in kB/s.
    pub capacity: u32,
}

impl LoadReport {
    /// Signs a report of the relay with these keys.
    ///
    /// # Errors
    /// A field breaks its rule, or the identity is another's.
    pub fn sign(&self, keys: &RelayKeys) -> Result<Vec<u8>, FormError> {
        self.check()?;
        rule(self.identity == keys.identity_public(), "identity", "has to be that of the keys")?;
        let body = schema::LoadReport {
            network: self.network.0.to_vec(),
            identity: self.identity.to_vec(),
            made: self.made,
            life: self.life,
            load: u32::from(self.load),
            capacity: self.capacity,
        }
        .encode_to_vec();
        let signature = keys.identity().sign(&[CONTEXT, &body].concat()).to_bytes().to_vec();
        Ok(schema::Signed { body, signature }.encode_to_vec())
    }

    /// Reads and verifies a report.
    ///
    /// # Errors
    /// See [`FormError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormError> {
        let signed: schema::Signed = canonical::read_strict(bytes, LOAD_MAX)?;
        let (message, _) = canonical::read::<schema::LoadReport>(&signed.body, LOAD_MAX)?;
        let report = Self {
            network: NetworkId(array(&message.network, "network id")?),
            identity: array(&message.identity, "identity")?,
            made: message.made,
            life: message.life,
            load: u16::try_from(message.load).unwrap_or(u16::MAX),
            capacity: message.capacity,
        };
        report.check()?;
        let signature = array(&signed.signature, "signature")?;
        if !keys::verify(&report.identity, &[CONTEXT, &signed.body].concat(), &signature) {
            return Err(FormError::ForgedSignature);
        }
        Ok(report)
    }

    /// The relay that it speaks of.
    #[must_use]
    pub fn relay(&self) -> RelayId {
        keys::relay_id(&self.identity)
    }

    /// Whether it holds at a time (unix seconds); clocks may differ by its life.
    #[must_use]
    pub fn holds_at(&self, unix: u64) -> bool {
        let life = u64::from(self.life);
        unix < self.made.saturating_add(life) && unix.saturating_add(life) >= self.made
    }

    fn check(&self) -> Result<(), FormError> {
        rule((1..=LOAD_LIFE).contains(&self.life), "life of a report", "has to be 1 to 300 seconds")?;
        rule(self.load <= 1_000, "load", "can be at most 1,000 thousandths")
    }
}

//! The key of a service, and the keys that follow from it for each period.
//!
//! `A = a·G` is the identity. For a period, `h = SHA-512(context ‖ A ‖ period) mod ℓ`; the blinded key is `A' = h·A`, and its secret is
//! `a' = h·a`. Who has `A` computes `A'`; who has only `A'` finds neither `A` nor the `A'` of another period.

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::hazmat::{ExpandedSecretKey, raw_sign};
use ed25519_dalek::{Signature, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::address::ServiceAddress;
use super::digest;
use super::period::Period;
use crate::keys::{Error, seed};
use crate::wire::codec::armour::Label;

const BLIND_CONTEXT: &[u8] = b"zmesh service blinding v1\0";
const PREFIX_CONTEXT: &[u8] = b"zmesh service blinded prefix v1\0";
const SUBCREDENTIAL_CONTEXT: &str = "zmesh service subcredential v1";
const REVISION_CONTEXT: &str = "zmesh service revision key v1";

/// The lasting secret of a service: the seed of an Ed25519 key. Who has it is the service.
#[derive(Clone)]
pub struct ServiceKey(Zeroizing<[u8; 32]>);

impl ServiceKey {
    /// Draws a new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        Self(seed)
    }

    /// The key of a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*seed))
    }

    /// Where clients find the service.
    #[must_use]
    pub fn address(&self) -> ServiceAddress {
        let public = VerifyingKey::from(&self.expand()).to_bytes();
        ServiceAddress::from_key(public).expect("a clamped multiple of the base point has prime order and one form")
    }

    /// The keys of a period.
    #[must_use]
    pub fn blinded(&self, period: Period) -> BlindedSecret {
        let address = self.address();
        let own = self.expand();
        let mut factor = factor(&address, period);
        let public = blinded_key(&address, period);
        let hidden: Zeroizing<[u8; 64]> = Zeroizing::new(
            Sha512::new_with_prefix(PREFIX_CONTEXT)
                .chain_update(own.hash_prefix)
                .chain_update(public.0)
                .finalize()
                .into(),
        );
        let mut hash_prefix = [0; 32];
        hash_prefix.copy_from_slice(&hidden[..32]);
        let secret = ExpandedSecretKey { scalar: factor * own.scalar, hash_prefix };
        hash_prefix.zeroize();
        factor.zeroize();
        let verifying = VerifyingKey::from(&secret);
        debug_assert_eq!(verifying.to_bytes(), public.0);
        BlindedSecret { secret, verifying, subcredential: subcredential(&address, &public), public }
    }

    fn expand(&self) -> ExpandedSecretKey {
        let wide: Zeroizing<[u8; 64]> = Zeroizing::new(Sha512::digest(*self.0).into());
        ExpandedSecretKey::from_bytes(&wide)
    }

    /// The key file, as text armour.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        seed::to_text(Label::ServiceKey, &self.0)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is no service's key file, or a damaged one.
    pub fn from_text(text: &[u8]) -> Result<Self, Error> {
        seed::from_text(Label::ServiceKey, text).map(Self)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceKey([redacted])")
    }
}

/// A service's name at the stores for one period. It cannot be linked to the address or to other periods without the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlindedKey(pub [u8; 32]);

impl BlindedKey {
    /// Whether `signature` is this key's over `message`. The key comes from the network: one that is not of prime order fails.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for BlindedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedKey([redacted])")
    }
}

/// Shows that its holder knows the address; goes into the keys of descriptors and introductions of one period.
#[derive(Clone)]
pub struct Subcredential(pub(crate) Zeroizing<[u8; 32]>);

impl PartialEq for Subcredential {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Subcredential {}

impl fmt::Debug for Subcredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subcredential([redacted])")
    }
}

/// The blinded key of an address for a period.
///
/// # Panics
/// Never: an address holds a point of prime order, and the factor is not 0 but with probability 2⁻²⁵².
#[must_use]
pub fn blinded_key(address: &ServiceAddress, period: Period) -> BlindedKey {
    let point = CompressedEdwardsY(*address.key()).decompress().expect("an address holds a point");
    BlindedKey((point * factor(address, period)).compress().to_bytes())
}

/// The subcredential of an address for the period of this blinded key.
#[must_use]
pub fn subcredential(address: &ServiceAddress, blinded: &BlindedKey) -> Subcredential {
    Subcredential(Zeroizing::new(digest(SUBCREDENTIAL_CONTEXT, &[address.key(), &blinded.0])))
}

fn factor(address: &ServiceAddress, period: Period) -> Scalar {
    let hash = Sha512::new_with_prefix(BLIND_CONTEXT).chain_update(address.key()).chain_update(period.0.to_be_bytes());
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// The secret half of a [`BlindedKey`]; signs the descriptors of one period.
pub struct BlindedSecret {
    secret: ExpandedSecretKey,
    verifying: VerifyingKey,
    public: BlindedKey,
    subcredential: Subcredential,
}

impl BlindedSecret {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> BlindedKey {
        self.public
    }

    /// What goes into the keys of this period.
    #[must_use]
    pub fn subcredential(&self) -> Subcredential {
        self.subcredential.clone()
    }

    /// Signs a message. A blinded key signs descriptors and nothing else.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.secret, message, &self.verifying).to_bytes()
    }

    /// What hides the steps of this period's revisions.
    pub(crate) fn revision_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(digest(REVISION_CONTEXT, &[&self.secret.hash_prefix]))
    }
}

impl fmt::Debug for BlindedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlindedSecret([redacted])")
    }
}

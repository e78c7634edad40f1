//! The group: ristretto255 (RFC 9496). Prime order, so no cofactor and no low-order element other than the identity; one encoding per
//! element, so a packet cannot be altered without altering the shared secret.

use std::fmt;

use curve25519_dalek::{RistrettoPoint, Scalar, ristretto::CompressedRistretto, traits::IsIdentity};
use rand_core::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::{error::Error, secret::Secret};

/// Length of an encoded element and of an encoded scalar.
pub(crate) const ELEMENT_LEN: usize = 32;

/// Decodes a canonical element other than the identity.
pub(crate) fn decode(bytes: &[u8; ELEMENT_LEN]) -> Result<RistrettoPoint, Error> {
    let point = CompressedRistretto(*bytes).decompress().ok_or(Error::InvalidElement)?;
    if point.is_identity() { Err(Error::InvalidElement) } else { Ok(point) }
}

/// A non-zero scalar that is erased when dropped.
#[derive(Clone)]
pub(crate) struct SecretScalar(Scalar);

impl SecretScalar {
    pub(crate) fn generate(rng: &mut impl CryptoRng) -> Self {
        loop {
            if let Some(scalar) = Self::from_uniform(&Secret::random(rng)) {
                return scalar;
            }
        }
    }

    /// Reduces 64 uniform bytes; nothing if the result is zero, which happens with probability 2⁻²⁵².
    pub(crate) fn from_uniform(bytes: &Secret<64>) -> Option<Self> {
        let scalar = Scalar::from_bytes_mod_order_wide(bytes.expose());
        (scalar != Scalar::ZERO).then_some(Self(scalar))
    }

    pub(crate) fn product(&self, other: &Self) -> Self {
        Self(self.0 * other.0)
    }

    /// `scalar · G`, encoded and not.
    pub(crate) fn public(&self) -> ([u8; ELEMENT_LEN], RistrettoPoint) {
        let point = RistrettoPoint::mul_base(&self.0);
        (point.compress().to_bytes(), point)
    }

    /// `scalar / 2`, for products that [`encode_doubles`] takes.
    pub(crate) fn half(&self) -> Self {
        Self(self.0.div_by_2())
    }

    /// `scalar · G`, not encoded.
    pub(crate) fn times_base(&self) -> RistrettoPoint {
        RistrettoPoint::mul_base(&self.0)
    }

    /// `scalar · point`, not encoded.
    pub(crate) fn times(&self, point: &RistrettoPoint) -> RistrettoPoint {
        point * self.0
    }

    /// `scalar · point`, encoded and not, for a result that goes on the wire.
    pub(crate) fn blind(&self, point: &RistrettoPoint) -> ([u8; ELEMENT_LEN], RistrettoPoint) {
        let product = point * self.0;
        (product.compress().to_bytes(), product)
    }

    /// `scalar · point`, encoded, for a result that is a shared secret.
    pub(crate) fn agree(&self, point: &RistrettoPoint) -> Secret<ELEMENT_LEN> {
        let mut product = point * self.0;
        let mut secret = Secret::zero();
        secret.expose_mut().copy_from_slice(product.compress().as_bytes());
        product.zeroize();
        secret
    }
}

/// Encodes the doubles of several elements for the price of one inversion, and erases the elements.
pub(crate) fn encode_doubles<const N: usize>(mut points: [RistrettoPoint; N]) -> [Secret<ELEMENT_LEN>; N] {
    let encoded = RistrettoPoint::double_and_compress_batch(&points);
    points.zeroize();
    let mut secrets = std::array::from_fn(|_| Secret::zero());
    for (secret, mut encoded) in secrets.iter_mut().zip(encoded) {
        secret.expose_mut().copy_from_slice(encoded.as_bytes());
        encoded.zeroize();
    }
    secrets
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A relay's public onion key.
#[derive(Clone, Copy)]
pub struct OnionPublic {
    encoded: [u8; ELEMENT_LEN],
    point: RistrettoPoint,
}

impl OnionPublic {
    /// Decodes a public onion key.
    ///
    /// # Errors
    /// [`Error::InvalidElement`] for the identity and for anything but a canonical encoding.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        Ok(Self { encoded: *bytes, point: decode(bytes)? })
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.encoded
    }

    pub(crate) fn as_bytes(&self) -> &[u8; ELEMENT_LEN] {
        &self.encoded
    }

    pub(crate) fn point(&self) -> &RistrettoPoint {
        &self.point
    }
}

impl PartialEq for OnionPublic {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for OnionPublic {}

impl fmt::Debug for OnionPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionPublic(")?;
        for byte in self.encoded {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// A relay's secret onion key. Erased when dropped.
#[derive(Clone)]
pub struct OnionSecret {
    scalar: SecretScalar,
    public: OnionPublic,
}

impl OnionSecret {
    /// Draws a new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_scalar(SecretScalar::generate(rng))
    }

    /// Decodes a stored key.
    ///
    /// # Errors
    /// [`Error::InvalidSecret`] for zero and for anything but a canonical scalar.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        let scalar: Option<Scalar> = Scalar::from_canonical_bytes(*bytes).into();
        match scalar {
            Some(scalar) if scalar != Scalar::ZERO => Ok(Self::from_scalar(SecretScalar(scalar))),
            _ => Err(Error::InvalidSecret),
        }
    }

    /// The key's stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.scalar.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> OnionPublic {
        self.public
    }

    pub(crate) fn agree(&self, point: &RistrettoPoint) -> Secret<ELEMENT_LEN> {
        self.scalar.agree(point)
    }

    fn from_scalar(scalar: SecretScalar) -> Self {
        let (encoded, point) = scalar.public();
        Self { public: OnionPublic { encoded, point }, scalar }
    }
}

impl fmt::Debug for OnionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionSecret([redacted])")
    }
}

//! Descriptors of services: how clients come to an introduction.
//!
//! A store sees a blinded key, a revision and bytes of one length; it checks the signature and can read nothing. Whoever has the address
//! has the key of the bytes.

use std::fmt;

use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;
use zmesh_sphinx::RelayId;

use super::address::ServiceAddress;
use super::introduce::{IntroKey, IntroName};
use super::key::{BlindedKey, BlindedSecret, Subcredential, blinded_key, subcredential};
use super::period::Period;
use super::pow::Puzzle;
use crate::wire::codec::{self, ErrorKind, Reader, Writer};

/// Length of every descriptor, in bytes: one size, so that nobody counts what is inside.
pub const DESCRIPTOR_LEN: usize = HEADER_LEN + INNER_LEN + TAG_LEN + SIGNATURE_LEN;
/// Most introduction points of a service.
pub const INTROS_MAX: usize = 8;
/// How long a descriptor may hold, in seconds.
pub const LIFETIME_MAX: u64 = 6 * 3_600;

const VERSION: u8 = 1;
/// Of what is sealed. The first version named a TLS key, which lasted for a run and so told visits to one service from others.
const INNER_VERSION: u8 = 2;
const HEADER_LEN: usize = 1 + 4 + 32 + 8 + SALT_LEN;
const SALT_LEN: usize = 16;
const INNER_LEN: usize = 1_024;
const TAG_LEN: usize = 16;
const SIGNATURE_LEN: usize = 64;
const SIGN_CONTEXT: &[u8] = b"zmesh service descriptor v1\0";
const KEY_CONTEXT: &[u8] = b"zmesh service descriptor key v1";

/// Why bytes are no descriptor, or not the one that was wanted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// The bytes have no such form.
    #[error("the descriptor cannot be read: {0}")]
    Malformed(#[from] codec::Error),
    /// The signature is not the blinded key's.
    #[error("the descriptor's signature does not hold")]
    Forged,
    /// It is of another service or period.
    #[error("the descriptor is another service's, or of another period")]
    Another,
    /// It does not open with the keys of this address, though the signature holds.
    #[error("the descriptor does not open with this address")]
    DoesNotOpen,
    /// Its time is over.
    #[error("the descriptor's time is over")]
    Expired,
    /// It says that it holds longer than any may.
    #[error("the descriptor claims to hold for too long")]
    TooLong,
}

/// A relay that passes introductions on to the service.
#[derive(Clone, PartialEq, Eq)]
pub struct IntroPoint {
    /// Which relay.
    pub relay: RelayId,
    /// What the relay knows the service by.
    pub name: IntroName,
    /// What introductions by way of this relay are sealed to.
    pub key: IntroKey,
}

/// What a client learns of a service.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// The last second at which it holds, unix time.
    pub not_after: u64,
    /// The work that an introduction should show.
    pub puzzle: Puzzle,
    /// One to [`INTROS_MAX`].
    pub intros: Vec<IntroPoint>,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({} introduction points, effort {})", self.intros.len(), self.puzzle.effort)
    }
}

impl Contents {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(INNER_LEN);
        w.u8(INNER_VERSION);
        w.u64(self.not_after);
        w.u32(self.puzzle.effort);
        w.put(&self.puzzle.seed);
        let intros = &self.intros[..self.intros.len().min(INTROS_MAX)];
        w.count8(intros.len());
        for intro in intros {
            w.put(&intro.relay.0);
            w.put(&intro.name.0);
            w.put(&intro.key.0);
        }
        let mut bytes = Zeroizing::new(w.finish());
        bytes.resize(INNER_LEN, 0);
        bytes
    }

    /// Reads the inner part of a descriptor, padding included.
    ///
    /// # Errors
    /// What was wrong, and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        let mut r = Reader::new(bytes);
        r.version(INNER_VERSION)?;
        let not_after = r.u64()?;
        let (effort, seed) = (r.u32()?, r.array()?);
        let count = r.check(|r| match r.count8(INTROS_MAX)? {
            0 => Err(r.error(ErrorKind::Invalid)),
            count => Ok(count),
        })?;
        let intros = (0..count)
            .map(|_| {
                Ok(IntroPoint { relay: RelayId(r.array()?), name: IntroName(r.array()?), key: IntroKey(r.array()?) })
            })
            .collect::<Result<_, codec::Error>>()?;
        let padding = r.clone();
        if r.rest().iter().any(|byte| *byte != 0) || bytes.len() != INNER_LEN {
            return Err(padding.error(ErrorKind::Invalid));
        }
        Ok(Self { not_after, puzzle: Puzzle { effort, seed }, intros })
    }
}

/// What a store can see of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outer<'a> {
    /// For which period it is.
    pub period: Period,
    /// The service's name in that period.
    pub blinded: BlindedKey,
    /// Rises with every publication.
    pub revision: u64,
    bytes: &'a [u8],
}

impl<'a> Outer<'a> {
    /// Reads what can be seen. The signature is not checked.
    ///
    /// # Errors
    /// The length is not [`DESCRIPTOR_LEN`], or the version unknown.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, codec::Error> {
        let mut r = Reader::new(bytes);
        r.version(VERSION)?;
        let (period, blinded, revision) = (Period(r.u32()?), BlindedKey(r.array()?), r.u64()?);
        r.take(DESCRIPTOR_LEN - HEADER_LEN + SALT_LEN)?;
        r.finish()?;
        Ok(Self { period, blinded, revision, bytes })
    }

    /// Whether the blinded key has signed it.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        let (message, signature) = self.bytes.split_at(DESCRIPTOR_LEN - SIGNATURE_LEN);
        let signature = signature.try_into().expect("the rest is as long as a signature");
        self.blinded.verifies(&[SIGN_CONTEXT, message].concat(), signature)
    }
}

impl fmt::Debug for Outer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outer([redacted])")
    }
}

/// Makes a descriptor. Contents with more than [`INTROS_MAX`] introduction points lose the further ones.
pub fn seal(
    secret: &BlindedSecret,
    address: &ServiceAddress,
    period: Period,
    revision: u64,
    contents: &Contents,
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let mut w = Writer::with_capacity(DESCRIPTOR_LEN);
    w.u8(VERSION);
    w.u32(period.0);
    w.put(&secret.public().0);
    w.u64(revision);
    w.put(&salt);
    let mut inner = contents.encode();
    let cipher = cipher(address, &secret.subcredential(), &salt);
    let tag = cipher
        .encrypt_in_place_detached(&Nonce::default(), w.as_slice(), &mut inner)
        .expect("a kilobyte is not too long");
    w.put(&inner);
    w.put(&tag);
    let signature = secret.sign(&[SIGN_CONTEXT, w.as_slice()].concat());
    w.put(&signature);
    w.finish()
}

/// Opens the descriptor of `address` for `period` at `unix` (seconds).
///
/// # Errors
/// See [`DescriptorError`].
pub fn open(bytes: &[u8], address: &ServiceAddress, period: Period, unix: u64) -> Result<Contents, DescriptorError> {
    let outer = Outer::decode(bytes)?;
    if outer.period != period || outer.blinded != blinded_key(address, period) {
        return Err(DescriptorError::Another);
    }
    if !outer.is_signed() {
        return Err(DescriptorError::Forged);
    }
    let (header, rest) = bytes.split_at(HEADER_LEN);
    let mut salt = [0; SALT_LEN];
    salt.copy_from_slice(&header[HEADER_LEN - SALT_LEN..]);
    let mut inner = Zeroizing::new(rest[..INNER_LEN].to_vec());
    let tag = Tag::clone_from_slice(&rest[INNER_LEN..INNER_LEN + TAG_LEN]);
    cipher(address, &subcredential(address, &outer.blinded), &salt)
        .decrypt_in_place_detached(&Nonce::default(), header, &mut inner, &tag)
        .map_err(|_| DescriptorError::DoesNotOpen)?;
    let contents = Contents::decode(&inner)?;
    if contents.not_after < unix {
        return Err(DescriptorError::Expired);
    }
    if contents.not_after - unix > LIFETIME_MAX + super::period::OVERLAP_SECONDS {
        return Err(DescriptorError::TooLong);
    }
    Ok(contents)
}

/// The key of one descriptor: it is used once, as the salt is drawn anew for each.
fn cipher(address: &ServiceAddress, subcredential: &Subcredential, salt: &[u8; SALT_LEN]) -> ChaCha20Poly1305 {
    let source = Zeroizing::new([*address.key(), *subcredential.0].concat());
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), &source).expand(KEY_CONTEXT, &mut *key).expect("32 bytes are not too many");
    ChaCha20Poly1305::new((&*key).into())
}

//! Introductions: what a client sends to a service by way of a relay that the service chose.
//!
//! The relay learns that somebody wants to reach whoever is known to it by a name, and no more: the message is sealed to a key that stands
//! in the descriptor. With it comes the secret of the meeting, which both sides prove to each other there.
//!
//! ```text
//! version (1) ‖ X (32) ‖ ciphertext (96) ‖ tag (16)        X = x·G, fresh; K = HKDF(x·B ‖ X ‖ B; subcredential, name)
//! ```

use std::fmt;

use chacha20poly1305::aead::AeadInPlace as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, Tag};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;
use zmesh_sphinx::RelayId;

use super::digest;
use super::key::Subcredential;
use super::pow::Solution;
use super::secret::Secret;
use super::tls::MeetingSecret;
use crate::relay::kind::COOKIE_LEN;
use crate::wire::codec::{self, ErrorKind, Reader, Writer};

/// Length of every sealed introduction, in bytes.
pub const INTRODUCE_LEN: usize = HEADER_LEN + PLAIN_LEN + TAG_LEN;

const VERSION: u8 = 1;
/// Of what is sealed. The first version had no secret of the meeting.
const INNER_VERSION: u8 = 2;
const HEADER_LEN: usize = 1 + 32;
const PLAIN_LEN: usize = 96;
const TAG_LEN: usize = 16;
const KEY_CONTEXT: &[u8] = b"zmesh service introduction v1\0";
const NAME_CONTEXT: &str = "zmesh introduction name v1";

/// What secrets that are shown to introduction points are for.
#[derive(Clone, Copy, Debug)]
pub enum Introducing {}

/// What a service shows a relay to be known there; whoever knows it takes the service's place at that relay.
pub type IntroSecret = Secret<Introducing>;

impl IntroSecret {
    /// What clients are told instead.
    #[must_use]
    pub fn name(&self) -> IntroName {
        IntroName(digest(NAME_CONTEXT, &[self.as_bytes()]))
    }
}

impl std::hash::Hash for IntroSecret {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// What a relay knows a service by: a hash of an [`IntroSecret`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntroName(pub [u8; 32]);

impl fmt::Debug for IntroName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntroName([redacted])")
    }
}

/// The X25519 key that introductions by way of one relay are sealed to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroKey(pub [u8; 32]);

impl fmt::Debug for IntroKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntroKey([redacted])")
    }
}

/// The secret half of an [`IntroKey`].
pub struct IntroKeySecret(StaticSecret);

impl IntroKeySecret {
    /// Draws one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(StaticSecret::random_from_rng(rng))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> IntroKey {
        IntroKey(PublicKey::from(&self.0).to_bytes())
    }
}

impl fmt::Debug for IntroKeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntroKeySecret([redacted])")
    }
}

/// What a client says to a service.
#[derive(Clone, PartialEq, Eq)]
pub struct Introduction {
    /// Where the client waits.
    pub relay: RelayId,
    /// Under which cookie.
    pub cookie: [u8; COOKIE_LEN],
    /// The work that it has done.
    pub solution: Solution,
    /// What both sides prove to each other when they meet: the relays between do not have it.
    pub meeting: MeetingSecret,
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introduction(effort {})", self.solution.effort)
    }
}

impl Introduction {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::with_capacity(PLAIN_LEN);
        w.u8(INNER_VERSION);
        w.put(&self.relay.0);
        w.put(&self.cookie);
        w.put(&self.solution.seed_head);
        w.u32(self.solution.effort);
        w.put(&self.solution.nonce);
        w.put(self.meeting.as_bytes());
        let mut bytes = Zeroizing::new(w.finish());
        bytes.resize(PLAIN_LEN, 0);
        bytes
    }

    /// Reads the inner part of an introduction, padding included.
    ///
    /// # Errors
    /// What was wrong, and where.
    pub fn decode(bytes: &[u8]) -> Result<Self, codec::Error> {
        let mut r = Reader::new(bytes);
        r.version(INNER_VERSION)?;
        let (relay, cookie) = (RelayId(r.array()?), r.array()?);
        let solution = Solution { seed_head: r.array()?, effort: r.u32()?, nonce: r.array()? };
        let meeting = MeetingSecret::from_bytes(&Zeroizing::new(r.array()?));
        let padding = r.clone();
        if r.rest().iter().any(|byte| *byte != 0) || bytes.len() != PLAIN_LEN {
            return Err(padding.error(ErrorKind::Invalid));
        }
        Ok(Self { relay, cookie, solution, meeting })
    }
}

/// Why an introduction does not open. Which of these it was is told to nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another length or version.
    #[error("this is no introduction")]
    Malformed,
    /// Another key, another address, or other bytes.
    #[error("the introduction does not open")]
    DoesNotOpen,
}

/// Seals an introduction to `key`, for the service that is known to the relay by `name`. `None` if the key is none: it contributes nothing.
pub fn seal(
    introduction: &Introduction,
    name: &IntroName,
    key: &IntroKey,
    subcredential: &Subcredential,
    rng: &mut impl CryptoRng,
) -> Option<[u8; INTRODUCE_LEN]> {
    let own = StaticSecret::random_from_rng(rng);
    let public = PublicKey::from(&own).to_bytes();
    let shared = own.diffie_hellman(&PublicKey::from(key.0));
    if !shared.was_contributory() {
        return None;
    }
    let cipher = cipher(shared.as_bytes(), &public, key, name, subcredential);
    let mut inner = introduction.encode();
    let tag = cipher
        .encrypt_in_place_detached(&Nonce::default(), &header(&public), &mut inner)
        .expect("96 bytes are not too long");
    let mut sealed = [0; INTRODUCE_LEN];
    sealed[..HEADER_LEN].copy_from_slice(&header(&public));
    sealed[HEADER_LEN..HEADER_LEN + PLAIN_LEN].copy_from_slice(&inner);
    sealed[HEADER_LEN + PLAIN_LEN..].copy_from_slice(&tag);
    Some(sealed)
}

/// Opens an introduction that came by way of the relay that knows the service by `name`. Tries the subcredentials of all periods for which
/// the service can be found; gives the number of the one that fitted, too.
///
/// # Errors
/// See [`OpenError`].
pub fn open(
    sealed: &[u8],
    name: &IntroName,
    secret: &IntroKeySecret,
    subcredentials: &[Subcredential],
) -> Result<(Introduction, usize), OpenError> {
    let sealed: &[u8; INTRODUCE_LEN] = sealed.try_into().map_err(|_| OpenError::Malformed)?;
    let (head, rest) = sealed.split_at(HEADER_LEN);
    let public: [u8; 32] = match head.split_first() {
        Some((&VERSION, public)) => public.try_into().map_err(|_| OpenError::Malformed)?,
        _ => return Err(OpenError::Malformed),
    };
    let shared = secret.0.diffie_hellman(&PublicKey::from(public));
    if !shared.was_contributory() {
        return Err(OpenError::DoesNotOpen);
    }
    let tag = Tag::clone_from_slice(&rest[PLAIN_LEN..]);
    for (number, subcredential) in subcredentials.iter().enumerate() {
        let cipher = cipher(shared.as_bytes(), &public, &secret.public(), name, subcredential);
        let mut inner = Zeroizing::new(rest[..PLAIN_LEN].to_vec());
        if cipher.decrypt_in_place_detached(&Nonce::default(), head, &mut inner, &tag).is_ok() {
            let introduction = Introduction::decode(&inner).map_err(|_| OpenError::Malformed)?;
            return Ok((introduction, number));
        }
    }
    Err(OpenError::DoesNotOpen)
}

fn header(public: &[u8; 32]) -> [u8; HEADER_LEN] {
    let mut header = [VERSION; HEADER_LEN];
    header[1..].copy_from_slice(public);
    header
}

/// The key of one introduction: it is used once, as `public` is drawn anew for each.
fn cipher(
    shared: &[u8; 32],
    public: &[u8; 32],
    key: &IntroKey,
    name: &IntroName,
    subcredential: &Subcredential,
) -> ChaCha20Poly1305 {
    let source = Zeroizing::new([*shared, *public, key.0].concat());
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(&*subcredential.0), &source)
        .expand_multi_info(&[KEY_CONTEXT, &name.0], &mut *derived)
        .expect("32 bytes are not too many");
    ChaCha20Poly1305::new((&*derived).into())
}

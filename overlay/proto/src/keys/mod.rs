//! The secret keys of relays and of those who sign network documents.
//!
//! A relay has an Ed25519 identity that signs its descriptor, an X25519 link key, a chain of onion keys of which each
//! lives for half a day ([`OnionKeys`]), and an Ed25519 key for TLS at the exit. None of this reads a file or a clock:
//! the binary stores [`RelayKeys::to_text`] with mode 0600 and passes the time in.

mod backup;
mod onion;
pub mod proof;
pub(crate) mod seed;
mod signer;
#[cfg(test)]
mod tests;
mod vrf;

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};
use zmesh_sphinx::{OnionSecret, RelayId};

pub use backup::{BackupError, PASSPHRASE_MIN};
pub use onion::{EPOCH_SECONDS, OVERLAP_SECONDS, OnionKeys, SCHEDULE_MAX, epoch_at};
pub use signer::SignerKey;
pub(crate) use signer::secret_of;
pub use vrf::{VRF_PROOF_LEN, VrfOutput, vrf_prove, vrf_verify};

use crate::wire::codec::armour::{self, ArmourError, Label};
use crate::wire::codec::{self, ErrorKind, Reader, Writer};

const VERSION: u8 = 1;
const BINARY_LEN: usize = 1 + 32 + 32 + 32 + onion::STATE_LEN + 1 + CHECK_LEN;
const TEXT_MAX: usize = 4096;
const CHECK_LEN: usize = 8;
const ID_CONTEXT: &[u8] = b"zmesh relay id v1\0";
const CHECK_CONTEXT: &[u8] = b"zmesh key file check v1\0";
const EXIT_CONTEXT: &[u8] = b"zmesh exit key v1\0";

/// Why keys could not be read or used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The text is no key file.
    #[error(transparent)]
    Armour(#[from] ArmourError),
    /// The contents are malformed.
    #[error("the key file is damaged: {0}")]
    Malformed(#[from] codec::Error),
    /// The checksum over the contents is wrong.
    #[error("the key file is damaged: its checksum does not match")]
    Checksum,
    /// The onion key of this time has been erased already.
    #[error("the onion key of that time was erased already")]
    Erased,
    /// The time is implausibly far from the time of the keys: a clock that is wrong must not erase them.
    #[error("the clock is implausibly far ahead of the keys: check the time of this machine")]
    Clock,
}

/// The id of the relay with this Ed25519 identity: the first 16 bytes of SHA-256 over a context and the identity.
#[must_use]
pub fn relay_id(identity: &[u8; 32]) -> RelayId {
    let hash = Sha256::new_with_prefix(ID_CONTEXT).chain_update(identity).finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    RelayId(id)
}

/// All secret keys of one relay.
pub struct RelayKeys {
    identity: SigningKey,
    link: Zeroizing<[u8; 32]>,
    exit: SigningKey,
    onion: OnionKeys,
    /// No set-up has been opened with them.
    unused: bool,
    /// They were read from a file, of which there may be copies.
    stored: bool,
}

impl RelayKeys {
    /// Draws new keys. The onion keys start at `unix_now`, in seconds.
    ///
    /// # Panics
    /// Never for a time before the year 5000.
    pub fn generate(rng: &mut impl CryptoRng, unix_now: u64) -> Self {
        let mut link = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *link);
        Self {
            identity: SigningKey::generate(rng),
            link,
            exit: SigningKey::generate(rng),
            onion: OnionKeys::generate(rng, unix_now),
            unused: true,
            stored: false,
        }
    }

    /// The relay's id.
    #[must_use]
    pub fn id(&self) -> RelayId {
        relay_id(&self.identity_public())
    }

    /// The Ed25519 identity, public half.
    #[must_use]
    pub fn identity_public(&self) -> [u8; 32] {
        self.identity.verifying_key().to_bytes()
    }

    /// The Ed25519 identity, secret half.
    #[must_use]
    pub fn identity(&self) -> &SigningKey {
        &self.identity
    }

    /// The X25519 link key, public half.
    #[must_use]
    pub fn link_public(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*self.link)).to_bytes()
    }

    /// The X25519 link key, secret half: 32 bytes that X25519 clamps.
    #[must_use]
    pub fn link_secret(&self) -> Zeroizing<[u8; 32]> {
        self.link.clone()
    }

    /// The key of this relay's TLS at the exit, public half.
    #[must_use]
    pub fn exit_public(&self) -> [u8; 32] {
        self.exit.verifying_key().to_bytes()
    }

    /// The key of this relay's TLS at the exit, as PKCS#8 (RFC 8410), which TLS libraries load.
    #[must_use]
    pub fn exit_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        pkcs8(&Zeroizing::new(self.exit.to_bytes()))
    }

    /// The chain of onion keys, to hand a copy to the relay. Each copy has to be told to forget by itself.
    #[must_use]
    pub fn onion(&self) -> &OnionKeys {
        &self.onion
    }

    /// The onion keys with which set-ups may be opened at this time (unix seconds): see [`OnionKeys::secrets_at`].
    #[must_use]
    pub fn onion_secrets_at(&self, unix: u64) -> Vec<OnionSecret> {
        self.onion.secrets_at(unix)
    }

    /// Erases every onion key that no set-up of `unix` or later may use: see [`OnionKeys::erase_before`]. Store the
    /// keys again when it returns true.
    ///
    /// # Errors
    /// [`Error::Clock`].
    pub fn erase_before(&mut self, unix: u64) -> Result<bool, Error> {
        self.onion.erase_before(unix)
    }

    /// Whether no relay has run with these keys yet, as far as they know: drawn, and never [marked](Self::mark_used).
    #[must_use]
    pub fn are_unused(&self) -> bool {
        self.unused
    }

    /// Whether the keys were read from a file, and not drawn by this process.
    #[must_use]
    pub fn are_stored(&self) -> bool {
        self.stored
    }

    /// Notes that a relay runs with these keys. Store the keys again when it returns true: it was the first time.
    pub fn mark_used(&mut self) -> bool {
        std::mem::replace(&mut self.unused, false)
    }

    /// This identity as one that signs network documents.
    #[must_use]
    pub fn signer(&self) -> SignerKey {
        SignerKey::from_signing_key(self.identity.clone())
    }

    /// Proves, for the descriptor, that this relay holds its exit key.
    pub(crate) fn prove_exit(&self) -> [u8; 64] {
        self.exit.sign(&exit_message(&self.identity_public())).to_bytes()
    }

    /// The key file: text armour around a versioned binary. Whoever reads it is this relay.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut w = Writer::with_capacity(BINARY_LEN);
        w.u8(VERSION);
        w.put(self.identity.as_bytes());
        w.put(&*self.link);
        w.put(self.exit.as_bytes());
        self.onion.write(&mut w);
        w.u8(u8::from(self.unused));
        let check = checksum(w.as_slice());
        w.put(&check);
        let text = armour::encode(Label::RelayKeys, w.as_slice());
        w.erase();
        text
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is no key file, or a damaged one.
    pub fn from_text(text: &[u8]) -> Result<Self, Error> {
        let bytes = armour::decode(Label::RelayKeys, text, TEXT_MAX)?;
        let mut r = Reader::new(&bytes);
        r.version(VERSION)?;
        let mut seed = Zeroizing::new(r.array::<32>()?);
        let identity = SigningKey::from_bytes(&seed);
        let link = Zeroizing::new(r.array()?);
        *seed = r.array()?;
        let exit = SigningKey::from_bytes(&seed);
        let onion = OnionKeys::read(&mut r)?;
        let unused = match r.u8()? {
            0 => false,
            1 => true,
            _ => return Err(invalid(&r).into()),
        };
        let want = checksum(r.passed(0));
        let found = r.array::<CHECK_LEN>()?;
        r.finish()?;
        if found != want {
            return Err(Error::Checksum);
        }
        Ok(Self { identity, link, exit, onion, unused, stored: true })
    }
}

impl fmt::Debug for RelayKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayKeys([redacted])")
    }
}

/// Whether `proof` shows that the holder of `identity` holds the exit key.
pub(crate) fn exit_proof_holds(identity: &[u8; 32], exit: &[u8; 32], proof: &[u8; 64]) -> bool {
    verify(exit, &exit_message(identity), proof)
}

/// Strict Ed25519 verification: weak keys and second forms of a signature are refused.
pub(crate) fn verify(public: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(public).is_ok_and(|key| {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(message, &signature).is_ok()
    })
}

fn exit_message(identity: &[u8; 32]) -> Vec<u8> {
    [EXIT_CONTEXT, identity].concat()
}

/// Finds damage, not forgery: who can write the key file owns the relay.
/// An Ed25519 seed as TLS libraries read it.
pub(crate) fn pkcs8(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    // OneAsymmetricKey v1 { version 0, id-Ed25519, OCTET STRING { OCTET STRING seed } }, RFC 8410 section 7.
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD.len() + seed.len()));
    out.extend_from_slice(&HEAD);
    out.extend_from_slice(seed);
    out
}

fn checksum(bytes: &[u8]) -> [u8; CHECK_LEN] {
    let mut hash = Sha256::new_with_prefix(CHECK_CONTEXT).chain_update(bytes).finalize();
    let mut out = [0; CHECK_LEN];
    out.copy_from_slice(&hash[..CHECK_LEN]);
    hash.as_mut_slice().zeroize();
    out
}

/// The error of a field whose value has no meaning.
fn invalid(r: &Reader<'_>) -> codec::Error {
    r.error(ErrorKind::Invalid)
}

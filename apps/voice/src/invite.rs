//! The invite: one line of text with everything that is needed to reach somebody once.
//!
//! ```text
//! zmesh:call/2/‹base32, lower case, no padding, of the 125 bytes below›
//!
//!   0  network   32  identifier of the network in which the call takes place
//!  32  relay     16  identifier of the meeting relay
//!  48  cookie    16  what the meeting relay matches the two sides by
//!  64  key       32  X25519 public key of the side that answers, made for this call only
//!  96  secret    16  shared secret that the meeting relay never sees
//! 112  expires    8  Unix time in seconds, big-endian
//! 120  class      1  0: a message every 20 ms · 1: every 40 ms · 2: every 60 ms
//! 121  checksum   4  first bytes of SHA-256("zmesh call invite 2" ‖ the 121 bytes before)
//! ```
//! Base32 survives being retyped, and chat programs that take `_` or `*` for formatting (decision 0061).

use crate::media::class::Class;
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};
use zmesh_proto::wire::codec::line::{CHECK_LEN, LineError, LineKind};

const LINE: LineKind = LineKind { head: "zmesh:call/", version: "2", text_max: 512, check };
const CHECK_CONTEXT: &[u8] = b"zmesh call invite 2";
const BODY_LEN: usize = 121;

/// Why a text is not a usable invite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The text does not look like an invite at all.
    #[error("this is not a zMesh invite: an invite is one line that starts with \"zmesh:call/2/\"")]
    NotAnInvite,
    /// The invite is of a version that this program does not know.
    #[error(
        "this invite is of version {found}, and this program knows version 2: update the older of the two programs"
    )]
    WrongVersion {
        /// The version that it names, at most eight characters of it.
        found: String,
    },
    /// Characters are missing, added or changed.
    #[error("this invite is damaged (a part is missing or changed): copy the whole line again")]
    Damaged,
    /// It asks for a rate class that this program does not know.
    #[error("this invite asks for a rate that this program does not know: update this program")]
    UnknownClass,
    /// Its time is over.
    #[error("this invite expired {ago} seconds ago: ask for a new one")]
    Expired {
        /// Seconds since it expired.
        ago: u64,
    },
    /// It belongs to another network.
    #[error("this invite is for another network than the one in use: ask for the network file that goes with it")]
    OtherNetwork,
}

/// A single-use invite. It holds secrets: whoever has the line can make the call.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Invite {
    network: [u8; 32],
    relay: [u8; 16],
    cookie: [u8; 16],
    key: [u8; 32],
    secret: [u8; 16],
    expires: u64,
    #[zeroize(skip)]
    class: Class,
}

/// The private half of an invite. It stays with the side that answers.
pub struct AnswerKey(Zeroizing<[u8; 32]>);

impl Invite {
    /// Makes a fresh invite and the key that answers it, for a call through the meeting relay `relay` of network `network`, good until
    /// `expires` (Unix seconds).
    #[must_use]
    pub fn create(network: [u8; 32], relay: [u8; 16], expires: u64, rng: &mut impl CryptoRng) -> (Self, AnswerKey) {
        let mut private = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut private[..]);
        let answer_key = AnswerKey(private);
        let (mut cookie, mut secret) = ([0; 16], [0; 16]);
        rng.fill_bytes(&mut cookie);
        rng.fill_bytes(&mut secret);
        let key = answer_key.public();
        (Self { network, relay, cookie, key, secret, expires, class: Class::default() }, answer_key)
    }

    /// The same invite for a call of another class. Only its maker can choose: both sides must hold the same one.
    #[must_use]
    pub fn with_class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Reads an invite and checks that it has not expired at `unix_now` (seconds). White space around the line is ignored, and so is the
    /// case of letters.
    ///
    /// # Errors
    /// [`InviteError`] says which.
    pub fn parse(text: &str, unix_now: u64) -> Result<Self, InviteError> {
        let invite: Self = text.parse()?;
        if invite.expires <= unix_now {
            return Err(InviteError::Expired { ago: unix_now - invite.expires });
        }
        Ok(invite)
    }

    /// Checks that the invite belongs to the network with this identifier.
    ///
    /// # Errors
    /// [`InviteError::OtherNetwork`] if it does not.
    pub fn check_network(&self, network: &[u8; 32]) -> Result<(), InviteError> {
        if self.network == *network { Ok(()) } else { Err(InviteError::OtherNetwork) }
    }

    /// Identifier of the network.
    #[must_use]
    pub fn network(&self) -> &[u8; 32] {
        &self.network
    }

    /// Identifier of the meeting relay.
    #[must_use]
    pub fn relay(&self) -> &[u8; 16] {
        &self.relay
    }

    /// What the meeting relay matches the two sides by.
    #[must_use]
    pub fn cookie(&self) -> &[u8; 16] {
        &self.cookie
    }

    /// Public key of the side that answers.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// When it expires, Unix seconds.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// How often the call's messages leave, in both directions.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The whole line, secrets included, for handing over.
    #[must_use]
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut body = Zeroizing::new([0; BODY_LEN]);
        self.write_body(&mut body);
        LINE.encode(&body[..])
    }

    /// The secret that goes into the handshake, brought to 32 bytes.
    pub(crate) fn handshake_secret(&self) -> Zeroizing<[u8; 32]> {
        let digest = Sha256::new().chain_update(b"zmesh call secret 1").chain_update(self.secret).finalize();
        Zeroizing::new(digest.into())
    }

    /// What both sides must agree on before the handshake: everything in the invite but the secret.
    pub(crate) fn prologue(&self) -> Vec<u8> {
        let mut prologue = b"zmesh call 2".to_vec();
        prologue.extend_from_slice(&self.network);
        prologue.extend_from_slice(&self.relay);
        prologue.extend_from_slice(&self.cookie);
        prologue.extend_from_slice(&self.key);
        prologue.extend_from_slice(&self.expires.to_be_bytes());
        prologue.push(self.class.to_byte());
        prologue
    }

    fn write_body(&self, bytes: &mut [u8; BODY_LEN]) {
        bytes[..32].copy_from_slice(&self.network);
        bytes[32..48].copy_from_slice(&self.relay);
        bytes[48..64].copy_from_slice(&self.cookie);
        bytes[64..96].copy_from_slice(&self.key);
        bytes[96..112].copy_from_slice(&self.secret);
        bytes[112..120].copy_from_slice(&self.expires.to_be_bytes());
        bytes[120] = self.class.to_byte();
    }

    fn read_body(bytes: &[u8; BODY_LEN]) -> Result<Self, InviteError> {
        Ok(Self {
            network: part(bytes, 0),
            relay: part(bytes, 32),
            cookie: part(bytes, 48),
            key: part(bytes, 64),
            secret: part(bytes, 96),
            expires: u64::from_be_bytes(part(bytes, 112)),
            class: Class::from_byte(bytes[120]).map_err(|_| InviteError::UnknownClass)?,
        })
    }
}

fn part<const N: usize>(bytes: &[u8; BODY_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("offsets are constants inside the invite")
}

fn check(body: &[u8]) -> [u8; CHECK_LEN] {
    let digest = Sha256::new().chain_update(CHECK_CONTEXT).chain_update(body).finalize();
    digest[..CHECK_LEN].try_into().expect("a digest is longer than its first 4 bytes")
}

impl FromStr for Invite {
    type Err = InviteError;

    /// Reads an invite without looking at its expiry. Total: any text gives an invite or an error.
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let body = LINE.decode(text).map_err(|error| match error {
            LineError::Other => InviteError::NotAnInvite,
            LineError::Version(found) => InviteError::WrongVersion { found },
            LineError::Damaged => InviteError::Damaged,
        })?;
        let bytes: Zeroizing<[u8; BODY_LEN]> =
            Zeroizing::new(body.as_slice().try_into().map_err(|_| InviteError::Damaged)?);
        Self::read_body(&bytes)
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Invite([redacted])")
    }
}

impl AnswerKey {
    /// The public half, which the invite carries.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(*self.0)).to_bytes()
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AnswerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerKey([redacted])")
    }
}

#[cfg(test)]
mod tests;

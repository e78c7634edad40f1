//! Noise suites: which patterns and ciphers, how their randomness comes from outside, and how keys are erased.

use rand_core::Rng;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver, RingResolver};
use snow::types::{Cipher as NoiseCipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, StatelessTransportState};
use subtle::ConstantTimeEq;
use x25519_dalek::x25519;
use zeroize::Zeroizing;

use super::types::LinkSecret;
use crate::random::Generator;

/// What the prologue starts with: protocol and version.
const CONTEXT: &[u8] = b"zmesh link v1";

/// Who proves what in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Pattern {
    /// Both sides hold a static key: between relays.
    Ik = 0x10,
    /// Only the responder holds one: from an origin.
    Nk = 0x20,
}

/// What encrypts a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Cipher {
    /// AES-256-GCM, where hardware has it.
    AesGcm = 1,
    /// ChaCha20-Poly1305, elsewhere.
    ChaChaPoly = 2,
}

/// A handshake pattern and a cipher: the suite byte of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Suite {
    pub(super) pattern: Pattern,
    pub(super) cipher: Cipher,
}

impl Suite {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        let pattern = match byte & 0xf0 {
            0x10 => Pattern::Ik,
            0x20 => Pattern::Nk,
            _ => return None,
        };
        let cipher = match byte & 0x0f {
            1 => Cipher::AesGcm,
            2 => Cipher::ChaChaPoly,
            _ => return None,
        };
        Some(Self { pattern, cipher })
    }

    pub(super) fn byte(self) -> u8 {
        self.pattern as u8 | self.cipher as u8
    }

    fn params(self) -> Result<NoiseParams, snow::Error> {
        match (self.pattern, self.cipher) {
            (Pattern::Ik, Cipher::AesGcm) => "Noise_IK_25519_AESGCM_SHA256",
            (Pattern::Ik, Cipher::ChaChaPoly) => "Noise_IK_25519_ChaChaPoly_SHA256",
            (Pattern::Nk, Cipher::AesGcm) => "Noise_NK_25519_AESGCM_SHA256",
            (Pattern::Nk, Cipher::ChaChaPoly) => "Noise_NK_25519_ChaChaPoly_SHA256",
        }
        .parse()
    }

    /// context ‖ suite ‖ responder's Ed25519 identity.
    fn prologue(self, responder: &[u8; 32]) -> Vec<u8> {
        [CONTEXT, &[self.byte()], responder].concat()
    }

    /// The initiator's state before its first message.
    pub(super) fn initiator(
        self,
        local: Option<&LinkSecret>,
        responder: &[u8; 32],
        responder_key: &[u8; 32],
        seed: &[u8; 32],
    ) -> Result<HandshakeState, snow::Error> {
        let prologue = self.prologue(responder);
        let mut builder = Builder::with_resolver(self.params()?, Box::new(Resolver::new(seed)))
            .prologue(&prologue)?
            .remote_public_key(responder_key)?;
        if let (Pattern::Ik, Some(secret)) = (self.pattern, local) {
            builder = builder.local_private_key(secret.as_bytes())?;
        }
        builder.build_initiator()
    }

    /// The responder's state before it reads the first message.
    pub(super) fn responder(
        self,
        identity: &[u8; 32],
        secret: &LinkSecret,
        seed: &[u8; 32],
    ) -> Result<HandshakeState, snow::Error> {
        let prologue = self.prologue(identity);
        Builder::with_resolver(self.params()?, Box::new(Resolver::new(seed)))
            .prologue(&prologue)?
            .local_private_key(secret.as_bytes())?
            .build_responder()
    }
}

/// What carries words that only one relay may read (Noise NK), under a prologue of their own.
const SEALED: &str = "Noise_NK_25519_ChaChaPoly_SHA256";

/// The initiator's state of words to the relay with this link key.
pub(crate) fn sealed_initiator(
    prologue: &[u8],
    key: &[u8; 32],
    seed: &[u8; 32],
) -> Result<HandshakeState, snow::Error> {
    Builder::with_resolver(SEALED.parse()?, Box::new(Resolver::new(seed)))
        .prologue(prologue)?
        .remote_public_key(key)?
        .build_initiator()
}

/// The state of the relay that holds the secret.
pub(crate) fn sealed_responder(
    prologue: &[u8],
    secret: &LinkSecret,
    seed: &[u8; 32],
) -> Result<HandshakeState, snow::Error> {
    Builder::with_resolver(SEALED.parse()?, Box::new(Resolver::new(seed)))
        .prologue(prologue)?
        .local_private_key(secret.as_bytes())?
        .build_responder()
}

/// The keys of a session, both directions. Overwritten on drop.
///
/// The ciphers are `ring`'s; a key schedule lies inside a boxed trait object, and replacing it by that of the zero key
/// through the trait overwrites it in place. What Noise derived on the way (the chaining key) is out of reach and
/// stays in freed memory until that is reused.
pub(super) struct SessionKeys(StatelessTransportState);

impl SessionKeys {
    pub(super) fn new(state: HandshakeState) -> Result<Self, snow::Error> {
        state.into_stateless_transport_mode().map(Self)
    }

    /// Encrypts `plaintext` into `out`, which is longer by the tag. `false` if the counter is the reserved one.
    pub(super) fn seal(&self, counter: u64, plaintext: &[u8], out: &mut [u8]) -> bool {
        self.0.write_message(counter, plaintext, out).is_ok()
    }

    /// Decrypts into `out`, which must be at least as long as `ciphertext`; the plaintext's length, if authentic.
    pub(super) fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.read_message(counter, ciphertext, out).ok()
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.0.rekey_manually(Some(&[0; 32]), Some(&[0; 32]));
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys([redacted])")
    }
}

/// Gives Noise its parts: ciphers and hash from `ring`, X25519 that erases itself and refuses points of low order,
/// and randomness from a seed, so that a run can be repeated.
struct Resolver {
    seed: Zeroizing<[u8; 32]>,
}

impl Resolver {
    fn new(seed: &[u8; 32]) -> Self {
        Self { seed: Zeroizing::new(*seed) }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Seeded(Generator::new(&self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(X25519::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        RingResolver.resolve_hash(choice).or_else(|| DefaultResolver.resolve_hash(choice))
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn NoiseCipher>> {
        RingResolver.resolve_cipher(choice).or_else(|| DefaultResolver.resolve_cipher(choice))
    }
}

struct Seeded(Generator);

impl Random for Seeded {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(dest);
        Ok(())
    }
}

#[derive(Default)]
struct X25519 {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl X25519 {
    fn publish(&mut self) {
        let secret = x25519_dalek::StaticSecret::from(*self.secret);
        self.public = x25519_dalek::PublicKey::from(&secret).to_bytes();
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Ok(bytes) = <&[u8; 32]>::try_from(privkey) {
            *self.secret = *bytes;
            self.publish();
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        rng.try_fill_bytes(&mut *self.secret)?;
        self.publish();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let point = *pubkey.first_chunk::<32>().ok_or(snow::Error::Dh)?;
        let shared = Zeroizing::new(x25519(*self.secret, point));
        if bool::from(shared.ct_eq(&[0; 32])) {
            return Err(snow::Error::Dh);
        }
        out.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(&*shared);
        Ok(())
    }
}

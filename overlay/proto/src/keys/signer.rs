//! The key of somebody who signs network documents.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::{Error, VRF_PROOF_LEN, VrfOutput, seed};
use crate::wire::codec::armour::Label;
use crate::wire::control::{HeaderHash, precommit_message};
use crate::wire::document::NetworkId;

const SECRET_CONTEXT: &[u8] = b"zmesh voter secret v1\0";

/// An Ed25519 key that signs network documents. A relay's identity may serve as one.
pub struct SignerKey(SigningKey);

impl SignerKey {
    /// Draws a new key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    pub(super) fn from_signing_key(key: SigningKey) -> Self {
        Self(key)
    }

    /// The public half, by which documents list this signer.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Signs a precommit of a header, or of nothing, as the successor of `previous`. A voter's machine asks for this once in a round
    /// and remembers what it signed.
    #[must_use]
    pub fn sign_precommit(
        &self,
        network: &NetworkId,
        previous: &HeaderHash,
        round: u32,
        header: Option<&HeaderHash>,
    ) -> [u8; 64] {
        self.sign(&precommit_message(network, previous, round, header))
    }

    /// The verifiable random function of this key: a proof and its output.
    #[must_use]
    pub(crate) fn vrf_prove(&self, input: &[u8]) -> ([u8; VRF_PROOF_LEN], VrfOutput) {
        super::vrf_prove(&self.0, input)
    }

    /// The one secret that this key has for a message, with the proof that it is this one: the same whenever it is asked for.
    #[must_use]
    pub(crate) fn secret_for(&self, message: &[u8]) -> (Zeroizing<[u8; VRF_PROOF_LEN]>, Zeroizing<[u8; 32]>) {
        let (proof, output) = self.vrf_prove(&[SECRET_CONTEXT, message].concat());
        let (proof, output) = (Zeroizing::new(proof), Zeroizing::new(output));
        (proof, Zeroizing::new(first_half(&output)))
    }

    /// The key file, as text armour.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        seed::to_text(Label::SignerKey, self.0.as_bytes())
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// It is no signer's key file, or a damaged one.
    pub fn from_text(text: &[u8]) -> Result<Self, Error> {
        Ok(Self(SigningKey::from_bytes(&*seed::from_text(Label::SignerKey, text)?)))
    }
}

/// The secret that a key has for a message, if this proves it. There is one for each key and message, whatever the proof.
#[must_use]
pub(crate) fn secret_of(public: &[u8; 32], message: &[u8], proof: &[u8; VRF_PROOF_LEN]) -> Option<[u8; 32]> {
    super::vrf_verify(public, &[SECRET_CONTEXT, message].concat(), proof).map(|output| first_half(&output))
}

fn first_half(output: &VrfOutput) -> [u8; 32] {
    let mut half = [0; 32];
    half.copy_from_slice(&output[..32]);
    half
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignerKey([redacted])")
    }
}

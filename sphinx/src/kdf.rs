//! Key derivation: HKDF-SHA-256 (RFC 5869). Extraction takes the shared secrets and everything they must be bound to; every key then has
//! a label of its own.

use hkdf::{
    Hkdf, HkdfExtract,
    hmac::{Hmac, KeyInit, Mac},
};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::secret::Secret;

/// Length of every authenticator that travels: 16 bytes.
pub(crate) const MAC_LEN: usize = 16;

/// A pseudorandom key from which labelled keys are drawn.
pub(crate) struct KeySource(Hkdf<Sha256>);

impl KeySource {
    /// Extracts from the concatenation of `input`, all of whose parts have fixed lengths, under the protocol's name.
    pub(crate) fn extract(protocol: &str, input: &[&[u8]]) -> Self {
        let mut extract = HkdfExtract::<Sha256>::new(Some(protocol.as_bytes()));
        for part in input {
            extract.input_ikm(part);
        }
        let (mut prk, source) = extract.finalize();
        prk.as_mut_slice().zeroize();
        Self(source)
    }

    /// Uses a secret that is already uniform.
    pub(crate) fn from_root(root: &Secret<32>) -> Self {
        Self(Hkdf::from_prk(root.expose()).expect("32 bytes are a whole SHA-256 output"))
    }

    /// The key with that label.
    pub(crate) fn derive<const N: usize>(&self, label: &str) -> Secret<N> {
        let mut secret = Secret::zero();
        self.0.expand(label.as_bytes(), secret.expose_mut()).expect("keys are far shorter than HKDF's limit");
        secret
    }
}

/// HMAC-SHA-256 over the concatenation of `parts`, all of fixed lengths, truncated to 16 bytes.
pub(crate) fn mac(key: &Secret<32>, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    let full = mac.finalize().into_bytes();
    let mut truncated = [0; MAC_LEN];
    truncated.copy_from_slice(&full[..MAC_LEN]);
    truncated
}

/// SHA-256 over the concatenation of `parts`.
pub(crate) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

//! The key that a service proves in TLS. It is drawn for each run and stands in the descriptor, which the service's blinded key signs: so
//! whoever has the address knows which key to expect, and the lasting key signs descriptors only.

use std::fmt;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::keys::pkcs8;

/// An Ed25519 key for TLS.
pub struct TlsKey(SigningKey);

impl TlsKey {
    /// Draws one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// The public half, for the descriptor.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The secret half, as TLS libraries read it.
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        pkcs8(&Zeroizing::new(self.0.to_bytes()))
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsKey([redacted])")
    }
}

//! The keys that both sides of a meeting prove in TLS. They follow from a secret that the client draws for this one meeting and seals to a key
//! in the service's descriptor, which the blinded key signs. So the service shows that it read the introduction, the client that it wrote
//! it, and the meeting relay can be neither; and no key shows up in two meetings, by which somebody could tell that a service is the same.

use std::fmt;

use ed25519_dalek::SigningKey;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::secret::Secret;
use crate::keys::pkcs8;

const CONTEXT: &[u8] = b"zmesh service meeting v1\0";

/// What secrets of meetings are for.
#[derive(Clone, Copy, Debug)]
pub enum Meeting {}

/// What client and service of one meeting share.
pub type MeetingSecret = Secret<Meeting>;

/// The two sides of a meeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Who drew the secret.
    Client,
    /// Whom it was sealed to.
    Service,
}

impl MeetingSecret {
    /// The key that a side proves.
    ///
    /// # Panics
    /// Never: the output is short.
    #[must_use]
    pub fn key(&self, side: Side) -> TlsKey {
        let role = match side {
            Side::Client => 1,
            Side::Service => 2,
        };
        let mut seed = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, self.as_bytes())
            .expand_multi_info(&[CONTEXT, &[role]], &mut *seed)
            .expect("32 bytes are not too many");
        TlsKey(SigningKey::from_bytes(&seed))
    }
}

/// An Ed25519 key for TLS.
pub struct TlsKey(SigningKey);

impl TlsKey {
    /// The public half, which the other side expects.
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

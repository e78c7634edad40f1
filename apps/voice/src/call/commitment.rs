//! The nonce that the caller is bound to before it sees the answer, and shows only after it (the idea of ZRTP, RFC 6189, section 4.4.1.1).

use super::session::Rejected;
use crate::media::frame::NONCE_LEN;
use sha2::{Digest, Sha256};
use snow::resolvers::{CryptoResolver, RingResolver};
use std::fmt;
use zeroize::Zeroizing;

const CONTEXT: &[u8] = b"zmesh call commitment 1";
/// Bytes of a commitment.
pub(crate) const COMMITMENT_LEN: usize = 32;

/// The caller's share of the words, 32 random bytes.
pub(crate) struct Nonce(Zeroizing<[u8; NONCE_LEN]>);

impl Nonce {
    /// A fresh one, from the system's randomness.
    ///
    /// # Errors
    /// [`Rejected`] if the system gives none.
    pub(crate) fn random() -> Result<Self, Rejected> {
        let mut bytes = Zeroizing::new([0; NONCE_LEN]);
        RingResolver.resolve_rng().ok_or(Rejected)?.try_fill_bytes(&mut bytes[..])?;
        Ok(Self(bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; NONCE_LEN] {
        &self.0
    }

    /// What binds the caller to this nonce and tells nothing of it.
    pub(crate) fn commitment(&self) -> Commitment {
        Commitment::to(&self.0)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce([redacted])")
    }
}

/// SHA-256 of a nonce that is still hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commitment(pub(crate) [u8; COMMITMENT_LEN]);

impl Commitment {
    fn to(nonce: &[u8; NONCE_LEN]) -> Self {
        Self(Sha256::new().chain_update(CONTEXT).chain_update(nonce).finalize().into())
    }

    /// Whether this is the commitment to `nonce`.
    pub(crate) fn fits(&self, nonce: &[u8; NONCE_LEN]) -> bool {
        *self == Self::to(nonce)
    }
}

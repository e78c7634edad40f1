//! Secrets of 32 random bytes, of two kinds that the compiler keeps apart: what a service shows an introduction point
//! ([`IntroSecret`](super::introduce::IntroSecret)), and what both sides of a meeting share ([`MeetingSecret`](super::tls::MeetingSecret)).

use std::fmt;
use std::marker::PhantomData;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// 32 secret bytes for the purpose `For`. Erased when dropped, compared in constant time, never printed.
pub struct Secret<For>(Zeroizing<[u8; 32]>, PhantomData<For>);

impl<For> Secret<For> {
    /// Draws one.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *secret);
        Self(secret, PhantomData)
    }

    /// The secret of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes), PhantomData)
    }

    /// The bytes, to be sent or sealed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl<For> Clone for Secret<For> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<For> PartialEq for Secret<For> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl<For> Eq for Secret<For> {}

impl<For> fmt::Debug for Secret<For> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

//! Bytes that must not outlive their use.

use std::fmt;

use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// Secret bytes: overwritten when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub(crate) struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    pub(crate) fn zero() -> Self {
        Self([0; N])
    }

    pub(crate) fn from_bytes(bytes: &[u8; N]) -> Self {
        Self(*bytes)
    }

    pub(crate) fn random(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self::zero();
        rng.fill_bytes(&mut secret.0);
        secret
    }

    pub(crate) fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// For filling in place, so that no copy stays on the stack.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
        #[cfg(test)]
        observed::record(&self.0);
    }
}

impl<const N: usize> ConstantTimeEq for Secret<N> {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Counts, per thread, how many secret bytes were dropped and that they were zero by then: safe Rust cannot look at freed memory,
/// so the drop itself reports.
#[cfg(test)]
pub(crate) mod observed {
    use std::cell::Cell;

    thread_local! {
        static ERASED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn record(bytes: &[u8]) {
        assert!(bytes.iter().all(|byte| *byte == 0), "a secret was dropped before it was erased");
        ERASED.set(ERASED.get() + bytes.len());
    }

    /// Secret bytes erased on this thread so far.
    pub(crate) fn erased() -> usize {
        ERASED.get()
    }
}

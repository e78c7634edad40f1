//! The only source of randomness in this crate: the operating system seeds, ChaCha12 draws.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;

/// `N` bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing in this crate can be safe then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's random generator works");
    bytes
}

/// A generator seeded by the operating system.
pub(crate) fn rng() -> ChaCha12Rng {
    ChaCha12Rng::from_seed(bytes())
}

//! The only source of randomness in this crate: the operating system seeds, ChaCha12 draws.

use zeroize::Zeroizing;
use zmesh_proto::random::{Generator, SEED_LEN};

/// `N` bytes from the operating system, for what is no secret. See [`seed`].
///
/// # Panics
/// When the operating system has no randomness to give: nothing in this crate can be safe then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// `N` secret bytes from the operating system, overwritten on drop. See [`seed`].
///
/// # Panics
/// As [`bytes`].
pub(crate) fn secret<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    fill(&mut *bytes);
    bytes
}

/// A seed from the operating system, overwritten on drop.
///
/// # Panics
/// As [`bytes`].
pub(crate) fn seed() -> Zeroizing<[u8; SEED_LEN]> {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    fill(&mut *seed);
    seed
}

/// A generator seeded by the operating system. One that lives on gives each use a fork.
///
/// # Panics
/// As [`bytes`].
pub(crate) fn rng() -> Generator {
    Generator::new(&seed())
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system's random generator works");
}

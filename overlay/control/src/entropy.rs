//! The only source of randomness of this crate's own code: the operating system.

use zeroize::Zeroizing;
use zmesh_proto::random::SEED_LEN;

/// A seed from the operating system, overwritten on drop.
///
/// # Panics
/// When the operating system has no randomness to give: nothing in this crate can be safe then.
pub(crate) fn seed() -> Zeroizing<[u8; SEED_LEN]> {
    let mut seed = Zeroizing::new([0; SEED_LEN]);
    getrandom::fill(&mut *seed).expect("the operating system's random generator works");
    seed
}

/// A number below `bound`, which has to be far below 2⁶⁴: there the remainder is as good as uniform.
///
/// # Panics
/// As [`seed`], and for a bound of 0.
pub(crate) fn below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system's random generator works");
    u64::from_be_bytes(bytes) % bound
}

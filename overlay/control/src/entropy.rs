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

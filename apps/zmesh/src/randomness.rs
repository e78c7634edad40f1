//! Randomness from the operating system.

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};

/// A generator for keys and choices, seeded by the operating system.
pub(crate) fn generator() -> Outcome<ChaCha12Rng> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)
        .map_err(|error| Failure::failed("no random numbers", error, "the operating system must provide them"))?;
    Ok(ChaCha12Rng::from_seed(*seed))
}

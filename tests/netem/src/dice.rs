//! Chance, from a seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Dice of one mechanism. Mechanisms have streams of their own, so that (say) the losses of a seed stay the same whatever the jitter is.
#[derive(Debug, Clone)]
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64, stream: u64) -> Dice {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Dice(rng)
    }

    /// Uniform in 0 (inclusive) to 1 (exclusive).
    pub(crate) fn share(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability. Draws nothing where the answer is certain.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.share() < probability
    }

    /// Bell-shaped in -1 to 1, with mean 0 and standard deviation 1/3: the mean of three uniform draws (Bates distribution).
    pub(crate) fn bell(&mut self) -> f64 {
        (self.share() + self.share() + self.share()) * (2.0 / 3.0) - 1.0
    }
}

//! Random numbers that cannot be made again.
//!
//! A stream cipher runs backwards as easily as forwards: a generator that keeps one key for the life of a process gives whoever reads that
//! key every secret it ever made. So a [`Generator`] that gives a child its seed replaces its own key by other bytes of the same draw
//! (fast key erasure), and wipes what it was. From its state the seeds of earlier children cannot be computed, and nothing that they made.
//! Everything secret is drawn from a child, or is a seed itself; see decision 0037.

use std::convert::Infallible;
use std::fmt;

use chacha20::ChaCha12Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// Length of a seed.
pub const SEED_LEN: usize = 32;

/// ChaCha12 from a seed. The same seed and calls give the same numbers.
///
/// Key and buffer lie behind a pointer, so that moving a generator leaves no copy behind, and are overwritten on drop.
pub struct Generator(Box<ChaCha12Rng>);

impl Generator {
    /// The generator of a seed, which should come from the operating system, from another generator, or from a test.
    #[must_use]
    pub fn new(seed: &[u8; SEED_LEN]) -> Self {
        Self(Box::new(ChaCha12Rng::from_seed(*seed)))
    }

    /// A seed that this generator cannot give again: its key is another afterwards.
    #[must_use]
    pub fn seed(&mut self) -> Zeroizing<[u8; SEED_LEN]> {
        let (mut own, mut child) = (Zeroizing::new([0; SEED_LEN]), Zeroizing::new([0; SEED_LEN]));
        self.0.fill_bytes(&mut *own);
        self.0.fill_bytes(&mut *child);
        // In place; the drop of the old state wipes it.
        *self.0 = ChaCha12Rng::from_seed(*own);
        child
    }

    /// A generator for one job or part, which this one cannot give again.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(&self.seed())
    }
}

impl TryRng for Generator {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(target)
    }
}

impl TryCryptoRng for Generator {}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generator([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that the state of `generator` leads to, from the first word of its key's stream on: what it gave since it has
    /// that key, and what it will give.
    fn stream(generator: &Generator) -> Vec<u8> {
        let mut stream = vec![0; 1 << 16];
        ChaCha12Rng::from_seed(generator.0.get_seed()).fill_bytes(&mut stream);
        stream
    }

    fn contains(stream: &[u8], wanted: &[u8]) -> bool {
        stream.windows(wanted.len()).any(|window| window == wanted)
    }

    #[test]
    fn the_state_after_a_fork_does_not_give_what_was_made_before() {
        let mut parent = Generator::new(&[7; SEED_LEN]);
        let mut made: Vec<Vec<u8>> = Vec::new();
        for _ in 0..20 {
            // A number for the parent's own use, a seed, and what a child makes of another.
            let mut own = vec![0; 16];
            parent.fill_bytes(&mut own);
            assert!(contains(&stream(&parent), &own), "the method of this test finds what a key still gives");
            let seed = parent.seed();
            let mut child = parent.fork();
            let key = child.0.get_seed();
            let mut ephemeral = vec![0; 64];
            child.fill_bytes(&mut ephemeral);
            made.extend([own, seed.to_vec(), key.to_vec(), ephemeral]);
            let stream = stream(&parent);
            let (state, position) = (parent.0.get_seed(), parent.0.get_word_pos());
            assert_eq!(position, 0, "nothing of the new key's stream has been used");
            for earlier in &made {
                assert!(!contains(&stream, earlier));
                assert!(!contains(&state, earlier));
            }
        }
    }

    #[test]
    fn runs_repeat_and_children_differ() {
        let run = || {
            let mut parent = Generator::new(&[8; SEED_LEN]);
            let mut numbers: Vec<u64> = (0..8).map(|_| parent.fork().next_u64()).collect();
            numbers.push(parent.next_u64());
            numbers
        };
        let first = run();
        assert_eq!(first, run());
        let different: std::collections::BTreeSet<_> = first.iter().collect();
        assert_eq!(different.len(), first.len());
    }

    /// Safe Rust cannot look at freed memory; the type says that it wipes itself, which needs the crate's feature `zeroize`.
    #[test]
    fn a_generator_is_wiped_and_does_not_print() {
        fn wipes_itself<T: zeroize::ZeroizeOnDrop>() {}
        wipes_itself::<ChaCha12Rng>();
        assert_eq!(format!("{:?}", Generator::new(&[0x55; SEED_LEN])), "Generator([redacted])");
    }
}

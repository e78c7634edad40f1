//! Proof of work: what an introduction costs when many come.
//!
//! A solution is a nonce for which the first 32 bits of Argon2id over the service's blinded key, the client's cookie, the nonce and the
//! effort, salted with the service's seed, are below 2³² ÷ effort. One attempt takes 256 KiB and a fraction of a millisecond, and so does the
//! check; on average `effort` attempts are needed. Memory is what keeps graphics cards from being thousands of times faster (decision 0222).

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};

use super::key::BlindedKey;
use crate::relay::kind::COOKIE_LEN;

/// The most work that a client does, in attempts; a service that asks for more is not reached.
pub const EFFORT_MAX: u32 = 20_000;

const MEMORY_KIB: u32 = 256;
const CONTEXT: &[u8] = b"zmesh service puzzle v1\0";

/// What a service asks of those who want to be introduced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Puzzle {
    /// Attempts on average; 0 if no work is asked for.
    pub effort: u32,
    /// Drawn by the service, and again every few hours, so that nobody works ahead.
    pub seed: [u8; 32],
}

impl fmt::Debug for Puzzle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Puzzle(effort {})", self.effort)
    }
}

/// Work that was done.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Solution {
    /// The first bytes of the seed, so that the service knows which of its seeds it was.
    pub seed_head: [u8; 4],
    /// For which effort; 0 if none was done.
    pub effort: u32,
    /// What was found.
    pub nonce: [u8; 16],
}

impl fmt::Debug for Solution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Solution(effort {})", self.effort)
    }
}

/// Tries nonces, from a random one on. Keeps a quarter of a megabyte.
pub struct Solver {
    puzzle: Puzzle,
    blinded: BlindedKey,
    cookie: [u8; COOKIE_LEN],
    nonce: u128,
    trial: Trial,
}

impl Solver {
    /// A search that begins at `start`, which should be random.
    #[must_use]
    pub fn new(puzzle: Puzzle, blinded: BlindedKey, cookie: [u8; COOKIE_LEN], start: [u8; 16]) -> Self {
        Self { puzzle, blinded, cookie, nonce: u128::from_be_bytes(start), trial: Trial::new() }
    }

    /// Makes so many attempts at most. Without effort the first one succeeds, and costs nothing.
    pub fn attempt(&mut self, attempts: u32) -> Option<Solution> {
        let Puzzle { effort, seed } = self.puzzle;
        let mut seed_head = [0; 4];
        seed_head.copy_from_slice(&seed[..4]);
        for _ in 0..attempts {
            let solution = Solution { seed_head, effort, nonce: self.nonce.to_be_bytes() };
            if effort == 0 || self.trial.solves(&seed, &self.blinded, &self.cookie, &solution) {
                return Some(solution);
            }
            self.nonce = self.nonce.wrapping_add(1);
        }
        None
    }
}

impl fmt::Debug for Solver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Solver")
    }
}

/// Checks solutions. Keeps a quarter of a megabyte, so one is made and kept.
pub struct Trial {
    memory: Vec<Block>,
}

impl Default for Trial {
    fn default() -> Self {
        Self::new()
    }
}

impl Trial {
    /// With memory of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { memory: vec![Block::default(); params().block_count()] }
    }

    /// Whether this is a solution for one of these seeds. One without effort always is.
    pub fn holds(
        &mut self,
        seeds: &[[u8; 32]],
        blinded: &BlindedKey,
        cookie: &[u8; COOKIE_LEN],
        solution: &Solution,
    ) -> bool {
        if solution.effort == 0 {
            return true;
        }
        let seed = seeds.iter().find(|seed| seed[..4] == solution.seed_head);
        seed.is_some_and(|seed| self.solves(seed, blinded, cookie, solution))
    }

    fn solves(
        &mut self,
        seed: &[u8; 32],
        blinded: &BlindedKey,
        cookie: &[u8; COOKIE_LEN],
        solution: &Solution,
    ) -> bool {
        reaches(&self.hash(seed, blinded, cookie, solution), solution.effort)
    }

    pub(super) fn hash(
        &mut self,
        seed: &[u8; 32],
        blinded: &BlindedKey,
        cookie: &[u8; COOKIE_LEN],
        solution: &Solution,
    ) -> [u8; 32] {
        let effort = solution.effort.to_be_bytes();
        self.argon(&[CONTEXT, &blinded.0, cookie, &solution.nonce, &effort].concat(), seed)
    }

    /// One attempt's hash.
    pub(super) fn argon(&mut self, input: &[u8], salt: &[u8]) -> [u8; 32] {
        let mut hash = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params())
            .hash_password_into_with_memory(input, salt, &mut hash, &mut self.memory)
            .expect("these lengths are allowed");
        hash
    }
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trial")
    }
}

/// Whether an attempt's hash is worth this effort: one in `effort` is.
pub(super) fn reaches(hash: &[u8; 32], effort: u32) -> bool {
    let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    u64::from(first) * u64::from(effort) <= u64::from(u32::MAX)
}

fn params() -> Params {
    Params::new(MEMORY_KIB, 1, 1, Some(32)).expect("these parameters are allowed")
}

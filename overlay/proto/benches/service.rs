//! What services cost: an attempt at a puzzle (and so a check), opening an introduction, checking and opening a descriptor.
//!
//! `cargo bench -p zmesh-proto --bench service`
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use zmesh_proto::service::descriptor::{self, Contents, IntroPoint, Outer};
use zmesh_proto::service::introduce::{self, IntroKeySecret, IntroSecret, Introduction};
use zmesh_proto::service::key::{ServiceKey, blinded_key};
use zmesh_proto::service::period::Period;
use zmesh_proto::service::pow::{Puzzle, Solution, Solver, Trial};
use zmesh_sphinx::RelayId;

const UNIX: u64 = 1_800_000_000;

fn measure<T>(name: &str, rounds: u32, mut work: impl FnMut() -> T) {
    for _ in 0..rounds / 10 {
        black_box(work());
    }
    let begun = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    println!("{name:<46} {:>9.1} µs", begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}

fn main() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (key, period) = (ServiceKey::from_seed(&[1; 32]), Period::at(UNIX));
    let (address, blinded) = (key.address(), key.blinded(period));
    let (secret, intro) = (IntroKeySecret::generate(&mut rng), IntroSecret::generate(&mut rng));
    let point = IntroPoint { relay: RelayId([1; 16]), name: intro.name(), key: secret.public() };
    let puzzle = Puzzle { effort: u32::MAX, seed: [2; 32] };
    let contents = Contents { not_after: UNIX + 60, tls: [3; 32], puzzle, intros: vec![point] };
    let bytes = descriptor::seal(&blinded, &address, period, 1, &contents, &mut rng);
    let solution = Solution { seed_head: [2; 4], effort: u32::MAX, nonce: [5; 16] };
    let said = Introduction { relay: RelayId([3; 16]), cookie: [4; 16], solution };
    let sub = blinded.subcredential();
    let sealed = introduce::seal(&said, &intro.name(), &secret.public(), &sub, &mut rng).expect("a sound key");

    let mut solver = Solver::new(puzzle, blinded.public(), [4; 16], [0; 16]);
    measure("puzzle: one attempt", 2_000, || solver.attempt(1));
    let mut trial = Trial::new();
    measure("puzzle: one check", 2_000, || trial.holds(&[puzzle.seed], &blinded.public(), &[4; 16], &solution));
    measure("introduction: seal", 2_000, || introduce::seal(&said, &intro.name(), &secret.public(), &sub, &mut rng));
    measure("introduction: open", 2_000, || introduce::open(&sealed, &intro.name(), &secret, &[sub]));
    measure("descriptor: check at a store", 2_000, || Outer::decode(&bytes).map(|outer| outer.is_signed()));
    measure("descriptor: open at a client", 2_000, || descriptor::open(&bytes, &address, period, UNIX));
    measure("blinded key of an address", 2_000, || blinded_key(&address, period));
}

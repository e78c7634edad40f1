//! What services cost: an attempt at a puzzle (and so a check), opening an introduction, checking and opening a descriptor.
//!
//! And what the work of an introduction costs a client for each effort: attempts are independent, so it is the effort times one attempt on
//! average, and more than three times that for one client in twenty.
//!
//! `cargo bench -p zmesh-proto --bench service`
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::hint::black_box;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use zmesh_proto::service::descriptor::{self, Contents, IntroPoint, Outer};
use zmesh_proto::service::introduce::{self, IntroKeySecret, IntroSecret, Introduction};
use zmesh_proto::service::key::{BlindedKey, ServiceKey, blinded_key};
use zmesh_proto::service::period::Period;
use zmesh_proto::service::pow::{EFFORT_MAX, Puzzle, Solution, Solver, Trial};
use zmesh_proto::service::tls::MeetingSecret;
use zmesh_sphinx::RelayId;

const UNIX: u64 = 1_800_000_000;

/// Gives microseconds a round.
fn measure<T>(name: &str, rounds: u32, mut work: impl FnMut() -> T) -> f64 {
    for _ in 0..rounds / 10 {
        black_box(work());
    }
    let begun = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / f64::from(rounds);
    println!("{name:<46} {each:>9.1} µs");
    each
}

/// Solves puzzles of one effort with different cookies; gives milliseconds each, and attempts each.
fn solve(blinded: BlindedKey, effort: u32, puzzles: u8) -> (f64, f64) {
    let begun = Instant::now();
    let mut attempts = 0;
    for cookie in 0..puzzles {
        let mut solver = Solver::new(Puzzle { effort, seed: [2; 32] }, blinded, [cookie; 16], [cookie; 16]);
        loop {
            attempts += 1;
            if black_box(solver.attempt(1)).is_some() {
                break;
            }
        }
    }
    let puzzles = f64::from(puzzles);
    (begun.elapsed().as_secs_f64() * 1e3 / puzzles, f64::from(attempts) / puzzles)
}

fn main() {
    let mut rng = ChaCha12Rng::seed_from_u64(1);
    let (key, period) = (ServiceKey::from_seed(&[1; 32]), Period::at(UNIX));
    let (address, blinded) = (key.address(), key.blinded(period));
    let (secret, intro) = (IntroKeySecret::generate(&mut rng), IntroSecret::generate(&mut rng));
    let point = IntroPoint { relay: RelayId([1; 16]), name: intro.name(), key: secret.public() };
    let puzzle = Puzzle { effort: u32::MAX, seed: [2; 32] };
    let contents = Contents { not_after: UNIX + 60, puzzle, intros: vec![point] };
    let bytes = descriptor::seal(&blinded, &address, period, 1, &contents, &mut rng);
    let solution = Solution { seed_head: [2; 4], effort: u32::MAX, nonce: [5; 16] };
    let said = Introduction {
        relay: RelayId([3; 16]),
        cookie: [4; 16],
        solution,
        meeting: MeetingSecret::from_bytes(&[6; 32]),
    };
    let sub = blinded.subcredential();
    let sealed = introduce::seal(&said, &intro.name(), &secret.public(), &sub, &mut rng).expect("a sound key");

    let mut solver = Solver::new(puzzle, blinded.public(), [4; 16], [0; 16]);
    let attempt = measure("puzzle: one attempt", 2_000, || solver.attempt(1));
    let mut trial = Trial::new();
    measure("puzzle: one check", 2_000, || trial.holds(&[puzzle.seed], &blinded.public(), &[4; 16], &solution));
    measure("introduction: seal", 2_000, || introduce::seal(&said, &intro.name(), &secret.public(), &sub, &mut rng));
    measure("introduction: open", 2_000, || {
        introduce::open(&sealed, &intro.name(), &secret, std::slice::from_ref(&sub))
    });
    measure("descriptor: check at a store", 2_000, || Outer::decode(&bytes).map(|outer| outer.is_signed()));
    measure("descriptor: open at a client", 2_000, || descriptor::open(&bytes, &address, period, UNIX));
    measure("blinded key of an address", 2_000, || blinded_key(&address, period));

    for (effort, puzzles) in [(32, 64), (100, 32), (320, 16), (1_000, 8)] {
        let (took, attempts) = solve(blinded.public(), effort, puzzles);
        println!("work of effort {effort:>6}: {took:>9.1} ms measured, {attempts:.0} attempts each, {puzzles} puzzles");
    }
    for effort in [3_200, 10_000, EFFORT_MAX] {
        println!("work of effort {effort:>6}: {:>9.1} ms expected", attempt * f64::from(effort) / 1e3);
    }
}

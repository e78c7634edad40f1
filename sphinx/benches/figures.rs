//! Figures of this crate beside its peers': `cargo bench -p zmesh-sphinx [filter]`.
//!
//! A harness of its own: every case runs in short rounds, the cases take turns, and the least time of all rounds is shown, because the
//! machine is shared and noise only ever adds.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic, and prints its figures"
)]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};
use zmesh_sphinx::{BODY_LEN, hazmat::WideBlock};

/// Rounds of every case; the least counts.
const ROUNDS: usize = 400;
/// Aim for the length of one round.
const ROUND: Duration = Duration::from_micros(500);

struct Case<'a> {
    name: &'a str,
    run: Box<dyn FnMut() + 'a>,
}

fn measure(cases: &mut [Case<'_>]) {
    let calls: Vec<u32> = cases
        .iter_mut()
        .map(|case| {
            let begin = Instant::now();
            let mut calls = 0;
            while begin.elapsed() < ROUND {
                (case.run)();
                calls += 1;
            }
            calls
        })
        .collect();
    let mut least = vec![f64::INFINITY; cases.len()];
    for _ in 0..ROUNDS {
        for ((case, calls), least) in cases.iter_mut().zip(&calls).zip(&mut least) {
            let begin = Instant::now();
            for _ in 0..*calls {
                (case.run)();
            }
            *least = least.min(begin.elapsed().as_nanos() as f64 / f64::from(*calls));
        }
    }
    for (case, least) in cases.iter().zip(least) {
        println!("{:44} {:>10.1} ns", case.name, least);
    }
}

fn wide_block() {
    let key = [7; 32];
    let ours = WideBlock::new(&key);
    let peer = hctr2_rs::hctr2::Hctr2_256::new(&key);
    let tweak = [3; 16];
    let (mut a, mut b, c, mut d) = ([0; BODY_LEN], [0; BODY_LEN], [0; BODY_LEN], [0; BODY_LEN]);
    measure(&mut [
        Case {
            name: "cell layer on (encrypt 504)",
            run: Box::new(|| ours.encrypt(&tweak, black_box(&mut a))),
        },
        Case {
            name: "cell layer off (decrypt 504)",
            run: Box::new(|| ours.decrypt(&tweak, black_box(&mut b))),
        },
        Case {
            name: "hctr2-rs 0.10 encrypt 504",
            run: Box::new(|| {
                peer.encrypt(black_box(&c), &tweak, black_box(&mut d))
                    .unwrap()
            }),
        },
        Case {
            name: "key expansion",
            run: Box::new(|| drop(black_box(WideBlock::new(black_box(&key))))),
        },
    ]);
}

fn main() {
    let _ = ChaCha12Rng::seed_from_u64(0);
    wide_block();
}

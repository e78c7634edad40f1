//! What making and using symbols of a chunk costs, in each length of chunk.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "an example measures time and speaks to a person")]

use std::time::Instant;

use zmesh_fec::chunk::{Encoder, SYMBOL_LEN, decode};

fn main() {
    println!("{:>8} {:>14} {:>16} {:>12}", "bytes", "prepare µs", "32 symbols µs", "decode µs");
    for sources in [4u16, 16, 64, 256] {
        let chunk: Vec<u8> =
            (0..usize::from(sources) * SYMBOL_LEN).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let rounds = 200u32;
        let (mut prepare, mut give, mut solve) = (0.0, 0.0, 0.0);
        for round in 0..rounds {
            let begun = Instant::now();
            let encoder = Encoder::new(&chunk).expect("whole symbols");
            prepare += begun.elapsed().as_secs_f64();
            let mut symbols = Vec::new();
            let begun = Instant::now();
            encoder.symbols(round * 7919, 32, &mut symbols);
            give += begun.elapsed().as_secs_f64();
            symbols.clear();
            encoder.symbols(round * 7919, sources + 2, &mut symbols);
            let begun = Instant::now();
            let decoded = decode(sources, (round * 7919..).zip(symbols.chunks(SYMBOL_LEN)));
            solve += begun.elapsed().as_secs_f64();
            assert!(decoded.is_none_or(|decoded| decoded == chunk));
        }
        let micros = |seconds: f64| seconds * 1e6 / f64::from(rounds);
        println!("{:8} {:14.0} {:16.0} {:12.0}", chunk.len(), micros(prepare), micros(give), micros(solve));
    }
}

//! Multiply-adds, repairs and decodes, beside other ways to do them in safe code.

use std::hint::black_box;

use zmesh_fec::{Decoder, Encoder, SYMBOL_LEN, Symbol, WINDOW, field, planes};

use crate::micro::{Timing, interleave};
use crate::table::{Row, Target, Unit};

/// Products of every two elements: the way that looks up each byte.
#[allow(clippy::cast_possible_truncation, reason = "rows and columns are below 256")]
static PRODUCTS: [[u8; 256]; 256] = {
    let mut all = [[0; 256]; 256];
    let mut row = 0;
    while row < 256 {
        let mut column = 0;
        while column < 256 {
            all[row][column] = field::mul(row as u8, column as u8);
            column += 1;
        }
        row += 1;
    }
    all
};

fn by_table(target: &mut Symbol, source: &Symbol, coefficient: u8) {
    let products = &PRODUCTS[usize::from(coefficient)];
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= products[usize::from(*s)];
    }
}

/// Eight elements in a word, eight masked steps.
fn by_words(target: &mut Symbol, source: &Symbol, coefficient: u8) {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let (target, _) = target.as_chunks_mut::<8>();
    let (source, _) = source.as_chunks::<8>();
    for (t, s) in target.iter_mut().zip(source) {
        let mut shifted = u64::from_ne_bytes(*s);
        let mut sum = u64::from_ne_bytes(*t);
        for bit in 0..8 {
            sum ^= shifted & 0u64.wrapping_sub(u64::from(coefficient >> bit & 1));
            shifted = ((shifted & !(LOW << 7)) << 1) ^ ((shifted >> 7 & LOW) * 0x1d);
        }
        *t = sum.to_ne_bytes();
    }
}

fn symbol(number: usize) -> Symbol {
    std::array::from_fn(|i| (i * 31 + number * 97).to_le_bytes()[0])
}

/// The figures: nanoseconds of each operation.
#[must_use]
pub fn rows(quick: bool) -> Vec<Row> {
    let rounds = if quick { 15 } else { 101 };
    let source = symbol(1);
    // Coefficients as they come, so that branches on them are guessed as badly as in use.
    let coefficients: Vec<u8> = (1..=255u32).map(|i| i.wrapping_mul(0x9e37_79b1).to_be_bytes()[0] | 1).collect();
    let mut targets = [symbol(2); 4];
    let [a, b, c, d] = &mut targets;
    let each = |add: fn(&mut Symbol, &Symbol, u8), target: &mut Symbol| {
        coefficients.iter().for_each(|coefficient| add(black_box(target), black_box(&source), *coefficient));
    };
    let timings = interleave(
        &mut [
            &mut || each(planes::add_scaled, a),
            &mut || each(|t, s, c| field::add_scaled(t, s, c), b),
            &mut || each(by_table, c),
            &mut || each(by_words, d),
        ],
        rounds,
        20,
    );
    let nanos = |timing: &Timing| timing.min_nanos() / coefficients.len() as f64;
    let ours = nanos(&timings[0]);
    let mut rows: Vec<Row> = [("vector lanes", 1), ("table, byte by byte", 2), ("64-bit words", 3)]
        .map(|(peer, place)| {
            Row::new("repair: 512-byte multiply-add", peer, Unit::Nanoseconds, Target::AtMostTimesPeer(1.0))
                .figures(Some(nanos(&timings[place])), Some(ours))
        })
        .into();
    for (name, cells) in [("a call's window, 4 cells", 4), ("a full window, 64 cells", WINDOW)] {
        let (encode, decode) = code(cells, rounds);
        let peer = if cells == 4 { "nobody" } else { "" };
        let row = |what: &str, nanos| {
            Row::new(format!("repair: {what} {name}"), peer, Unit::Nanoseconds, Target::None).figures(None, Some(nanos))
        };
        rows.push(row("make one of", encode));
        rows.push(row("decode one loss in", decode));
    }
    let (_, all) = code_losses(WINDOW, 16, rounds);
    rows.push(
        Row::new("repair: decode 16 losses in a full window, each", "", Unit::Nanoseconds, Target::None)
            .figures(None, Some(all)),
    );
    rows
}

fn code(cells: usize, rounds: usize) -> (f64, f64) {
    code_losses(cells, 1, rounds)
}

/// Nanoseconds to make a repair of `cells`, and to decode one of `losses`.
fn code_losses(cells: usize, losses: usize, rounds: usize) -> (f64, f64) {
    let mut encoder = Encoder::new(u64::MAX);
    let symbols: Vec<Symbol> = (0..cells).map(symbol).collect();
    for symbol in &symbols {
        encoder.push(0, symbol);
    }
    let mut out = [0; SYMBOL_LEN];
    let repairs: Vec<_> = (0..losses)
        .filter_map(|_| {
            let vector = encoder.repair(0, &mut out)?;
            Some((vector, out))
        })
        .collect();
    let encoding = interleave(&mut [&mut || _ = black_box(encoder.repair(0, &mut out))], rounds, 50);
    // A decoder that has everything but the lost ones, and one that gets the repairs too: the difference is the decoding.
    let feed = |with: bool| {
        let mut decoder = Decoder::new(u64::MAX);
        for (id, symbol) in (0..).zip(&symbols).skip(losses) {
            let _ = decoder.source(0, id, symbol);
        }
        for (vector, symbol) in repairs.iter().filter(|_| with) {
            decoder.repair(0, vector, symbol);
        }
        black_box(decoder.poll());
    };
    let decoding = interleave(&mut [&mut || feed(false), &mut || feed(true)], rounds, 20);
    let took = decoding[1].min_nanos() - decoding[0].min_nanos();
    (encoding[0].min_nanos(), took / losses as f64)
}

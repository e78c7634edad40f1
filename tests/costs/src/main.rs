//! Measures the cryptography of one cell and of one long datagram in this build, and prints nanoseconds as JSON.
//!
//! `make matrix` builds it twice: once as the machine is, once with the AES and carry-less multiplication instructions left unused
//! (`--cfg aes_backend="soft" --cfg polyval_backend="soft"`), as on a machine that has none. It depends on little, so the second build is short.
#![allow(clippy::print_stdout, reason = "a program that prints figures")]

use std::hint::black_box;
use std::time::Instant;

use ring::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zmesh_sphinx::BODY_LEN;
use zmesh_sphinx::hazmat::WideBlock;

/// Short rounds, so that most are undisturbed by other work.
const ROUNDS: usize = 401;
const PER_ROUND: u32 = 100;
/// Plaintext of a long datagram: 1,200 bytes without header and tag.
const PLAIN: usize = 1_200 - 16 - 16;

fn main() {
    let block = WideBlock::new(&[0x42; 32]);
    let mut body = [0x55_u8; BODY_LEN];
    let layer = median(|| block.decrypt(&[7; 16], black_box(&mut body)));
    println!(
        "{}",
        serde_json::json!({
            "layer_ns": layer,
            "aes_gcm_ns": seal(&AES_256_GCM),
            "chacha20_poly1305_ns": seal(&CHACHA20_POLY1305),
        })
    );
}

/// Sealing a long datagram; opening costs about the same.
fn seal(algorithm: &'static Algorithm) -> f64 {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &[0x42; 32]).expect("a key of 32 bytes"));
    let mut datagram = [0x5a_u8; PLAIN];
    let mut number = 0_u64;
    median(|| {
        number += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_le_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), black_box(&mut datagram));
        let _ = black_box(tag.expect("a short message"));
    })
}

/// Nanoseconds of one call, in the median round.
fn median(mut call: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..PER_ROUND {
                call();
            }
            begun.elapsed().as_nanos() as f64 / f64::from(PER_ROUND)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

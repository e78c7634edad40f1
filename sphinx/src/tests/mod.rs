//! Tests that look inside; those of the whole protocol stand in `sphinx/tests`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::cast_possible_truncation, reason = "small test values")]

mod binding;
mod erasure;
mod header;
mod key_schedule;
mod memory;
mod number;
mod wide_block;
mod window;

use std::time::Instant;

use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

use crate::{OnionSecret, PathHop, RelayId};

fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

#[allow(clippy::disallowed_methods, reason = "a point in time to count from; nothing waits")]
fn start() -> Instant {
    Instant::now()
}

fn relays(count: u8, rng: &mut ChaCha12Rng) -> (Vec<(RelayId, OnionSecret)>, Vec<PathHop>) {
    let relays: Vec<_> = (0..count).map(|number| (RelayId([number + 1; 16]), OnionSecret::generate(rng))).collect();
    let path = relays.iter().map(|(id, onion)| PathHop { id: *id, onion: onion.public() }).collect();
    (relays, path)
}

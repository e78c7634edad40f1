//! The measurer in virtual time, and maps of voters who never speak with each other.

mod map;
mod schedule;
mod steps;

use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

/// When virtual time begins.
#[expect(clippy::disallowed_methods, reason = "virtual time starts somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn ms(milliseconds: f64) -> Duration {
    Duration::from_secs_f64(milliseconds.max(0.0) / 1_000.0)
}

fn id(number: usize) -> RelayId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    RelayId(id)
}

/// A uniform number from `low` to `high`.
fn between(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + f64::from(rng.next_u32()) / f64::from(u32::MAX) * (high - low)
}

//! Tests of services: keys and names, what is sealed, what relays and services bound.

mod bounds;
mod load;
mod names;
mod sealed;
mod vectors;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng as _;
use zmesh_sphinx::RelayId;

use super::address::ServiceAddress;
use super::descriptor::{Contents, IntroPoint};
use super::introduce::{IntroKeySecret, IntroSecret};
use super::key::ServiceKey;
use super::pow::Puzzle;

/// Noon of a day: the middle of a period is twelve hours away.
pub(super) const NOON: u64 = 1_760_011_200 + 43_200;

pub(super) fn rng(seed: u64) -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(seed)
}

pub(super) fn key(seed: u64) -> ServiceKey {
    ServiceKey::generate(&mut rng(seed))
}

pub(super) fn address(seed: u64) -> ServiceAddress {
    key(seed).address()
}

pub(super) fn contents(points: u8, not_after: u64) -> Contents {
    let mut rng = rng(77);
    let intros = (0..points)
        .map(|number| IntroPoint {
            relay: RelayId([number; 16]),
            name: IntroSecret::generate(&mut rng).name(),
            key: IntroKeySecret::generate(&mut rng).public(),
        })
        .collect();
    Contents { not_after, puzzle: Puzzle { effort: 5, seed: [8; 32] }, intros }
}

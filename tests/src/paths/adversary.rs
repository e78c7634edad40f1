//! Somebody who holds relays with a share of the network's capacity, and wants to stand at both ends of circuits.

use std::collections::BTreeSet;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_proto::directory::{Coordinate, Network};
use zmesh_proto::path::{Chooser, LastHop, PathRequest, Preference};
use zmesh_sphinx::RelayId;

use super::model::Model;

/// Guards of his that are looked at for each figure; drawn by their chance to be a guard.
const GUARDS: usize = 48;

/// Which relays he has.
#[derive(Clone, Copy, Debug)]
pub enum Holds {
    /// Any of the network's, drawn at random: relays like everybody's.
    Any,
    /// The smallest ones: as many names as his capacity buys.
    Smallest,
    /// The largest ones that his share has room for.
    Largest,
}

/// Relays with at most this share of the capacity.
#[must_use]
pub fn relays(network: &Network, share: f64, holds: Holds, seed: u64) -> Vec<RelayId> {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut order: Vec<(u64, RelayId)> = network
        .relays()
        .iter()
        .map(|relay| {
            let rank = match holds {
                Holds::Any => rng.next_u64(),
                Holds::Smallest => network.measure(&relay.id()).capacity.into(),
                Holds::Largest => u64::MAX - u64::from(network.measure(&relay.id()).capacity),
            };
            (rank, relay.id())
        })
        .collect();
    order.sort_unstable();
    let capacity = |id: &RelayId| f64::from(network.measure(id).capacity);
    let mut left = share * network.relays().iter().map(|relay| capacity(&relay.id())).sum::<f64>();
    let mut held = Vec::new();
    for (_, id) in order {
        if capacity(&id) <= left {
            left -= capacity(&id);
            held.push(id);
        }
    }
    held
}

/// The place on the map that is nearest to all relays together, with no access link at all: where it pays best to claim to be.
#[must_use]
pub fn best_claim(network: &Network) -> Coordinate {
    let places: Vec<Coordinate> =
        network.relays().iter().filter_map(|relay| network.measure(&relay.id()).place).collect();
    let sum = |at: Coordinate| places.iter().map(|place| at.round_trip(*place).as_secs_f64()).sum::<f64>();
    let claims = places.iter().map(|place| Coordinate { height: 0, ..*place });
    claims.min_by(|a, b| sum(*a).total_cmp(&sum(*b))).unwrap_or_default()
}

/// The share of circuits of three relays to an exit of which both the guard and the exit are his, when guards are drawn and
/// paths chosen by this preference.
///
/// Exact over the paths behind each guard; a mean over some of his guards, drawn by weight.
#[must_use]
pub fn both_ends(network: &Network, preference: Preference, held: &[RelayId], seed: u64) -> f64 {
    let held: BTreeSet<RelayId> = held.iter().copied().collect();
    let mut chooser = Chooser::new(network, preference);
    let guards: Vec<(RelayId, f64)> = chooser.guard_shares().into_iter().filter(|(id, _)| held.contains(id)).collect();
    let first: f64 = guards.iter().map(|(_, share)| share).sum();
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut last = 0.0;
    // Systematic draws: one from each of as many equal parts of the weight.
    let part = first / GUARDS as f64;
    let mut offset = f64::from(rng.next_u32()) / f64::from(u32::MAX) * part;
    let mut looked_at = 0;
    for (guard, share) in &guards {
        let mut hits = 0;
        while offset < *share {
            offset += part;
            hits += 1;
        }
        offset -= share;
        if hits > 0 {
            let exit = LastHop::Exit { port: 443, v6: false };
            let request = PathRequest { hops: 3, last: exit, exclude: &[], guard: Some(*guard), country: None };
            let shares = chooser.last_relays(&request).unwrap_or_default();
            let his: f64 = shares.iter().filter(|(id, _)| held.contains(id)).map(|(_, share)| share).sum();
            last += f64::from(hits) * his;
            looked_at += hits;
        }
    }
    if looked_at == 0 { 0.0 } else { first * last / f64::from(looked_at) }
}

/// [`both_ends`] for relays that all claim to stand where it pays best.
#[must_use]
pub fn both_ends_lying(model: &Model, preference: Preference, held: &[RelayId], seed: u64) -> f64 {
    let network = model.with_claims(held, best_claim(model.network()));
    both_ends(&network, preference, held, seed)
}

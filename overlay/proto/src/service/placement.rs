//! Where a service's descriptor is: rendezvous hashing over the relays that can keep it.
//!
//! The scores take in the document's shared random value, so nobody can make a relay's key in advance that stands on a chosen service's
//! place. The relays chosen differ in operator where the network has so many, so that nobody withholds a descriptor alone.

use sha2::{Digest as _, Sha256};
use zmesh_sphinx::RelayId;

use super::key::BlindedKey;
use super::period::Period;
use crate::directory::{Network, Relay};

/// Relays that are given a descriptor.
pub const COPIES: usize = 6;

/// Relays that take one: documents of two ages may rank a few differently.
pub const RANKS: usize = 2 * COPIES;

const CONTEXT: &[u8] = b"zmesh service placement v1\0";

/// Whether a relay can keep descriptors, pass introductions on, and be where service and client meet.
#[must_use]
pub fn is_suitable(relay: &Relay) -> bool {
    relay.is_meeting() && relay.exit_key().is_some()
}

/// The relays that keep a descriptor, best first: at most `count`.
#[must_use]
pub fn stores(network: &Network, blinded: &BlindedKey, period: Period, count: usize) -> Vec<RelayId> {
    let random = network.shared_random();
    let mut scored: Vec<(u64, &Relay)> = network
        .relays()
        .iter()
        .filter(|relay| is_suitable(relay))
        .map(|relay| (score(&random, blinded, period, &relay.id()), relay))
        .collect();
    scored.sort_unstable_by_key(|(score, relay)| (std::cmp::Reverse(*score), relay.id()));
    let mut chosen: Vec<&Relay> = Vec::with_capacity(count);
    let mut left: Vec<&Relay> = Vec::new();
    for (_, relay) in scored {
        let kin = chosen.iter().any(|other| are_kin(other, relay));
        if chosen.len() < count && !kin {
            chosen.push(relay);
        } else {
            left.push(relay);
        }
    }
    left.truncate(count - chosen.len());
    chosen.into_iter().chain(left).map(Relay::id).collect()
}

/// How a relay scores for a descriptor: where it stands among others' names there. The relays with the highest scores keep it.
#[must_use]
pub fn standing(network: &Network, blinded: &BlindedKey, period: Period, relay: &RelayId) -> u64 {
    score(&network.shared_random(), blinded, period, relay)
}

fn are_kin(a: &Relay, b: &Relay) -> bool {
    a.operator().eq_ignore_ascii_case(b.operator()) || a.family().is_some() && a.family() == b.family()
}

fn score(random: &[u8; 32], blinded: &BlindedKey, period: Period, relay: &RelayId) -> u64 {
    let hash = Sha256::new_with_prefix(CONTEXT)
        .chain_update(random)
        .chain_update(blinded.0)
        .chain_update(period.0.to_be_bytes())
        .chain_update(relay.0)
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}

//! Where chunks are: rendezvous hashing over the relays that keep chunks.
//!
//! Every relay has a score for every shelf, a hash of both; the relays with the highest scores keep the shelf's chunks.
//! So whoever has the network document finds the seeders of a chunk from its shelf alone, nobody keeps a directory of
//! contents, and a relay that joins or leaves moves only the chunks that are its own (decision 0140).

use zmesh_fec::chunk::REPAIRS;
use zmesh_sphinx::RelayId;

use super::{ChunkId, Shelf};
use crate::directory::Network;

/// Relays that are to keep a chunk.
pub const COPIES: usize = 4;

/// Relays that may keep a chunk: the further ones serve while nearer ones are away.
pub const RANKS: usize = 12;

const PLACE_CONTEXT: &str = "zmesh chunk placement v1";
const FIRST_CONTEXT: &str = "zmesh chunk first symbol v1";

/// The relays that may keep a shelf's chunks, the first [`COPIES`] of which should: at most [`RANKS`].
#[must_use]
pub fn ranking(network: &Network, shelf: &Shelf) -> Vec<RelayId> {
    let relays = network.relays().iter().filter(|relay| relay.is_cache());
    let mut scored: Vec<_> = relays.map(|relay| (score(shelf, &relay.id()), relay.id())).collect();
    scored.sort_unstable_by(|a, b| b.cmp(a));
    scored.truncate(RANKS);
    scored.into_iter().map(|(_, id)| id).collect()
}

fn score(shelf: &Shelf, relay: &RelayId) -> u64 {
    let mut hash = blake3::Hasher::new_derive_key(PLACE_CONTEXT);
    hash.update(&shelf.0);
    hash.update(&relay.0);
    first_bytes(&hash)
}

/// Where a seeder's own symbols of a chunk begin. Two seeders rarely give the same symbol, without knowing of each other;
/// and as a reader computes the place itself, none chooses its numbers to please or to harm.
#[must_use]
pub fn first_symbol(seeder: &RelayId, chunk: &ChunkId) -> u32 {
    let mut hash = blake3::Hasher::new_derive_key(FIRST_CONTEXT);
    hash.update(&seeder.0);
    hash.update(&chunk.0);
    u32::try_from(first_bytes(&hash) % u64::from(REPAIRS)).expect("below a 32-bit number")
}

fn first_bytes(hash: &blake3::Hasher) -> u64 {
    let mut bytes = [0; 8];
    hash.finalize_xof().fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

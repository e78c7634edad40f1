//! At which relays a node can be asked for.
//!
//! A relay that others cannot reach keeps links to a few relays that they can. Everybody who holds the network document
//! finds out which: those that let others meet, by a hash over both names, highest first. So no descriptor has to say it.

use sha2::{Digest, Sha256};
use zmesh_sphinx::RelayId;

use crate::directory::Network;

const CONTEXT: &[u8] = b"zmesh nat introducer v1";
/// Links to introducers that a relay keeps.
pub const INTRODUCERS: usize = 3;

#[cfg(test)]
thread_local! {
    /// How often they were looked for.
    pub(crate) static COMPUTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The first `most` introducers of a relay, itself left out.
#[must_use]
pub fn introducers(network: &Network, of: &RelayId, most: usize) -> Vec<RelayId> {
    #[cfg(test)]
    COMPUTED.with(|computed| computed.set(computed.get() + 1));
    let score = |id: &RelayId| -> [u8; 32] {
        Sha256::new().chain_update(CONTEXT).chain_update(of.0).chain_update(id.0).finalize().into()
    };
    let able = network.relays().iter().filter(|relay| relay.info().meeting && relay.id() != *of);
    let mut all: Vec<_> = able.map(|relay| (score(&relay.id()), relay.id())).collect();
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.into_iter().take(most).map(|(_, id)| id).collect()
}

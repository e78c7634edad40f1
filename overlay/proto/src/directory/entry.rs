//! A network of which nothing is known but entry relays' own descriptors: enough for circuits to them, and for nothing else.

use std::collections::BTreeMap;

use super::{Network, Relay};
use crate::wire::descriptor::Descriptor;
use crate::wire::document::NetworkId;

impl Network {
    /// The network of this id, as far as its entry relays have described themselves. Nobody vouches for them: it is for fetching
    /// documents from each by a circuit of one hop, and every document of the network may follow it.
    #[must_use]
    pub fn of_entries(id: NetworkId, descriptors: impl IntoIterator<Item = Descriptor>) -> Self {
        let relays: BTreeMap<_, _> =
            descriptors.into_iter().map(|descriptor| (descriptor.id(), Relay { descriptor })).collect();
        let relays: Vec<Relay> = relays.into_values().collect();
        Self {
            id,
            name: String::new(),
            test_network: false,
            valid_after: 0,
            valid_until: relays.iter().map(|relay| relay.terms().expires).min().unwrap_or(0),
            signers: Vec::new(),
            relays,
            measures: BTreeMap::new(),
            agreed: None,
        }
    }
}

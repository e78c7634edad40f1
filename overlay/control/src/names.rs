//! What the parts of the control plane are called on the wire. Every name carries version and network, so that nodes of
//! different networks have nothing to say to each other.

use data_encoding::HEXLOWER;
use libp2p::StreamProtocol;
use libp2p::gossipsub::{IdentTopic, TopicHash};
use zmesh_proto::wire::control::Topic;
use zmesh_proto::wire::document::NetworkId;

/// The same for every node: neither version nor system of a relay is told to strangers.
pub(crate) const AGENT: &str = "zmesh";

/// The names of one network.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    network: NetworkId,
    prefix: String,
}

impl Names {
    pub(crate) fn new(network: &NetworkId) -> Self {
        Self { network: *network, prefix: format!("/zmesh/1/{}", HEXLOWER.encode(&network.0[..8])) }
    }

    /// The version that identify tells.
    pub(crate) fn family(&self) -> String {
        self.prefix.clone()
    }

    pub(crate) fn protocol(&self, part: &str) -> StreamProtocol {
        StreamProtocol::try_from_owned(self.name(part)).expect("the name begins with a slash")
    }

    pub(crate) fn name(&self, part: &str) -> String {
        format!("{}/{part}", self.prefix)
    }

    pub(crate) fn topic(&self, topic: Topic) -> IdentTopic {
        IdentTopic::new(topic.name(&self.network))
    }

    pub(crate) fn topic_of(&self, hash: &TopicHash) -> Option<Topic> {
        Topic::from_name(hash.as_str(), &self.network)
    }
}

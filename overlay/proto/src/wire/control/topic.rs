//! The topics of the control plane, and what a node does with a message on one.

use std::fmt;

use crate::wire::document::NetworkId;

/// What a message is about. Each has its own gossip mesh, limits and rules on who may publish.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Topic {
    /// Descriptors of relays, and reports of their load.
    Descriptors,
    /// What voters send each other to agree.
    Votes,
    /// Proofs that a voter signed two things of which it may sign one.
    Proofs,
    /// Signed headers of new documents; the documents themselves are fetched.
    Snapshots,
    /// Heartbeats: coarse figures of relays' health.
    Meta,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 5] = [Self::Descriptors, Self::Votes, Self::Proofs, Self::Snapshots, Self::Meta];

    /// The name under which the topic of a network is known to the gossip layer: `/zmesh/1/<network id>/<topic>`.
    #[must_use]
    pub fn name(self, network: &NetworkId) -> String {
        format!("/zmesh/1/{network}/{self}")
    }

    /// Reads a [`Topic::name`] of this network.
    #[must_use]
    pub fn from_name(name: &str, network: &NetworkId) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name(network) == name)
    }

    /// The largest message on it, in bytes.
    #[must_use]
    pub fn message_max(self) -> usize {
        match self {
            Self::Descriptors => 8 * 1024,
            // A ballot over 4,096 relays is the largest.
            Self::Votes => 320 * 1024,
            Self::Proofs => 64 * 1024,
            Self::Snapshots => super::SIGNED_HEADER_MAX,
            Self::Meta => 1024,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "descriptors",
            Self::Votes => "votes",
            Self::Proofs => "proofs",
            Self::Snapshots => "snapshots",
            Self::Meta => "meta",
        })
    }
}

/// What to do with a message that a neighbour passed on: the three answers that GossipSub knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Good: pass it on.
    Accept,
    /// Not passed on, and nobody's fault.
    Ignore(Reason),
    /// Not passed on, and it costs whoever sent it, which could have known.
    Reject(Reason),
}

impl Verdict {
    /// The verdict on a message that this reason speaks against: who is to blame is a property of the reason.
    #[must_use]
    pub fn against(reason: Reason) -> Self {
        if reason.blames() { Self::Reject(reason) } else { Self::Ignore(reason) }
    }
}

/// Why a message is not passed on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Over the size that its topic or kind allows.
    Oversized,
    /// Not of the form that it has to have.
    Malformed,
    /// A signature or a proof in it does not verify.
    Forged,
    /// Of another network.
    OtherNetwork,
    /// Its author may not publish on this topic: its tier is too low, or it is no voter.
    NotEntitled,
    /// It breaks a rule that depends on the network, such as a private address outside of a test network.
    AgainstRules,
    /// Its author said two things where it may say one. It is passed on once, as evidence.
    Equivocation,
    /// The very same message was there before.
    Duplicate,
    /// A newer one of its author is known.
    Stale,
    /// Past its validity.
    Expired,
    /// Of a time that has not come.
    Early,
    /// It belongs to a state of the network that this node does not have (yet, or any more).
    Unrelated,
    /// More than its author or its sender may send in this time.
    TooMany,
    /// The node has no room for it.
    Full,
}

impl Reason {
    /// Whether whoever passed the message on could have known.
    #[must_use]
    pub fn blames(self) -> bool {
        match self {
            Self::Oversized | Self::Malformed | Self::Forged | Self::OtherNetwork | Self::AgainstRules => true,
            Self::NotEntitled
            | Self::Equivocation
            | Self::Duplicate
            | Self::Stale
            | Self::Expired
            | Self::Early
            | Self::Unrelated
            | Self::TooMany
            | Self::Full => false,
        }
    }
}

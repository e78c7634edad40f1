//! What is gossiped.

/// A kind of message that every node of the control plane gets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Topic {
    /// Descriptors of relays.
    Descriptors,
    /// Proposals and votes of an epoch.
    Votes,
    /// Proofs that admit nodes to tiers.
    Proofs,
    /// Which snapshots there are.
    Snapshots,
    /// Heartbeats with coarse aggregates.
    Meta,
}

impl Topic {
    /// All of them.
    pub const ALL: [Topic; 5] = [Topic::Descriptors, Topic::Votes, Topic::Proofs, Topic::Snapshots, Topic::Meta];

    /// The last part of its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Topic::Descriptors => "descriptors",
            Topic::Votes => "votes",
            Topic::Proofs => "proofs",
            Topic::Snapshots => "snapshots",
            Topic::Meta => "meta",
        }
    }
}

//! What a node tells while it runs.

use std::time::Duration;

use crate::directory::DirectoryEvent;

/// What happens to a node, for progress bars and status lines.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A circuit is being built.
    Building {
        /// How many relays.
        hops: usize,
    },
    /// A circuit is ready.
    CircuitReady {
        /// How many relays.
        hops: usize,
        /// From the first packet to the answer.
        took: Duration,
    },
    /// A circuit could not be built; another path is tried.
    CircuitFailed {
        /// Why.
        reason: String,
    },
    /// A session lost its circuit, had none ready, and builds another.
    Rebuilding,
    /// A second circuit stands by under a session.
    Standby {
        /// How many inner relays it shares with the one in use, because the network has too few.
        shared: usize,
    },
    /// A session goes on by the circuit that stood by: the one in use stopped answering, or got worse than this one.
    Moved,
    /// Something happened to the network's documents.
    Directory(DirectoryEvent),
}

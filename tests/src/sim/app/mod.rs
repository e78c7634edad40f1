//! Apps for simulated nodes: what runs over the circuits.

mod bulk;
mod call;
mod echo;
mod legs;
mod quic;
mod setups;

pub use bulk::{BulkClient, BulkServer};
pub use call::{Call, CallReport, Role};
pub use echo::{Echo, Reflector};
pub use legs::{LegCall, LegPaths, LegReport};
pub use setups::SetupFlood;

use std::time::{Duration, Instant};

use zmesh_proto::node::{BuildError, CircuitId, Node};
use zmesh_sphinx::RelayId;

/// A circuit that an app builds as soon as its node runs.
#[derive(Debug)]
pub struct Circuit {
    path: Vec<RelayId>,
    id: Option<CircuitId>,
    ready: bool,
    refused: Option<BuildError>,
    /// How long the build took, once it is done.
    pub took: Option<Duration>,
}

impl Circuit {
    /// Not begun yet.
    #[must_use]
    pub fn new(path: Vec<RelayId>) -> Circuit {
        Circuit { path, id: None, ready: false, refused: None, took: None }
    }

    /// Begins, if it was not begun before.
    pub fn begin(&mut self, now: Instant, node: &mut Node) {
        if self.id.is_none() && self.refused.is_none() {
            match node.build(now, &self.path) {
                Ok(id) => self.id = Some(id),
                Err(error) => self.refused = Some(error),
            }
        }
    }

    /// Notes that it is ready, if `id` is this circuit. True if so.
    pub fn became_ready(&mut self, id: CircuitId, took: Duration) -> bool {
        let mine = self.id == Some(id);
        if mine {
            self.ready = true;
            self.took = Some(took);
        }
        mine
    }

    /// Its handle once it is ready.
    #[must_use]
    pub fn ready(&self) -> Option<CircuitId> {
        self.id.filter(|_| self.ready)
    }

    /// Whether `id` is this circuit.
    #[must_use]
    pub fn is(&self, id: CircuitId) -> bool {
        self.id == Some(id)
    }

    /// Notes that it has ended.
    pub fn ended(&mut self) {
        self.ready = false;
    }

    /// Why the node would not even begin.
    #[must_use]
    pub fn refused(&self) -> Option<&BuildError> {
        self.refused.as_ref()
    }
}

/// Nanoseconds from `epoch` to `now`, as the eight bytes that stand at the head of a message.
pub(crate) fn stamp(epoch: Instant, now: Instant) -> [u8; 8] {
    let nanos = now.saturating_duration_since(epoch).as_nanos();
    u64::try_from(nanos).unwrap_or(u64::MAX).to_be_bytes()
}

/// How long ago a message was stamped.
pub(crate) fn age(message: &[u8], epoch: Instant, now: Instant) -> Option<Duration> {
    let head: [u8; 8] = message.get(..8)?.try_into().ok()?;
    let sent = Duration::from_nanos(u64::from_be_bytes(head));
    Some(now.saturating_duration_since(epoch).saturating_sub(sent))
}

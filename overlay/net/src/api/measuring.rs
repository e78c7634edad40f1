//! Measuring other relays, for the votes of whoever runs this one.

use zmesh_proto::directory::measuring::Pace;

use super::RelayHandle;
use crate::RelayId;
use crate::measuring::Measuring;

impl RelayHandle {
    /// Measures the other relays of the network from now on: how much each forwards, and how far each is from others. `own` is this
    /// relay's id; nothing is measured while the newest document does not name it. A relay that serves nothing itself (no exit, no
    /// meetings, no documents) measures places only.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn measure(&self, own: RelayId, pace: Pace) -> Measuring {
        Measuring::start(&self.started.shard, own, pace)
    }
}

//! The driver's part in heartbeats: whose are heard, and when this relay's own goes out.

use zmesh_proto::wire::control::{Topic, Verdict};
use zmesh_proto::wire::descriptor::Descriptor;

use super::node::Driver;
use crate::{clock, entropy};

impl Driver {
    /// Hears the relays of the newest document from now on.
    pub(super) fn hear_listed(&mut self) {
        self.heartbeats.list(self.follow.listed().iter().map(Descriptor::identity));
    }

    /// Says how this relay does, if it is time and the document lists it.
    pub(super) fn beat(&mut self) {
        let (now, peers) = (clock::unix_seconds(), self.control.peers().count());
        let Some(pulse) = &mut self.pulse else { return };
        if !self.heartbeats.is_listed(&pulse.identity()) {
            return;
        }
        let Some(bytes) = pulse.due(self.follow.genesis(), now, peers, entropy::below) else { return };
        if self.heartbeats.offer(&bytes, now) == Verdict::Accept {
            // Who is not reached hears the next one.
            let _ = self.control.publish(Topic::Meta, bytes);
        }
    }
}

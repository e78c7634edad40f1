//! What carries offers and answers between two nodes that have no link yet.
//!
//! The bodies are sealed between the two, so a carrier can neither read nor change them. Today it is a relay that both
//! have a link to; the control plane can be another.

use std::time::Instant;

use zmesh_sphinx::RelayId;

use crate::link::{Control, LinkId, Links};
use crate::wire::frame::signal::{BODY_LEN, Signal, SignalKind};

/// Carries offers and answers. Both are repeated by the carrier until it has given them to the next node, and may be lost
/// all the same: whoever offers waits for a bounded time.
pub trait Signalling {
    /// How the carrier names where something goes out.
    type Way;

    /// Carries an offer of the attempt `attempt` to the relay `to`.
    fn offer(&mut self, now: Instant, way: Self::Way, to: RelayId, attempt: u32, body: &[u8; BODY_LEN]);

    /// Carries an answer to whoever the carrier gave this ticket for.
    fn answer(&mut self, now: Instant, way: Self::Way, ticket: [u8; 16], body: &[u8; BODY_LEN]);
}

/// The carrier that is a relay linked to both.
pub(crate) struct OverLinks<'a>(pub(crate) &'a mut Links);

impl OverLinks<'_> {
    pub(crate) fn send(&mut self, now: Instant, way: LinkId, signal: &Signal) {
        // A full queue or a link that is gone loses it; the time limit of the attempt sees to that.
        let _ = self.0.send_control(now, way, Control::Signal(Box::new(signal.to_bytes())));
    }
}

impl Signalling for OverLinks<'_> {
    type Way = LinkId;

    fn offer(&mut self, now: Instant, way: LinkId, to: RelayId, attempt: u32, body: &[u8; BODY_LEN]) {
        self.send(now, way, &Signal { body: *body, ..Signal::new(SignalKind::Offer, to.0, attempt) });
    }

    fn answer(&mut self, now: Instant, way: LinkId, ticket: [u8; 16], body: &[u8; BODY_LEN]) {
        self.send(now, way, &Signal { body: *body, ..Signal::new(SignalKind::Answer, ticket, 0) });
    }
}

//! From a path to a circuit that is ready, in one round trip of the path.
//!
//! Every try makes a fresh set-up packet; none is ever sent twice (the link's own repeats aside).

use std::time::{Duration, Instant};

use zmesh_sphinx::{Error, MAX_HOPS, OriginCircuit, Packet, PathHop, PendingSetup, REPLY_LEN, RelayId, SLOT_SECONDS};

use super::health::Health;
use super::{Origin, Own, Stage};
use crate::link::Control;
use crate::node::core::{Core, Owner};
use crate::node::job::Work;
use crate::node::{BuildError, BuildFailure, CircuitId, CloseReason, Event};
use crate::relay::kind::reason;
use crate::relay::message::Assembly;

impl Origin {
    /// Checks the path, opens the link to the first relay, and returns the job that makes the set-up packet.
    pub(crate) fn build(
        &mut self,
        core: &mut Core,
        now: Instant,
        path: &[RelayId],
        own_id: Option<&RelayId>,
    ) -> Result<(CircuitId, Work), BuildError> {
        let slot = core.slot(now);
        let hops = resolve(core, path, own_id, slot)?;
        if self.circuits.len() >= self.config.max_circuits {
            return Err(BuildError::TooManyCircuits);
        }
        let link = match core.connect(now, &path[0]) {
            Some(Ok(link)) => link,
            Some(Err(error)) => return Err(BuildError::Link(error)),
            None => return Err(BuildError::UnknownRelay(0)),
        };
        let key = self.circuits.insert(Own {
            link,
            end: None,
            stage: Stage::Creating,
            hops: path.len(),
            started: now,
            assembly: Assembly::default(),
            order: None,
            next_message: 0,
            health: Health::new(path.len()),
            meeting: None,
            last_sent: now,
            unheard_since: None,
            patience: self.config.patience(Duration::ZERO),
            watched: None,
            suspected: false,
            armed: now,
        });
        self.arm(core, key, now + self.config.connect_timeout);
        Ok((CircuitId(key), Work::Create { circuit: key, path: hops, slot, rng: core.fork_rng() }))
    }

    /// The set-up packet is made.
    pub(crate) fn handle_created(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        result: Result<(Packet, PendingSetup), Error>,
    ) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let Ok((packet, pending)) = result else {
            return self.end(core, now, key, BuildFailure::BadKey, CloseReason::Other, None);
        };
        own.stage = Stage::Connecting { packet: Box::new(*packet.as_bytes()), pending: Box::new(pending) };
        if core.neighbours.is_up(own.link) {
            self.link_up(core, now, key);
        } else {
            core.neighbours.wait_for(own.link, Owner::Own(key));
        }
    }

    /// The link to the first relay is up: the set-up packet goes out.
    pub(crate) fn link_up(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let stage = std::mem::replace(&mut own.stage, Stage::Completing);
        let Stage::Connecting { packet, pending } = stage else {
            own.stage = stage;
            return;
        };
        own.stage = Stage::Asked { pending };
        own.end = core.allocate(own.link, Owner::Own(key));
        let sent = own.end.is_some_and(|end| {
            let setup = Control::Setup { circuit: end.circuit, packet: *packet };
            core.links.send_control(now, end.link, setup).is_ok()
        });
        if !sent {
            self.end(core, now, key, BuildFailure::GuardUnreachable, CloseReason::GuardLost, None);
        }
    }

    /// The path has answered; returns the job that checks the answer.
    pub(crate) fn handle_reply(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        reply: [u8; REPLY_LEN],
    ) -> Option<Work> {
        let own = self.circuits.get_mut(key)?;
        match std::mem::replace(&mut own.stage, Stage::Completing) {
            Stage::Asked { pending } => Some(Work::Complete { circuit: key, pending, reply: Box::new(reply), now }),
            other => {
                own.stage = other;
                core.metrics.circuits.protocol_errors += 1;
                None
            }
        }
    }

    /// The answer is checked: the circuit is ready, or it fails as a whole.
    pub(crate) fn handle_completed(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        result: Result<OriginCircuit, Error>,
    ) {
        let Some(own) = self.circuits.get_mut(key) else {
            return;
        };
        let Ok(crypto) = result else {
            return self.end(core, now, key, BuildFailure::BadReply, CloseReason::Other, Some(reason::NONE));
        };
        let took = now.saturating_duration_since(own.started);
        own.stage = Stage::Open(Box::new(crypto));
        own.patience = self.config.patience(took);
        own.last_sent = now;
        core.metrics.own.ready += 1;
        core.tell(Event::CircuitReady { circuit: CircuitId(key), took });
        let at = now + self.config.keepalive.min(super::KEY_TICK);
        self.arm(core, key, at);
    }
}

/// Finds the hops of a path in the network document, with the onion keys of the slot's first second: by this rule a
/// relay knows from the slot which of its keys is meant.
fn resolve(core: &Core, path: &[RelayId], own_id: Option<&RelayId>, slot: u32) -> Result<Vec<PathHop>, BuildError> {
    let network = core.network.as_ref().ok_or(BuildError::NoNetwork)?;
    if path.is_empty() || path.len() > MAX_HOPS {
        return Err(BuildError::PathLength(path.len()));
    }
    let repeats = path.iter().enumerate().any(|(at, id)| path[..at].contains(id));
    // A relay's own place in its path would be one stranger fewer. By way of one relay back to itself hides nobody: it measures.
    let is_loop = |own: &RelayId| path.len() == 2 && path[1] == *own;
    if repeats || own_id.is_some_and(|own| path.contains(own) && !is_loop(own)) {
        return Err(BuildError::PathRepeats);
    }
    let hop = |(at, id): (usize, &RelayId)| {
        let relay = network.relay(id).ok_or(BuildError::UnknownRelay(at))?;
        let onion = relay.onion_at(u64::from(slot) * SLOT_SECONDS).ok_or(BuildError::NoOnionKey(at))?;
        Ok(PathHop { id: *id, onion })
    };
    path.iter().enumerate().map(hop).collect()
}

//! The path of a cell through this relay: look up, peel or add one layer in place, queue.

use std::time::Instant;

use zmesh_sphinx::{BODY_LEN, CellError, Forwarded, PAYLOAD_MAX, Plain};

use super::close::Cause;
use super::kind::{COOKIE_LEN, PING_LEN, cell as kinds, reason};
use super::message::split;
use super::{Hop, Relay, Role, Stage};
use crate::node::core::{Core, Timer};
use crate::node::{Event, LocalId, SendError};
use crate::wire::cell::Cell;

impl Relay {
    /// A cell from the origin's side: one layer comes off.
    pub(crate) fn forward(&mut self, core: &mut Core, now: Instant, key: u64, cell: &mut Cell) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let (Some(crypto), Stage::Open) = (&mut hop.crypto, &hop.stage) else {
            core.metrics.drops.not_ready += 1;
            return;
        };
        match crypto.forward(now, cell.number, &mut cell.body) {
            Ok(Forwarded::Onward { number }) => {
                let Some(next) = hop.next else { return };
                hop.last_used = now;
                cell.number = number;
                core.metrics.cells_forwarded += 1;
                core.push(now, next, cell);
            }
            Ok(Forwarded::Mine(plain)) => {
                hop.last_used = now;
                core.metrics.cells_for_this_relay += 1;
                self.handle_plain(core, now, key, &plain, &cell.body);
            }
            Err(error) => self.refuse_cell(core, now, key, error),
        }
    }

    /// A cell from the far side: one layer is added.
    pub(crate) fn backward(&mut self, core: &mut Core, now: Instant, key: u64, cell: &mut Cell) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let (Some(crypto), Stage::Open) = (&mut hop.crypto, &hop.stage) else {
            core.metrics.drops.not_ready += 1;
            return;
        };
        match crypto.backward(now, cell.number, &mut cell.body) {
            Ok(number) => {
                hop.last_used = now;
                cell.number = number;
                core.metrics.cells_forwarded += 1;
                core.push(now, hop.prev, cell);
            }
            Err(error) => self.refuse_cell(core, now, key, error),
        }
    }

    /// A cell that is for this hop.
    fn handle_plain(&mut self, core: &mut Core, now: Instant, key: u64, plain: &Plain, body: &[u8; BODY_LEN]) {
        let payload = plain.payload(body);
        match plain.kind {
            kinds::MSG => self.handle_message(core, now, key, payload),
            kinds::PAD => {}
            kinds::PING if payload.len() == PING_LEN => {
                let Some(hop) = self.hops.get_mut(key) else {
                    return;
                };
                if hop.pings.take(now, super::PINGS_PER_SECOND, self.config.ping_burst) {
                    core.metrics.pings_answered += 1;
                    self.send_back(core, now, key, kinds::PONG, payload);
                } else {
                    core.metrics.pings_refused += 1;
                }
            }
            kinds::MEET_WAIT | kinds::MEET_JOIN => match <&[u8; COOKIE_LEN]>::try_from(payload) {
                Ok(cookie) if plain.kind == kinds::MEET_WAIT => self.handle_wait(core, now, key, cookie),
                Ok(cookie) => self.handle_join(core, now, key, cookie),
                Err(_) => core.metrics.drops.malformed += 1,
            },
            _ => core.metrics.drops.malformed += 1,
        }
    }

    /// A part of a message at the last hop: for this relay itself, or for the circuit that it is spliced with. A
    /// spliced part is put into a fresh cell as it is; nothing is assembled for others.
    fn handle_message(&mut self, core: &mut Core, now: Instant, key: u64, payload: &[u8]) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let local = match &mut hop.role {
            Role::Joined { other, .. } => {
                let other = *other;
                core.metrics.cells_forwarded += 1;
                return self.send_back(core, now, other, kinds::MSG, payload);
            }
            Role::Local(local) => local,
            Role::None if self.config.allow_local && hop.next.is_none() => {
                hop.role = Role::Local(Box::default());
                let Role::Local(local) = &mut hop.role else {
                    return;
                };
                local
            }
            Role::None | Role::Waiting(_) => {
                core.metrics.drops.not_served += 1;
                return;
            }
        };
        let Some((id, message)) = core.assemble(&mut local.assembly, payload) else {
            return;
        };
        let event = |message| Event::LocalMessage { local: LocalId(key), message };
        match &mut local.order {
            Some(order) => {
                if let Some(due) = core.tell_in_order(now, order, (id, message), event) {
                    core.timers.set_earlier(Timer::Hop(key), due);
                }
            }
            None => core.tell_message(event(message)),
        }
    }

    /// From now on messages of this circuit are handed on in the order of their sending, as far as that pays.
    pub(crate) fn keep_order(&mut self, local: LocalId) {
        if let Some(Hop { role: Role::Local(local), .. }) = self.hops.get_mut(local.0) {
            local.order.get_or_insert_default();
        }
    }

    /// The driver of an exit answers on a circuit that ends here.
    pub(crate) fn reply(
        &mut self,
        core: &mut Core,
        now: Instant,
        local: LocalId,
        message: &[u8],
    ) -> Result<(), SendError> {
        let Some(Hop { prev, crypto: Some(crypto), role: Role::Local(own), .. }) = self.hops.get_mut(local.0) else {
            return Err(SendError::NoCircuit);
        };
        let id = own.next_message;
        own.next_message = id.wrapping_add(1);
        let prev = *prev;
        let mut cell = Cell { circuit: 0, number: 0, body: [0; BODY_LEN] };
        let sent = split(message, id, |payload| {
            cell.number = crypto.originate(now, kinds::MSG, payload, &mut cell.body)?;
            core.push(now, prev, &cell);
            Ok::<(), CellError>(())
        });
        match sent {
            Ok(true) => Ok(()),
            Ok(false) if message.is_empty() => Err(SendError::Empty),
            Ok(false) => Err(SendError::TooLong(message.len())),
            Err(error) => {
                self.refuse_cell(core, now, local.0, error);
                Err(SendError::Exhausted)
            }
        }
    }

    /// Sends a cell of this hop's own towards the origin.
    pub(super) fn send_back(&mut self, core: &mut Core, now: Instant, key: u64, kind: u8, payload: &[u8]) {
        debug_assert!(payload.len() <= PAYLOAD_MAX);
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let Some(crypto) = &mut hop.crypto else {
            return;
        };
        let mut cell = Cell { circuit: 0, number: 0, body: [0; BODY_LEN] };
        match crypto.originate(now, kind, payload, &mut cell.body) {
            Ok(number) => {
                hop.last_used = now;
                cell.number = number;
                core.push(now, hop.prev, &cell);
            }
            Err(error) => self.refuse_cell(core, now, key, error),
        }
    }

    /// A cell that the layers refused. One that is forged, and the end of the cell numbers, end the circuit.
    fn refuse_cell(&mut self, core: &mut Core, now: Instant, key: u64, error: CellError) {
        core.metrics.drops.note(error);
        if error.ends_circuit() {
            let reason = if error == CellError::Exhausted { reason::EXHAUSTED } else { reason::DAMAGED };
            self.close(core, now, key, Cause::here(reason));
        }
    }
}

impl crate::node::CellDrops {
    /// Counts a refused cell.
    pub(crate) fn note(&mut self, error: CellError) {
        match error {
            CellError::Replayed => self.replayed += 1,
            CellError::TooOld => self.too_old += 1,
            CellError::TooFarAhead => self.too_far_ahead += 1,
            CellError::Forged => self.forged += 1,
            CellError::Exhausted => self.exhausted += 1,
            _ => self.malformed += 1,
        }
    }
}

//! From a SETUP frame to an open circuit.
//!
//! 1. bounds, then a place among the waiting set-ups of its link;
//! 2. a job peels the header (one multiplication);
//! 3. the replay filter, here in the machine, where it is consistent and can be saved;
//! 4. a second job finishes (two multiplications), so a replayed packet never gets that far;
//! 5. the packet goes to the next relay, or the last hop answers; the reply comes back through [`ReplySeal`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::{Error, Next, OnionSecret, Peeled, REPLY_LEN, RelayId, ReplayError, SLOT_SECONDS, Unwrapped};

use super::budget::RateLimit;
use super::close::Cause;
use super::kind::reason;
use super::neighbour::{Class, PeerOpens};
use super::{Hop, Relay, Role, Setup, Stage};
use crate::link::{Control, LinkId};
use crate::node::core::{Core, Owner, Timer};
use crate::node::job::{FINISH, PEEL, PeelWork, Work};

/// Circuits among which the quietest is sought when one has to go.
const SAMPLE: usize = 256;

impl Relay {
    /// A neighbour asks for a circuit.
    pub(crate) fn handle_setup(
        &mut self,
        core: &mut Core,
        now: Instant,
        link: LinkId,
        circuit: u32,
        packet: [u8; zmesh_sphinx::PACKET_LEN],
    ) {
        let may = core.neighbours.peer_may_open(now, link, circuit, &self.config);
        if may == PeerOpens::WrongNumber || core.owner(link, circuit).is_some() {
            core.metrics.circuits.protocol_errors += 1;
            return;
        }
        if self.draining {
            core.metrics.circuits.refused_draining += 1;
            return core.refuse(now, link, circuit, reason::RESOURCES);
        }
        if may == PeerOpens::TooMany {
            core.metrics.circuits.refused_full += 1;
            return core.refuse(now, link, circuit, reason::RESOURCES);
        }
        if may == PeerOpens::TooFast {
            core.metrics.circuits.refused_busy += 1;
            return core.refuse(now, link, circuit, reason::BUSY);
        }
        let Some(prev) = core.neighbours.attach(link, circuit) else {
            return;
        };
        let key = self.hops.insert(Hop {
            prev,
            next: None,
            stage: Stage::Working,
            crypto: None,
            role: Role::None,
            since: now,
            last_used: now,
            pings: RateLimit::new(self.config.ping_burst, now),
        });
        core.enter(prev, Owner::FromOrigin(key));
        core.timers.set(Timer::Hop(key), now + self.config.setup_timeout);
        // Beyond the bound of the node there is room for set-ups that wait: only a genuine one takes a place.
        let (class, chance) = (core.neighbours.class(link), core.rng().next_u32());
        let setup = Setup { hop: key, packet: Box::new(packet) };
        if let Some(victim) = self.setups.push(class, link, setup, chance) {
            core.metrics.circuits.refused_busy += 1;
            self.close(core, now, victim.hop, Cause::here(reason::BUSY));
        }
    }

    /// What the next piece of work that waits here will cost.
    pub(crate) fn next_cost(&self, core: &Core, now: Instant) -> Option<Duration> {
        if self.has_finishing() {
            Some(FINISH)
        } else if self.setups.is_empty() {
            None
        } else {
            let second = self.candidate_keys(core.slot(now))[1].is_some();
            Some(if second { PEEL * 2 } else { PEEL })
        }
    }

    /// Whether packets that passed the filter wait for their second step.
    pub(crate) fn has_finishing(&self) -> bool {
        !self.finishing.is_empty()
    }

    /// Takes the next piece of work; those that passed the filter first.
    pub(crate) fn take_work(&mut self, core: &mut Core, now: Instant) -> Option<Work> {
        while let Some((hop, peeled)) = self.finishing.pop_front() {
            if self.hops.get(hop).is_some() {
                return Some(Work::Finish { hop, peeled: Box::new(peeled), rng: core.fork_rng(), now });
            }
        }
        while let Some(Setup { hop, packet }) = self.setups.pop() {
            if self.hops.get(hop).is_some() {
                let slot_now = core.slot(now);
                let keys = self.candidate_keys(slot_now);
                return Some(Work::Peel(PeelWork { hop, packet, own: self.config.id, keys, slot_now }));
            }
        }
        None
    }

    /// The first step came back.
    pub(crate) fn handle_peeled(&mut self, core: &mut Core, now: Instant, hop: u64, result: Result<Peeled, Error>) {
        if self.hops.get(hop).is_none() {
            return;
        }
        let Ok(peeled) = result else {
            core.metrics.circuits.refused_packet += 1;
            return self.close(core, now, hop, Cause::here(reason::REFUSED));
        };
        // Of a slot that has not begun only a part may be taken, so that nobody can fill it before its time.
        let (slot, slot_now) = (peeled.slot(), core.slot(now));
        let capacity = self.config.replay_capacity;
        self.filter.set_capacity(if slot > slot_now { capacity / 3 } else { capacity });
        match self.filter.check_and_insert(slot, peeled.replay_tag(), slot_now) {
            Ok(()) => self.finishing.push_back((hop, peeled)),
            Err(error) => {
                let reason = match error {
                    ReplayError::Replayed => {
                        core.metrics.circuits.refused_replay += 1;
                        reason::REFUSED
                    }
                    ReplayError::Full => {
                        core.metrics.circuits.refused_filter_full += 1;
                        reason::BUSY
                    }
                    _ => {
                        core.metrics.circuits.refused_packet += 1;
                        reason::REFUSED
                    }
                };
                self.close(core, now, hop, Cause::here(reason));
            }
        }
    }

    /// The second step came back: keys, and where the packet goes.
    pub(crate) fn handle_finished(
        &mut self,
        core: &mut Core,
        now: Instant,
        key: u64,
        result: Result<Unwrapped, Error>,
    ) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let Ok(Unwrapped { next, circuit, reply }) = result else {
            core.metrics.circuits.refused_packet += 1;
            return self.close(core, now, key, Cause::here(reason::REFUSED));
        };
        hop.crypto = Some(Box::new(circuit));
        if self.hops.len() > self.config.max_circuits {
            self.make_room(core, now);
            if self.hops.get(key).is_none() {
                return;
            }
        }
        match next {
            Next::Last => {
                let reply = reply.last();
                self.answer(core, now, key, reply);
            }
            Next::Forward { to, packet } => match self.connect(core, now, &to) {
                Some(link) => {
                    let packet = Box::new(*packet.as_bytes());
                    let Some(hop) = self.hops.get_mut(key) else {
                        return;
                    };
                    hop.stage = Stage::Connecting { link, since: now, packet, reply };
                    core.timers.set_earlier(Timer::Hop(key), now + self.config.connect_timeout);
                    if core.neighbours.is_up(link) {
                        self.link_up(core, now, key);
                    } else {
                        core.neighbours.wait_for(link, Owner::FromOrigin(key));
                    }
                }
                None => {
                    core.metrics.circuits.unreachable += 1;
                    self.close(core, now, key, Cause::here(reason::UNREACHABLE));
                }
            },
        }
    }

    /// Too many circuits: one of the class that has more than its half goes, strangers first. Of that class it is the one
    /// that has been quiet longest on the link with the most circuits; but where no stranger has more than a fair share,
    /// of all of them.
    fn make_room(&mut self, core: &mut Core, now: Instant) {
        let half = self.config.max_circuits / 2;
        let first = if core.neighbours.opened(Class::Stranger) > half { Class::Stranger } else { Class::Known };
        let victim = self.victim(core, first).or_else(|| self.victim(core, first.other()));
        if let Some(key) = victim {
            core.metrics.circuits.evicted += 1;
            self.close(core, now, key, Cause::here(reason::RESOURCES));
        }
    }

    /// The circuit of this class that has to go. Looks at no more than [`SAMPLE`] of them.
    fn victim(&self, core: &mut Core, class: Class) -> Option<u64> {
        let start = core.rng().next_u32() as usize;
        let (link, opened) = core.neighbours.busiest_opener(class)?;
        let built = |key: &u64| self.hops.get(*key).filter(|hop| hop.crypto.is_some());
        let quietest = |keys: &mut dyn Iterator<Item = u64>| {
            keys.filter_map(|key| Some((built(&key)?.last_used, key))).min().map(|(_, key)| key)
        };
        let fair = (self.config.max_circuits / 2).div_ceil(core.neighbours.links_of(class).max(1));
        let of_all = if class == Class::Stranger && opened <= fair {
            let strange = |key: &u64| {
                self.hops.get(*key).is_some_and(|hop| core.neighbours.class(hop.prev.link) == Class::Stranger)
            };
            quietest(&mut self.hops.some_keys(start, SAMPLE).filter(strange))
        } else {
            None
        };
        of_all.or_else(|| {
            let owners = core.neighbours.some_owners(link, start, SAMPLE);
            quietest(&mut owners.filter_map(|owner| match owner {
                Owner::FromOrigin(key) => Some(key),
                _ => None,
            }))
        })
    }

    /// The link to the next relay is up: the set-up packet goes out.
    pub(crate) fn link_up(&mut self, core: &mut Core, now: Instant, key: u64) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        let stage = std::mem::replace(&mut hop.stage, Stage::Working);
        let Stage::Connecting { link, packet, reply, .. } = stage else {
            hop.stage = stage;
            return;
        };
        hop.stage = Stage::Asked { reply };
        core.timers.set(Timer::Hop(key), hop.since + self.config.setup_timeout);
        if !core.neighbours.owes(link) {
            hop.next = core.allocate(link, Owner::FromFar(key));
        }
        let sent = hop.next.is_some_and(|next| {
            let setup = Control::Setup { circuit: next.circuit, packet: *packet };
            core.links.send_control(now, link, setup).is_ok()
        });
        if !sent {
            // The next relay has not heard of the circuit, and need not be told of its end.
            if let Some(next) = hop.next.take() {
                core.detach(next);
            }
            core.metrics.circuits.unreachable += 1;
            self.close(core, now, key, Cause::here(reason::BUSY));
        }
    }

    /// The next relay has answered.
    pub(crate) fn handle_reply(&mut self, core: &mut Core, now: Instant, key: u64, inner: &[u8; REPLY_LEN]) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        match std::mem::replace(&mut hop.stage, Stage::Working) {
            Stage::Asked { reply } => {
                let reply = reply.forward(inner);
                self.answer(core, now, key, reply);
            }
            other => {
                hop.stage = other;
                core.metrics.circuits.protocol_errors += 1;
            }
        }
    }

    /// Sends the reply towards the origin; the circuit is open.
    fn answer(&mut self, core: &mut Core, now: Instant, key: u64, reply: [u8; REPLY_LEN]) {
        let Some(hop) = self.hops.get_mut(key) else {
            return;
        };
        hop.stage = Stage::Open;
        hop.last_used = now;
        let reply = Control::SetupReply { circuit: hop.prev.circuit, reply };
        if core.links.send_control(now, hop.prev.link, reply).is_ok() {
            core.metrics.circuits.built += 1;
            core.timers.set(Timer::Hop(key), now + super::TICK);
        } else {
            self.close(core, now, key, Cause::here(reason::BUSY));
        }
    }

    fn connect(&self, core: &mut Core, now: Instant, to: &RelayId) -> Option<LinkId> {
        if *to == self.config.id {
            return None;
        }
        core.connect(now, to)?.ok()
    }

    /// The onion keys that a packet of a current slot can be meant for. Origins use the key of the slot's first
    /// second, so this is one key, and two only beside a change of keys.
    fn candidate_keys(&self, slot_now: u32) -> [Option<Arc<OnionSecret>>; 2] {
        let of_slot = |slot: u32| {
            let start = u64::from(slot) * SLOT_SECONDS;
            self.config.onion_keys.iter().position(|key| (key.from_unix..key.until_unix).contains(&start))
        };
        let present = of_slot(slot_now);
        let beside = [slot_now.saturating_sub(1), slot_now.saturating_add(1)].into_iter().map(of_slot);
        let other = beside.flatten().find(|index| Some(*index) != present);
        [present, other].map(|index| index.map(|index| Arc::clone(&self.config.onion_keys[index].secret)))
    }
}

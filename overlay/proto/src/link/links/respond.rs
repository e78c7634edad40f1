//! Handshakes that strangers begin.

use std::net::SocketAddr;

use rand_core::Rng;
use subtle::ConstantTimeEq;

use super::{Links, Owner};
use crate::link::clock::Nanos;
use crate::link::cookie::{MAC1_AT, check_mac1, stamp};
use crate::link::guests::{Answer, Guest, HalfOpen};
use crate::link::handshake::{NOISE_LEN, NoiseMessage, ReadInit, ResponsePayload, Work};
use crate::link::session::Session;
use crate::link::suite::{SessionKeys, Suite};
use crate::link::types::{LinkEvent, LinkId, LinkPeerInfo, LocalIdentity};
use crate::wire::datagram::{HEADER_LEN, Header, Kind, L_LEN};

/// First messages from one link's address that may wait in the reserve.
const KNOWN_WAITING: usize = 2;

impl Links {
    /// Message 1 has come. Everything before the work on it is cheap: `mac1`, repetition, load and cookie, bounds.
    pub(super) fn handle_init(&mut self, now: Nanos, from: SocketAddr, header: &Header, datagram: &[u8]) {
        let (Some((identity, mac1_key)), LocalIdentity::Relay { link_secret, .. }) =
            (self.own, &self.shared.config.local)
        else {
            self.shared.counters.refused_junk += 1;
            return;
        };
        let (Some(suite), Some(mac1)) = (Suite::from_byte(header.suite), check_mac1(datagram, &mac1_key)) else {
            self.shared.counters.refused_junk += 1;
            return;
        };
        if self.guests.is_repeat(&mac1) {
            self.shared.counters.refused_replay += 1;
            return;
        }
        let secret = link_secret.clone();
        let strained = self.shared.is_strained(now);
        let config = &self.shared.config;
        // Handshakes that nobody finishes fill the half-open places without much work: they count as load too.
        // So does an allowance for answers that was used up a moment ago: those who prove their address get the next.
        let loaded = self.guests.unread() >= config.cookie_threshold
            || self.guests.answered() >= config.max_half_open / 4
            || strained;
        if loaded && !self.jar.proves(&mut self.shared.rng, now, datagram, from) {
            // Where cookies are rationed, each network has its turns; elsewhere nobody who asks is left without.
            let rationed = self.shared.config.rate_limit.is_some();
            if rationed && !(self.jar.has_turn(&mut self.shared.rng, now, from) && self.shared.may_send_cookie(now)) {
                self.shared.counters.refused_over_limit += 1;
                return;
            }
            let reply = self.jar.reply(&mut self.shared.rng, now, &identity, header.index, &mac1, from);
            self.shared.send_handshake(now, from, &reply);
            return;
        }
        let (queue, half_open) = (config.max_queued_handshakes, config.max_half_open);
        // Whoever has a link here and proves its address renews it, most likely: a reserve that no flood of others takes.
        let reserve = (queue / 4).max(1);
        let (all, same) = self.guests.unread_known(from);
        let known = self.table.places.knows(from) && all < reserve && same < KNOWN_WAITING;
        let greedy = (loaded && self.guests.count_from(from) >= (queue / 8).max(1))
            || (self.guests.answered() >= half_open / 2 && self.guests.count_from(from) >= (half_open / 8).max(1));
        if !known && (greedy || !self.shared.may_answer(now) || self.guests.unread() >= queue) {
            self.shared.counters.refused_over_limit += 1;
            return;
        }
        let seed = self.shared.rng.seed();
        let mut message = Box::new([0; NOISE_LEN]);
        message.copy_from_slice(&datagram[HEADER_LEN..MAC1_AT]);
        let guest = Guest { from, index: header.index, suite: header.suite, known, answer: None };
        let ticket = self.guests.admit(guest, mac1);
        self.shared.counters.received_handshake += 1;
        self.jobs.stranger(Work::Read { ticket, suite, identity, secret, message, seed }, known);
    }

    /// Message 1 is read: decide whether it is answered.
    pub(super) fn on_read(&mut self, now: Nanos, ticket: u64, result: Option<ReadInit>) {
        let Some(mut guest) = self.guests.take(ticket) else {
            return;
        };
        let Some(ReadInit { state, link_key, payload }) = result else {
            self.shared.counters.refused_bad_tag += 1;
            return self.guests.release(guest.from);
        };
        if let Some(key) = &link_key
            && !self.guests.is_later(key, payload.timestamp)
        {
            self.shared.counters.refused_replay += 1;
            return self.guests.release(guest.from);
        }
        let renews = payload.renews.as_ref().and_then(|(index, token)| self.renewed_link(*index, token, link_key));
        let identity = payload.identity.filter(|_| link_key.is_some());
        let info = LinkPeerInfo { identity, link_key, initiator: false };
        let room = renews.is_some()
            || (self.table.places.admits(guest.from)
                && (self.table.has_place(&info) || self.table.idlest(now).is_some()));
        if !room || self.guests.answering_now() >= self.shared.config.max_half_open {
            self.shared.counters.refused_over_limit += 1;
            return self.guests.release(guest.from);
        }
        let local_index = self.table.claim(Owner::HalfOpen, || self.shared.rng.next_u32());
        let token = self.shared.rng.seed();
        let answer = ResponsePayload { index: local_index, renewed: renews.is_some(), token: *token };
        guest.answer = Some(Answer { local_index, info, token, renews });
        self.guests.answering(ticket, guest);
        self.jobs.urgent(Work::Answer { ticket, state, payload: answer });
    }

    /// The link that a first message renews: it names our index of its session and brings the token we gave with it.
    fn renewed_link(&self, index: u32, token: &[u8; 32], link_key: Option<[u8; 32]>) -> Option<LinkId> {
        let Some(Owner::Link(id)) = self.table.owner(index) else {
            return None;
        };
        let link = self.table.get(id)?;
        let current = link.current.as_ref().is_some_and(|session| session.local_index == index);
        let same = !link.info.initiator && link.info.link_key == link_key && current;
        (same && bool::from(link.token.ct_eq(token))).then_some(id)
    }

    /// Message 2 is written: send it and wait for the initiator to use the session.
    pub(super) fn on_answered(&mut self, now: Nanos, ticket: u64, result: Option<(SessionKeys, NoiseMessage)>) {
        let Some(Guest { from, index, suite, answer: Some(answer), .. }) = self.guests.take(ticket) else {
            return;
        };
        let (Some((keys, noise)), Some((_, mac1_key))) = (result, self.own) else {
            self.table.forget(answer.local_index);
            return self.guests.release(from);
        };
        let mut message = [0; L_LEN];
        let header = Header { kind: Kind::Response, suite, index, counter: 0 };
        message[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        message[HEADER_LEN..MAC1_AT].copy_from_slice(&noise[..]);
        stamp(&mut message, &mac1_key, None);
        self.shared.send_handshake(now, from, &message);
        let session = Session::new(keys, suite, answer.local_index, index, now);
        let half_open = HalfOpen { session, from, answer, place: None };
        if let Some(old) = self.guests.keep(now, half_open, self.shared.config.max_half_open) {
            self.shared.counters.refused_over_limit += 1;
            self.table.forget(old);
        }
    }

    /// The initiator has used a half-open session: it becomes that of a new link, or of the link that it renews.
    /// `None` when the link is gone or there are too many.
    pub(super) fn promote(&mut self, now: Nanos, index: u32) -> Option<LinkId> {
        // The initiator got message 2 at `proven`; where this datagram says it comes from is not proven yet.
        let HalfOpen { session, answer, from: proven, .. } = self.guests.leave(index)?;
        let renewal = answer.renews.is_some();
        let id = match answer.renews {
            Some(id) => self.table.get(id).map(|link| link.id),
            None => {
                if self.table.places.admits(proven) {
                    self.make_room(now, &answer.info);
                }
                self.table.insert(answer.info, proven, now)
            }
        };
        let Some((id, link)) = id.and_then(|id| Some((id, self.table.get_mut(id)?))) else {
            self.shared.counters.refused_over_limit += 1;
            self.table.forget(index);
            return None;
        };
        link.token = answer.token;
        let evicted = link.install(now, session, None);
        evicted.into_iter().for_each(|old| self.table.forget(old));
        self.table.assign(index, Owner::Link(id));
        self.shared.counters.handshakes += 1;
        self.shared.counters.rekeys += u64::from(renewal);
        if !renewal {
            self.shared.events.push_back(LinkEvent::Up(id, answer.info));
        }
        Some(id)
    }
}

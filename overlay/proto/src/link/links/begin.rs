//! Handshakes that this node begins: new links and rekeys.

use std::collections::VecDeque;
use std::net::SocketAddr;

use rand_core::Rng;
use snow::HandshakeState;
use zeroize::Zeroizing;

use super::{Links, Owner};
use crate::link::clock::{MILLI, Nanos, SECOND};
use crate::link::cookie::{COOKIE_LIFETIME, check_mac1, mac1_key, open_reply, stamp};
use crate::link::handshake::{HandshakeJob, InitPayload, NOISE_LEN, NoiseMessage, ResponsePayload, Work};
use crate::link::link::Initiation;
use crate::link::session::Session;
use crate::link::suite::{Cipher, Pattern, SessionKeys, Suite};
use crate::link::types::{LinkError, LinkEvent, LinkId, LocalIdentity};
use crate::wire::datagram::{HEADER_LEN, Header, Kind, L_LEN};

const FIRST_RETRY: Nanos = 500 * MILLI;
const SLOWEST_RETRY: Nanos = 5 * SECOND;
/// Second messages that may fail for one attempt before the rest is ignored.
const MAX_FAILURES: u32 = 8;

/// Public-key work that waits to be taken.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// Own handshakes and answers: bounded by links and half-open handshakes.
    urgent: VecDeque<HandshakeJob>,
    /// First messages from addresses of links.
    known: VecDeque<HandshakeJob>,
    /// First messages of strangers.
    strangers: VecDeque<HandshakeJob>,
    /// It was a known one's turn last.
    turn: bool,
}

impl Jobs {
    pub(super) fn urgent(&mut self, work: Work) {
        self.urgent.push_back(HandshakeJob(work));
    }

    pub(super) fn stranger(&mut self, work: Work, known: bool) {
        let list = if known { &mut self.known } else { &mut self.strangers };
        list.push_back(HandshakeJob(work));
    }

    pub(super) fn pop(&mut self) -> Option<HandshakeJob> {
        if let Some(job) = self.urgent.pop_front() {
            return Some(job);
        }
        // In turn, so that neither keeps the other waiting.
        self.turn = !self.turn;
        let lists =
            if self.turn { [&mut self.known, &mut self.strangers] } else { [&mut self.strangers, &mut self.known] };
        lists.into_iter().find_map(VecDeque::pop_front)
    }
}

impl Links {
    /// Begins the next attempt of a link's handshake; an attempt before it is dropped.
    pub(super) fn begin_handshake(&mut self, now: Nanos, id: LinkId) {
        let index = self.table.claim(Owner::Initiation(id), || self.shared.rng.next_u32());
        let timestamp = self.next_timestamp(now);
        let seed = self.shared.rng.seed();
        let jitter = u64::from(self.shared.rng.next_u32() % 256);
        let Some(link) = self.table.get_mut(id) else {
            return self.table.forget(index);
        };
        let Some(peer) = link.peer.clone() else {
            return self.table.forget(index);
        };
        let old = link.initiation.take();
        let attempt = old.as_ref().map_or(0, |old| old.attempt + 1);
        // A link that is up first tries where the peer is; one that is not goes through the peer's addresses.
        let turn = usize::try_from(attempt).unwrap_or(0);
        let usual =
            if link.up && attempt % 2 == 0 { link.address } else { peer.addresses[turn % peer.addresses.len()] };
        let to = link.prefer.take().unwrap_or(usual);
        let (pattern, local, identity) = match &self.shared.config.local {
            LocalIdentity::Anonymous => (Pattern::Nk, None, None),
            LocalIdentity::Relay { identity, link_secret } => (Pattern::Ik, Some(link_secret.clone()), Some(*identity)),
        };
        let cipher = if self.shared.config.prefer_aes { Cipher::AesGcm } else { Cipher::ChaChaPoly };
        let suite = Suite { pattern, cipher };
        let renews = link.current.as_ref().map(|session| (session.remote_index(), *link.token));
        let wait = (FIRST_RETRY << attempt.min(4)).min(SLOWEST_RETRY);
        link.initiation = Some(Initiation {
            index,
            attempt,
            deadline: now + wait + wait * jitter / 1024,
            to,
            suite: suite.byte(),
            message: None,
            mac1: [0; 16],
            state: None,
            sent: now,
            cookie_used: false,
            failures: 0,
        });
        let timestamp = if pattern == Pattern::Ik { timestamp } else { 0 };
        self.jobs.urgent(Work::Initiate {
            index,
            suite,
            local,
            responder: peer.identity,
            responder_key: peer.link_key,
            payload: InitPayload { timestamp, renews, identity },
            seed,
        });
        if let Some(old) = old {
            self.table.forget(old.index);
        }
        self.table.mark_dirty(id);
    }

    fn next_timestamp(&mut self, now: Nanos) -> u64 {
        self.timestamp = self.shared.clock.unix(now).max(self.timestamp + 1);
        self.timestamp
    }

    fn initiation_of(&mut self, index: u32) -> Option<LinkId> {
        match self.table.owner(index) {
            Some(Owner::Initiation(id)) => Some(id),
            _ => None,
        }
    }

    /// Message 1 is written: send it.
    pub(super) fn on_initiated(&mut self, now: Nanos, index: u32, result: Option<(Box<HandshakeState>, NoiseMessage)>) {
        let Some(id) = self.initiation_of(index) else {
            return;
        };
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let cookie = link.cookie.filter(|(_, at)| now < at + COOKIE_LIFETIME).map(|(cookie, _)| cookie);
        let (Some(initiation), Some((state, noise))) = (&mut link.initiation, result) else {
            return;
        };
        let Some(responder) = link.peer.as_ref().map(|peer| peer.identity) else {
            return;
        };
        let mut message = Box::new([0; L_LEN]);
        let header = Header { kind: Kind::Init, suite: initiation.suite, index, counter: 0 };
        message[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        message[HEADER_LEN..HEADER_LEN + NOISE_LEN].copy_from_slice(&noise[..]);
        initiation.mac1 = stamp(&mut message, &mac1_key(&responder), cookie.as_ref());
        initiation.state = Some(state);
        initiation.sent = now;
        self.shared.send_handshake(now, initiation.to, &message[..]);
        initiation.message = Some(message);
    }

    /// The responder is loaded: send message 1 again with its cookie, once.
    pub(super) fn handle_cookie(&mut self, now: Nanos, header: &Header, datagram: &[u8]) {
        let Some(id) = self.initiation_of(header.index) else {
            self.shared.counters.refused_unknown_index += 1;
            return;
        };
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let (Some(initiation), Some(peer)) = (&mut link.initiation, &link.peer) else {
            return;
        };
        let Some(message) = &mut initiation.message else {
            return;
        };
        let Some(cookie) = open_reply(datagram, &peer.identity, &initiation.mac1) else {
            self.shared.counters.refused_bad_tag += 1;
            return;
        };
        self.shared.counters.received_cookie += 1;
        link.cookie = Some((cookie, now));
        if !initiation.cookie_used {
            initiation.cookie_used = true;
            stamp(message, &mac1_key(&peer.identity), Some(&cookie));
            initiation.sent = now;
            self.shared.send_handshake(now, initiation.to, &message[..]);
        }
    }

    /// Message 2 has come: queue the work on it.
    pub(super) fn handle_response(&mut self, _now: Nanos, _from: SocketAddr, header: &Header, datagram: &[u8]) {
        let Some(id) = self.initiation_of(header.index) else {
            self.shared.counters.refused_unknown_index += 1;
            return;
        };
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let (Some(initiation), Some(peer)) = (&mut link.initiation, &link.peer) else {
            return;
        };
        let zero = datagram[L_LEN - 16..].iter().all(|byte| *byte == 0);
        if header.suite != initiation.suite || !zero || check_mac1(datagram, &mac1_key(&peer.identity)).is_none() {
            self.shared.counters.refused_junk += 1;
            return;
        }
        if initiation.failures >= MAX_FAILURES {
            self.shared.counters.refused_over_limit += 1;
            return;
        }
        // While the work on another message 2 is under way there is no state, and this one is dropped.
        let Some(state) = initiation.state.take() else {
            self.shared.counters.refused_replay += 1;
            return;
        };
        let mut message = Box::new([0; NOISE_LEN]);
        message.copy_from_slice(&datagram[HEADER_LEN..HEADER_LEN + NOISE_LEN]);
        self.shared.counters.received_handshake += 1;
        self.jobs.urgent(Work::Finish { index: header.index, state, message });
    }

    /// Message 2 is read: the session begins.
    pub(super) fn on_finished(
        &mut self,
        now: Nanos,
        index: u32,
        result: Result<(SessionKeys, ResponsePayload), Box<HandshakeState>>,
    ) {
        let Some(id) = self.initiation_of(index) else {
            return;
        };
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let Some(initiation) = &mut link.initiation else {
            return;
        };
        let (keys, payload) = match result {
            Ok(done) => done,
            Err(state) => {
                initiation.state = Some(state);
                initiation.failures += 1;
                self.shared.counters.refused_bad_tag += 1;
                return;
            }
        };
        let renewal = link.up;
        if renewal && !payload.renewed {
            return self.end(id, LinkError::Forgotten);
        }
        if !renewal {
            link.address = initiation.to;
        }
        let session = Session::new(keys, initiation.suite, index, payload.index, now);
        link.token = Zeroizing::new(payload.token);
        let evicted = link.install(now, session, Some(self.shared.rng.next_u32()));
        let info = link.info;
        self.table.assign(index, Owner::Link(id));
        evicted.into_iter().for_each(|old| self.table.forget(old));
        self.shared.counters.handshakes += 1;
        self.shared.counters.rekeys += u64::from(renewal);
        if !renewal {
            self.shared.events.push_back(LinkEvent::Up(id, info));
        }
        self.table.mark_dirty(id);
    }
}

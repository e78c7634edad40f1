//! Proof that the peer is where its datagrams say it is.
//!
//! Anybody can write any source address on a datagram, and a peer may do so on purpose to have this node flood somebody
//! else. So a link goes on at its old address until a PING with a random id, sent to the new one, is answered from
//! there. FEEDBACK proves nothing: it can be made up. Until then the new address gets those PINGs and nothing else, at
//! most three times the bytes that came from it (RFC 9000, section 8).

use std::net::SocketAddr;

use rand_core::Rng;

use super::{CONFIRM_TRIES, CONFIRM_WAIT, Link};
use crate::link::clock::Nanos;
use crate::link::shared::Shared;
use crate::wire::datagram::{S_LEN, S_PLAIN};
use crate::wire::frame::{Frame, FrameWriter};

/// An unproven address gets at most so many times the bytes that came from it.
const AMPLIFICATION: u64 = 3;
/// Wrong ids that are taken for stale; after one more the PING gets another id.
const MAX_GUESSES: u32 = 8;

/// An address that the peer's latest datagram came from, not proven yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    address: SocketAddr,
    /// The PING's id.
    id: u32,
    /// Bytes that may be sent there.
    credit: u64,
    tries: u32,
    /// The next PING leaves then.
    due: Nanos,
    /// When the first one left.
    sent: Option<Nanos>,
    guesses: u32,
    /// This node wants to go there: what comes from the present address does not end that.
    proposed: bool,
}

impl Candidate {
    fn wants_ping(&self) -> bool {
        self.tries < CONFIRM_TRIES && self.credit >= S_LEN as u64
    }

    /// When the next PING must leave.
    pub(super) fn ping_at(&self) -> Option<Nanos> {
        self.wants_ping().then_some(self.due)
    }
}

impl Link {
    /// Takes note of where an authentic datagram of `len` bytes came from, and of the PONG in it. Only one with the
    /// highest counter makes an address a candidate; an attacker who copies datagrams and is faster than the original
    /// thus gets no further than a PING, which he would have to carry to the peer and back.
    pub(super) fn heard_from(
        &mut self,
        now: Nanos,
        from: SocketAddr,
        len: usize,
        highest: bool,
        pong: Option<u32>,
        shared: &mut Shared,
    ) {
        let wanted =
            self.candidate.is_some_and(|known| known.proposed && (known.tries < CONFIRM_TRIES || now < known.due));
        if from == self.address {
            if highest && !wanted {
                self.candidate = None;
            }
            return;
        }
        let credit = AMPLIFICATION * len as u64;
        let known = self.candidate.as_mut().filter(|candidate| candidate.address == from);
        let known = known.filter(|candidate| candidate.tries < CONFIRM_TRIES || now < candidate.due);
        if let Some(candidate) = known {
            candidate.credit += credit;
            match pong {
                Some(id) if id == candidate.id && candidate.tries > 0 => return self.move_to_candidate(now),
                Some(_) => candidate.guesses += 1,
                None => {}
            }
            if candidate.guesses <= MAX_GUESSES {
                return;
            }
        }
        if highest && !wanted {
            let id = shared.rng.next_u32();
            self.candidate = Some(Candidate {
                address: from,
                id,
                credit,
                tries: 0,
                due: now,
                sent: None,
                guesses: 0,
                proposed: false,
            });
        }
    }

    /// Has this node try to go on at another address of the peer: the link moves there once a PING is answered from there.
    pub(in crate::link) fn propose(&mut self, now: Nanos, address: SocketAddr, id: u32) {
        if address != self.address {
            let credit = u64::from(CONFIRM_TRIES) * S_LEN as u64;
            self.candidate =
                Some(Candidate { address, id, credit, tries: 0, due: now, sent: None, guesses: 0, proposed: true });
        }
    }

    /// Answers a PING that came from elsewhere than the peer's address: there, and no longer than it was.
    pub(super) fn answer_aside(&mut self, now: Nanos, shared: &mut Shared) {
        if let Some((id, to)) = self.pong_aside.take() {
            // What an unproven address may be sent covers this answer too.
            if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.address == to) {
                candidate.credit = candidate.credit.saturating_sub(S_LEN as u64);
            }
            let mut writer = FrameWriter::new(&mut shared.plain[..S_PLAIN]);
            writer.push(&Frame::Pong(id));
            writer.pad();
            self.seal_to(now, shared, S_PLAIN, false, to);
        }
    }

    /// Asks the peer where this node's datagrams come from.
    pub(in crate::link) fn observe(&mut self, token: u32) {
        self.observe_due = Some((token, false));
    }

    /// Sends the candidate its PING when that is due and allowed.
    pub(super) fn challenge(&mut self, now: Nanos, shared: &mut Shared) {
        let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.due <= now) else {
            return;
        };
        if !candidate.wants_ping() {
            return;
        }
        candidate.credit -= S_LEN as u64;
        candidate.due = now + (CONFIRM_WAIT << candidate.tries);
        candidate.tries += 1;
        candidate.sent.get_or_insert(now);
        let (id, to) = (candidate.id, candidate.address);
        let mut writer = FrameWriter::new(&mut shared.plain[..S_PLAIN]);
        writer.push(&Frame::Ping(id));
        writer.pad();
        self.seal_to(now, shared, S_PLAIN, false, to);
    }

    /// The candidate's PONG has come: the link is there from now on. What was on its way to the old address is lost.
    fn move_to_candidate(&mut self, now: Nanos) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        let new_path = candidate.address.ip() != self.address.ip();
        self.address = candidate.address;
        self.sent.give_up();
        self.congestion.on_moved(now, self.sent.next_counter(), new_path);
        if let Some(sent) = candidate.sent.filter(|_| candidate.tries == 1) {
            self.congestion.on_ping(now, now.saturating_sub(sent).max(1));
        }
    }
}

//! One link: its sessions, what it sends and takes, and its timers.

mod path;
mod receive;
mod repair;
mod send;
mod timers;

use std::net::SocketAddr;

use snow::HandshakeState;
use zeroize::Zeroizing;

use super::clock::{MILLI, Nanos, SECOND};
use super::congestion::Congestion;
use super::control::{Inbox, Outbox};
use super::cookie::Mac;
use super::received::Received;
use super::repair::Repair;
use super::sent::Sent;
use super::session::Session;
use super::types::{LinkConfig, LinkId, LinkPeer, LinkPeerInfo, LinkStats};
use crate::wire::datagram::L_LEN;

pub(super) use receive::Verdict;
pub(super) use timers::Due;

/// An old session still receives for so long after a new one took over.
const OLD_SESSION: Nanos = 5 * SECOND;
/// No answer to a PING is awaited for longer, whatever round trips a peer feigned.
const LONGEST_PROBE: Nanos = 12 * SECOND;
/// Datagrams may arrive for so long without a report of anything new that was sent.
const UNREPORTED: Nanos = 30 * SECOND;
/// Wait for the first sign of a new session at the responder; doubles with each try.
const CONFIRM_WAIT: Nanos = 250 * MILLI;
const CONFIRM_TRIES: u32 = 4;

/// A handshake that this node has begun.
pub(super) struct Initiation {
    pub(super) index: u32,
    pub(super) attempt: u32,
    /// The next attempt begins then.
    pub(super) deadline: Nanos,
    pub(super) to: SocketAddr,
    pub(super) suite: u8,
    /// Message 1 as sent, to be sent again with a cookie.
    pub(super) message: Option<Box<[u8; L_LEN]>>,
    pub(super) mac1: Mac,
    pub(super) state: Option<Box<HandshakeState>>,
    pub(super) sent: Nanos,
    pub(super) cookie_used: bool,
    /// Messages 2 that failed.
    pub(super) failures: u32,
}

/// A PING that waits for a sign of life.
#[derive(Clone, Copy, Debug)]
struct Probe {
    due: Nanos,
    missed: u32,
}

/// One link.
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) info: LinkPeerInfo,
    pub(super) address: SocketAddr,
    /// Whom this node opened the link to.
    pub(super) peer: Option<LinkPeer>,
    pub(super) opened: Nanos,
    pub(super) up: bool,
    pub(super) initiation: Option<Initiation>,
    pub(super) cookie: Option<(Mac, Nanos)>,
    /// Renews the current session: given by the responder, presented by the initiator.
    pub(super) token: Zeroizing<[u8; 32]>,
    pub(super) current: Option<Session>,
    previous: Option<(Session, Nanos)>,
    received: Received,
    sent: Sent,
    pub(super) congestion: Congestion,
    repair: Repair,
    outbox: Outbox,
    inbox: Inbox,
    ack_due: Option<Nanos>,
    pong_due: Option<u32>,
    ping_due: bool,
    last_ping: Option<(u32, Nanos)>,
    ping_id: u32,
    probe: Option<Probe>,
    confirmed: bool,
    last_heard: Nanos,
    pace_wake: Option<Nanos>,
    candidate: Option<path::Candidate>,
    /// Absurd reports since the last good one.
    absurd: u32,
    stats: Totals,
    /// When this link stands in the table of timers.
    pub(super) scheduled: Option<Nanos>,
    pub(super) dirty: bool,
    /// Since when datagrams arrive without a report of anything new, and what the report is missing from.
    pub(super) ignored: Option<(Nanos, Nanos)>,
    /// Whether a relay is behind it for certain: this node chose it, or the layer above says so.
    pub(super) is_relay: bool,
    /// What the layer above said of it.
    pub(super) in_use: Option<bool>,
    /// When it last carried a cell or a control frame, or was opened.
    pub(super) last_used: Nanos,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    sent: u64,
    received: u64,
    retransmits: u64,
    rekeys: u64,
}

impl Link {
    pub(super) fn new(id: LinkId, info: LinkPeerInfo, address: SocketAddr, now: Nanos) -> Self {
        Self {
            id,
            info,
            address,
            peer: None,
            opened: now,
            up: false,
            initiation: None,
            cookie: None,
            token: Zeroizing::default(),
            current: None,
            previous: None,
            received: Received::default(),
            sent: Sent::default(),
            congestion: Congestion::new(now),
            repair: Repair::default(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            ack_due: None,
            pong_due: None,
            ping_due: false,
            last_ping: None,
            ping_id: 0,
            probe: None,
            confirmed: false,
            last_heard: now,
            pace_wake: None,
            candidate: None,
            absurd: 0,
            stats: Totals::default(),
            scheduled: None,
            dirty: false,
            ignored: None,
            is_relay: info.initiator,
            in_use: None,
            last_used: now,
        }
    }

    /// Puts a new session in place. The old one keeps receiving for a while; its index is returned once it is erased,
    /// and that of one still older at once. `ping` is a random number for the PING that confirms the session, unless it
    /// is confirmed.
    pub(super) fn install(&mut self, now: Nanos, session: Session, ping: Option<u32>) -> Option<u32> {
        let evicted = self.previous.take().map(|(old, _)| old.local_index);
        if let Some(old) = self.current.replace(session) {
            self.previous = Some((old, now + OLD_SESSION));
            self.stats.rekeys += 1;
        }
        self.up = true;
        self.confirmed = ping.is_none();
        self.last_heard = now;
        self.initiation = None;
        self.probe = None;
        if let Some(id) = ping {
            self.begin_ping(now, id);
            self.probe = Some(Probe { due: now + CONFIRM_WAIT, missed: 0 });
        }
        evicted
    }

    /// The indexes under which datagrams for this link arrive.
    pub(super) fn local_indexes(&self) -> impl Iterator<Item = u32> {
        let sessions = self.current.iter().chain(self.previous.as_ref().map(|(session, _)| session));
        let handshake = self.initiation.as_ref().map(|initiation| initiation.index);
        sessions.map(|session| session.local_index).chain(handshake)
    }

    pub(super) fn queue_control(&mut self, control: super::Control) {
        self.outbox.push(control);
    }

    pub(super) fn control_queued(&self) -> usize {
        self.outbox.len()
    }

    pub(super) fn stats(&self) -> LinkStats {
        LinkStats {
            up: self.up,
            initiator: self.info.initiator,
            address: self.address,
            rtt: self.congestion.rtt().map(std::time::Duration::from_nanos),
            min_rtt: self.congestion.min_rtt().map(std::time::Duration::from_nanos),
            queue_delay: std::time::Duration::from_nanos(self.congestion.queue_delay()),
            window: self.congestion.window(),
            in_flight: self.congestion.in_flight(),
            loss: f32::from(self.congestion.loss_permille()) / 1000.0,
            datagrams_sent: self.stats.sent,
            datagrams_received: self.stats.received,
            retransmits: self.stats.retransmits,
            control_queued: self.outbox.len(),
            rekeys: self.stats.rekeys,
        }
    }

    /// How long an answer to a PING is waited for.
    fn probe_wait(&self, config: &LinkConfig) -> Nanos {
        super::clock::span(config.probe_timeout).max((4 * self.congestion.rtt().unwrap_or(0)).min(LONGEST_PROBE))
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("id", &self.id).field("up", &self.up).finish_non_exhaustive()
    }
}

//! All links of one node.

mod begin;
mod places;
mod reach;
mod respond;
mod table;

use std::net::SocketAddr;
use std::time::Instant;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::clock::Clock;
use super::cookie::{CookieJar, mac1_key};
use super::guests::Guests;
use super::handshake::{HandshakeDone, HandshakeJob, Outcome};
use super::link::{Due, Verdict};
use super::output::Transmit;
use super::session::Refusal;
use super::shared::Shared;
use super::types::LocalIdentity;
use super::{
    Control, Error, Inbound, LinkConfig, LinkCounters, LinkError, LinkEvent, LinkId, LinkPeer, LinkPeerInfo, LinkStats,
};
use crate::random::{Generator, SEED_LEN};
use crate::wire::cell::Cell;
use crate::wire::datagram::{Header, Kind};
use crate::wire::frame::Frame;
use begin::Jobs;
use table::{Owner, Table};

/// All links of one node, as a state machine without input or output.
///
/// Drive it like this:
///
/// 1. hand in what happened: [`handle_datagram`](Self::handle_datagram), [`handle_timeout`](Self::handle_timeout) when
///    [`next_timeout`](Self::next_timeout) is reached, [`handle_job`](Self::handle_job) for finished public-key work;
/// 2. act: [`connect`](Self::connect), [`send_control`](Self::send_control), and while [`can_send`](Self::can_send)
///    allows it, [`send_cells`](Self::send_cells);
/// 3. call [`finish_batch`](Self::finish_batch) once, which sends what is due besides cells and sets the timers;
/// 4. drain: [`transmits`](Self::transmits) then [`clear_transmits`](Self::clear_transmits),
///    [`poll_event`](Self::poll_event), [`poll_job`](Self::poll_job), and sleep until `next_timeout`.
///
/// Every call takes the time; it must not go backwards. The same configuration, seed, times and inputs give the same
/// outputs. A carrier that is not UDP maps its endpoints to socket addresses of its own making.
#[derive(Debug)]
pub struct Links {
    shared: Shared,
    table: Table,
    jobs: Jobs,
    guests: Guests,
    jar: CookieJar,
    /// Identity and `mac1` key of this relay.
    own: Option<([u8; 32], [u8; 32])>,
    /// The last timestamp in a first message.
    timestamp: u64,
}

impl Links {
    /// Creates the links of a node; none exist yet. Their own generator takes its seed from `rng`. `unix_nanos` is the
    /// wall clock at `now`; a relay's restarts must not set it back, or its neighbours refuse its handshakes until the
    /// old time is reached again.
    #[must_use]
    pub fn new(config: LinkConfig, mut rng: impl CryptoRng, now: Instant, unix_nanos: u64) -> Self {
        let own = match &config.local {
            LocalIdentity::Anonymous => None,
            LocalIdentity::Relay { identity, .. } => Some((*identity, mac1_key(identity))),
        };
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        rng.fill_bytes(&mut *seed);
        let mut rng = Generator::new(&seed);
        let jar = CookieJar::new(&mut rng, 0);
        Self {
            table: Table::new(&config),
            shared: Shared::new(config, rng, Clock::new(now, unix_nanos)),
            jobs: Jobs::default(),
            guests: Guests::new(),
            jar,
            own,
            timestamp: 0,
        }
    }

    /// Sets the wall clock, which dates handshakes.
    pub fn set_clock(&mut self, now: Instant, unix_nanos: u64) {
        self.shared.clock.set_unix(now, unix_nanos);
    }

    /// The most that this node sends from now on, in bytes per second.
    pub fn set_rate_limit(&mut self, now: Instant, limit: Option<u64>) {
        let now = self.shared.clock.nanos(now);
        self.shared.set_rate_limit(now, limit);
    }

    /// Opens a link to `peer`, or returns the one that exists: one that this node opened, or one that the same relay
    /// (identity and link key) opened. Control frames may be sent at once and wait for [`LinkEvent::Up`].
    ///
    /// # Errors
    /// [`Error::OwnIdentity`], [`Error::NoAddress`], or [`Error::TooManyLinks`].
    pub fn connect(&mut self, now: Instant, peer: &LinkPeer) -> Result<LinkId, Error> {
        if self.own.is_some_and(|(identity, _)| identity == peer.identity) {
            return Err(Error::OwnIdentity);
        }
        if let Some(id) = self.table.to_peer(peer) {
            return Ok(id);
        }
        let address = *peer.addresses.first().ok_or(Error::NoAddress)?;
        let now = self.shared.clock.nanos(now);
        let info = LinkPeerInfo { identity: Some(peer.identity), link_key: Some(peer.link_key), initiator: true };
        self.make_room(now, &info);
        let id = self.table.insert(info, address, now).ok_or(Error::TooManyLinks)?;
        if let Some(link) = self.table.get_mut(id) {
            link.peer = Some(peer.clone());
        }
        self.begin_handshake(now, id);
        Ok(id)
    }

    /// Takes a datagram from the network; its bytes may be changed. What it carries for the layer above is appended to
    /// `inbox`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8], inbox: &mut Vec<Inbound>) {
        let now = self.shared.clock.nanos(now);
        let Ok(header) = Header::read(datagram) else {
            self.shared.counters.refused_junk += 1;
            return;
        };
        match header.kind {
            Kind::Data => self.handle_data(now, from, &header, datagram, inbox),
            Kind::Init => self.handle_init(now, from, &header, datagram),
            Kind::Response => self.handle_response(now, from, &header, datagram),
            Kind::Cookie => self.handle_cookie(now, &header, datagram),
            // For the layer above, which sees them before this one.
            Kind::Probe | Kind::Relayed => self.shared.counters.refused_junk += 1,
        }
    }

    fn handle_data(&mut self, now: u64, from: SocketAddr, header: &Header, datagram: &[u8], inbox: &mut Vec<Inbound>) {
        let opened = match self.table.owner(header.index) {
            Some(Owner::Link(id)) => {
                let Some(link) = self.table.get_mut(id) else {
                    return;
                };
                link.open(header, datagram, &mut self.shared).map(|len| (id, len))
            }
            Some(Owner::HalfOpen) => {
                let Some(half_open) = self.guests.half_open_mut(header.index) else {
                    return;
                };
                match half_open.session.open(header, datagram, &mut self.shared.plain[..]) {
                    Ok(len) => match self.promote(now, header.index) {
                        Some(id) => Ok((id, len)),
                        None => return,
                    },
                    Err(refusal) => Err(refusal),
                }
            }
            Some(Owner::Initiation(_)) | None => {
                self.shared.counters.refused_unknown_index += 1;
                return;
            }
        };
        let (id, len) = match opened {
            Ok(opened) => opened,
            Err(refusal) => return self.count_refusal(refusal),
        };
        let Some(link) = self.table.get_mut(id) else {
            return;
        };
        let before = inbox.len();
        let verdict = link.accept(now, from, header, len, &mut self.shared, inbox);
        link.heard(now);
        if inbox.len() > before {
            link.last_used = now;
        }
        match verdict {
            Verdict::Fine => self.table.mark_dirty(id),
            Verdict::Closed => self.end(id, LinkError::ClosedByPeer),
            Verdict::Malformed => self.end(id, LinkError::Misbehaved),
        }
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        let counters = &mut self.shared.counters;
        match refusal {
            Refusal::Junk => counters.refused_junk += 1,
            Refusal::Replay => counters.refused_replay += 1,
            Refusal::BadTag => counters.refused_bad_tag += 1,
        }
    }

    /// Does everything that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let at = self.shared.clock.nanos(now);
        if self.shared.rate_wake.is_some_and(|wake| wake <= at) {
            self.shared.rate_wake = None;
        }
        while let Some(index) = self.guests.expired(at) {
            if self.guests.leave(index).is_some() {
                self.table.forget(index);
            }
        }
        while let Some(id) = self.table.pop_due(at) {
            self.run_timer(at, id);
        }
        self.finish_batch(now);
    }

    fn run_timer(&mut self, now: u64, id: LinkId) {
        loop {
            let Some(link) = self.table.get_mut(id) else {
                return;
            };
            match link.on_timer(now, &mut self.shared) {
                Due::Nothing => break,
                Due::Handshake => self.begin_handshake(now, id),
                Due::Forget(index) => self.table.forget(index),
                Due::Down(error) => return self.end(id, error),
            }
        }
        self.table.mark_dirty(id);
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called next. Right after
    /// [`finish_batch`](Self::finish_batch) only.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let times = [self.table.next_due(), self.guests.deadline(), self.shared.rate_wake];
        times.into_iter().flatten().min().map(|at| self.shared.clock.instant(at))
    }

    /// Whether the link is up and its window, its pace and the node's rate let one more long datagram leave.
    #[must_use]
    pub fn can_send(&self, now: Instant, link: LinkId) -> bool {
        let now = self.shared.clock.nanos(now);
        self.table.get(link).is_some_and(|link| link.can_send(now)) && self.shared.rate_allows(now)
    }

    /// Whether the node's rate lets one more long datagram leave, on whatever link.
    pub(crate) fn rate_allows(&self, now: Instant) -> bool {
        self.shared.rate_allows(self.shared.clock.nanos(now))
    }

    /// Whether the link is up.
    #[must_use]
    pub fn is_up(&self, link: LinkId) -> bool {
        self.table.get(link).is_some_and(|link| link.up)
    }

    /// Whether the link is up but may not send now.
    #[must_use]
    pub fn backlogged(&self, now: Instant, link: LinkId) -> bool {
        self.is_up(link) && !self.can_send(now, link)
    }

    /// Seals one or two cells into the output at once: one gives a short datagram, two a long one. Ask
    /// [`can_send`](Self::can_send) first. Does nothing when the link is not up.
    pub fn send_cells(&mut self, now: Instant, link: LinkId, first: &Cell, second: Option<&Cell>) {
        self.send_queued(now, link, (first, false), second.map(|second| (second, false)));
    }

    /// As [`send_cells`](Self::send_cells), with word of each cell whether its circuit is sparse. While a link loses
    /// datagrams, a sparse cell is protected by repairs that leave beside and after it; any other is sent again when it
    /// was lost.
    pub fn send_queued(&mut self, now: Instant, link: LinkId, first: (&Cell, bool), second: Option<(&Cell, bool)>) {
        let now = self.shared.clock.nanos(now);
        if let Some(state) = self.table.get_mut(link) {
            state.send_cells(now, &mut self.shared, first, second);
            state.last_used = now;
            self.table.mark_dirty(link);
        }
    }

    /// Queues a control frame. It leaves with [`finish_batch`](Self::finish_batch), or once the link is up, and is sent
    /// again until the peer has it or the link ends. Frames about one circuit arrive in order.
    ///
    /// # Errors
    /// [`Error::UnknownLink`] or [`Error::ControlQueueFull`].
    pub fn send_control(&mut self, now: Instant, link: LinkId, control: Control) -> Result<(), Error> {
        let limit = self.shared.config.max_queued_control;
        let state = self.table.get_mut(link).ok_or(Error::UnknownLink)?;
        if state.control_queued() >= limit {
            return Err(Error::ControlQueueFull);
        }
        state.queue_control(control);
        state.last_used = self.shared.clock.nanos(now);
        self.table.mark_dirty(link);
        Ok(())
    }

    /// Asks the peer for a part of its descriptor, or gives it one of this node's, in a long datagram that is not repeated;
    /// `false` when the link is not up, or may not send now.
    pub(crate) fn send_document(&mut self, now: Instant, link: LinkId, frame: &Frame<'_>) -> bool {
        let now = self.shared.clock.nanos(now);
        let Some(state) = self.table.get_mut(link) else {
            return false;
        };
        state.last_used = now;
        let sent = state.send_document(now, &mut self.shared, frame);
        self.table.mark_dirty(link);
        sent
    }

    /// Ends a batch: sends control frames, acknowledgements and feedback that are due, and sets the timers of all links
    /// that were touched.
    pub fn finish_batch(&mut self, now: Instant) {
        let now = self.shared.clock.nanos(now);
        while let Some(id) = self.table.next_dirty() {
            if let Some(link) = self.table.get_mut(id) {
                link.flush(now, &mut self.shared);
                let deadline = link.deadline(&self.shared.config);
                self.table.schedule(id, deadline);
            }
        }
    }

    /// What is to be sent, in runs of equal datagrams to one address.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.shared.output.transmits()
    }

    /// Forgets what [`transmits`](Self::transmits) gave; the memory is kept.
    pub fn clear_transmits(&mut self) {
        self.shared.output.clear();
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<LinkEvent> {
        self.shared.events.pop_front()
    }

    /// The next public-key work, to be run anywhere and given back by [`handle_job`](Self::handle_job). The node's own
    /// handshakes and those already under way come before strangers' first messages.
    pub fn poll_job(&mut self) -> Option<HandshakeJob> {
        self.jobs.pop()
    }

    /// Takes finished public-key work.
    pub fn handle_job(&mut self, now: Instant, done: HandshakeDone) {
        let now = self.shared.clock.nanos(now);
        match done.0 {
            Outcome::Initiated { index, result } => self.on_initiated(now, index, result),
            Outcome::Finished { index, result } => self.on_finished(now, index, result),
            Outcome::Read { ticket, result } => self.on_read(now, ticket, result),
            Outcome::Answered { ticket, result } => self.on_answered(now, ticket, result),
        }
    }

    /// Closes a link, tells the peer once, and forgets it. No event follows.
    pub fn close(&mut self, now: Instant, link: LinkId) {
        let now = self.shared.clock.nanos(now);
        if let Some(state) = self.table.get_mut(link) {
            state.send_close(now, &mut self.shared, 0);
            self.table.remove(link);
        }
    }

    /// Says whether a relay of the network document is behind a link that was accepted. Strangers share memory and work for
    /// repair among themselves. A link that this node opened is a relay's in any case.
    pub fn set_relay(&mut self, link: LinkId, relay: bool) {
        if let Some(state) = self.table.get_mut(link) {
            state.is_relay = relay || state.info.initiator;
        }
    }

    /// Says whether a link serves anything above, such as a circuit. One in use never gives way to a new link; an
    /// accepted one that is not does so after 10 s, one of which nothing was said after 60 s without cells and control
    /// frames, when places run out. Does nothing when the link is gone.
    pub fn set_in_use(&mut self, link: LinkId, in_use: bool) {
        if let Some(state) = self.table.get_mut(link) {
            state.in_use = Some(in_use);
        }
    }

    /// Ends the idlest accepted link if no place is left for a link of this class.
    fn make_room(&mut self, now: u64, info: &LinkPeerInfo) {
        if !self.table.has_place(info)
            && let Some(id) = self.table.idlest(now)
        {
            if let Some(link) = self.table.get_mut(id) {
                link.send_close(now, &mut self.shared, 0);
            }
            self.shared.counters.evicted += 1;
            self.end(id, LinkError::Evicted);
        }
    }

    /// How a link fares; `None` once it is gone.
    #[must_use]
    pub fn stats(&self, link: LinkId) -> Option<LinkStats> {
        self.table.get(link).map(super::link::Link::stats)
    }

    /// How every link fares.
    pub fn all_stats(&self) -> impl Iterator<Item = LinkStats> {
        self.table.iter().map(super::link::Link::stats)
    }

    /// Who is at the other end; `None` once the link is gone.
    #[must_use]
    pub fn peer(&self, link: LinkId) -> Option<LinkPeerInfo> {
        self.table.get(link).map(|link| link.info)
    }

    /// How many links exist.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no link exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counters over all links.
    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.shared.counters
    }

    /// Ends a link of itself or by the peer.
    fn end(&mut self, id: LinkId, error: LinkError) {
        if self.table.remove(id) {
            self.shared.events.push_back(LinkEvent::Down(id, error));
        }
    }
}

#[cfg(test)]
impl Links {
    /// Bytes that all links keep for repair, and multiply-adds that decoding for this link took.
    pub(super) fn repair_costs(&self, link: LinkId) -> (usize, u64) {
        (self.shared.repair.taken(), self.table.get(link).map_or(0, super::link::Link::repair_work))
    }

    /// Sends any frames inside an authentic datagram, as a dishonest peer could.
    pub(super) fn forge(&mut self, now: Instant, link: LinkId, frames: &[u8]) {
        let now = self.shared.clock.nanos(now);
        if let Some(state) = self.table.get_mut(link) {
            state.forge(now, &mut self.shared, frames);
        }
    }

    /// Makes the next rekey present a wrong token.
    pub(super) fn spoil_token(&mut self, link: LinkId) {
        if let Some(state) = self.table.get_mut(link) {
            state.token[0] ^= 1;
        }
    }
}

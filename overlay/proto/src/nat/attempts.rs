//! Attempts to reach a relay, and answers to those of others.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;
use snow::HandshakeState;
use zmesh_sphinx::RelayId;

use super::candidate::gather;
use super::exchange::{AnswerWork, Description, ExchangeDone, ExchangeWork};
use super::introducers::introducers;
use super::machine::{Nat, link_to};
use super::observe::Filtering;
use super::probe::Probe;
use super::punch::{Punch, Side};
use super::reach::{Favours, Reachability};
use super::serve::anywhere;
use super::signalling::{OverLinks, Signalling};
use crate::link::{LinkId, route};
use crate::node::core::Core;
use crate::wire::frame::signal::{BODY_LEN, Signal};

/// Attempts of this node at once.
const OWN_ATTEMPTS: usize = 32;
/// Attempts of others: of all, through one relay between, and of those that it sees at one address.
const OTHERS: usize = 32;
const OTHERS_OF_LINK: usize = 8;
const OTHERS_OF_ADDRESS: usize = 4;
/// Offers through one relay between that are answered at once, and in a second.
const ANSWERS_OF_LINK: u32 = 8;
/// Introducers of a relay that are tried.
const TRIED: usize = 8;
/// Links to introducers that are opened at once for one attempt.
const AT_ONCE: usize = 3;
/// How long the links to introducers may take, an answer, and public-key work.
const SEEK: Duration = Duration::from_secs(4);
const ANSWER: Duration = Duration::from_millis(1500);
const WORK: Duration = Duration::from_secs(5);
/// How often links to introducers are looked at.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) enum Stage {
    /// The direct way has a head start.
    Waiting { until: Instant },
    /// A link to an introducer is needed.
    Seeking { look: Instant, end: Instant },
    /// The offer is under way.
    Offered { state: Option<Box<HandshakeState>>, until: Instant },
    /// Public-key work is under way.
    Working { until: Instant },
    /// Probes are.
    Punching(Box<Punch>),
}

#[derive(Debug)]
pub(super) struct Attempt {
    /// Who is to be reached; nothing when the other side asked.
    peer: Option<RelayId>,
    pub(super) link: Option<LinkId>,
    /// The link to the relay between.
    pub(super) via: Option<LinkId>,
    /// What the answer goes to.
    ticket: [u8; 16],
    own: Description,
    /// Where the relay between sees the other side.
    pub(super) seen: Option<SocketAddr>,
    /// The flow to the other side.
    route: Option<u32>,
    /// The peer's introducers, once they are looked for.
    introducers: Option<Vec<RelayId>>,
    /// Introducers that did not help.
    useless: Vec<RelayId>,
    begun: Instant,
    stage: Stage,
}

impl Attempt {
    fn new(own: Description, begun: Instant, stage: Stage) -> Self {
        let (peer, link, via, seen, route, introducers) = (None, None, None, None, None, None);
        let (ticket, useless) = ([0; 16], Vec::new());
        Self { peer, link, via, ticket, own, seen, route, introducers, useless, begun, stage }
    }

    /// Whether the other side asked.
    pub(super) const fn is_of_other(&self) -> bool {
        self.peer.is_none()
    }

    fn is_guessing(&self) -> bool {
        matches!(&self.stage, Stage::Punching(punch) if punch.is_guessing())
    }

    fn punch(&self, now: Instant, peer: &Description, anywhere: bool, offered: bool) -> Stage {
        let flow = self.route.map(route::relayed);
        let side = Side { own: &self.own, peer, seen: self.seen, flow, anywhere, offered };
        Stage::Punching(Box::new(Punch::new(now, side)))
    }

    pub(super) fn next_timeout(&self) -> Instant {
        match &self.stage {
            Stage::Waiting { until } | Stage::Offered { until, .. } | Stage::Working { until } => *until,
            Stage::Seeking { look, end } => (*look).min(*end),
            Stage::Punching(punch) => punch.next_timeout(),
        }
    }
}

impl Nat {
    fn describe(&mut self, peer: Option<SocketAddr>) -> Description {
        let filtering = match self.reach.state() {
            Reachability::Open { .. } => Filtering::Independent,
            Reachability::Closed { .. } => Filtering::Dependent,
            _ => Filtering::Unknown,
        };
        let mapping = self.observations.mapping(false);
        let candidates = self.with_known(|known| gather(known, peer.map(|peer| peer.ip())));
        let tag = loop {
            let tag = self.rng.next_u32();
            if !self.attempts.contains_key(&tag) {
                break tag;
            }
        };
        Description { tag, secret: *self.rng.seed(), mapping, filtering, candidates }
    }

    fn insert(&mut self, attempt: Attempt) -> u32 {
        let tag = attempt.own.tag;
        self.attempts.insert(tag, attempt);
        tag
    }

    /// Begins to reach a relay, if there is room.
    pub(super) fn begin(&mut self, now: Instant, link: LinkId, peer: RelayId) {
        let mut own = self.attempts.values().filter(|attempt| !attempt.is_of_other());
        if own.clone().count() >= OWN_ATTEMPTS || own.any(|attempt| attempt.link == Some(link)) {
            return;
        }
        let stage = Stage::Waiting { until: now + self.config.head_start };
        let own = self.describe(None);
        self.insert(Attempt { peer: Some(peer), link: Some(link), ..Attempt::new(own, now, stage) });
    }

    /// An attempt is over, and its flow with it if no link came of it.
    fn end(&mut self, core: &mut Core, tag: u32) {
        if let Some(attempt) = self.attempts.remove(&tag) {
            self.release_route(core, attempt.route);
        }
    }

    /// A link is gone: so are the attempts for it and through it.
    pub(super) fn end_attempts_of(&mut self, core: &mut Core, link: LinkId) {
        let of = |attempt: &Attempt| attempt.link == Some(link) || attempt.via == Some(link);
        let over: Vec<u32> = self.attempts.iter().filter(|(_, attempt)| of(attempt)).map(|(tag, _)| *tag).collect();
        over.into_iter().for_each(|tag| self.end(core, tag));
    }

    /// Sees to it that fewer than `most` of some attempts of others are left: of those that are seen at the busiest address,
    /// the oldest goes.
    fn make_room(&mut self, core: &mut Core, most: usize, of: impl Fn(&Attempt) -> bool) {
        let crowd: Vec<(u32, &Attempt)> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.is_of_other() && of(attempt))
            .map(|(tag, attempt)| (*tag, attempt))
            .collect();
        if crowd.len() < most {
            return;
        }
        let ip = |attempt: &Attempt| attempt.seen.map(|seen| seen.ip());
        let weight = |attempt: &Attempt| crowd.iter().filter(|(_, other)| ip(other) == ip(attempt)).count();
        let gone = crowd.iter().max_by_key(|(_, attempt)| (weight(attempt), Reverse(attempt.begun)));
        if let Some(tag) = gone.map(|(tag, _)| *tag) {
            self.end(core, tag);
        }
    }

    /// Does what is due of all attempts.
    pub(super) fn step_attempts(&mut self, core: &mut Core, now: Instant) {
        let due: Vec<u32> =
            self.attempts.iter().filter(|(_, attempt)| attempt.next_timeout() <= now).map(|(tag, _)| *tag).collect();
        for tag in due {
            // Taken out and put back, so that its steps may use everything else.
            let Some(mut attempt) = self.attempts.remove(&tag) else { continue };
            match self.step(core, now, &mut attempt) {
                Some(()) => drop(self.attempts.insert(tag, attempt)),
                None => self.release_route(core, attempt.route),
            }
        }
    }

    /// The next step of an attempt; `None` ends it.
    fn step(&mut self, core: &mut Core, now: Instant, attempt: &mut Attempt) -> Option<()> {
        match &mut attempt.stage {
            Stage::Waiting { .. } => {
                if core.links.is_up(attempt.link?) {
                    return None;
                }
                attempt.stage = Stage::Seeking { look: now, end: now + SEEK };
                self.seek(core, now, attempt)
            }
            Stage::Seeking { .. } => self.seek(core, now, attempt),
            Stage::Offered { .. } => {
                let network = core.network.clone()?;
                let asked = attempt.via.take();
                let mut asked_at = attempt.introducers.iter().flatten().chain(&self.entries);
                let silent = asked_at.find(|id| asked.is_some() && link_to(core, &network, id) == asked);
                attempt.useless.extend(silent);
                attempt.stage = Stage::Seeking { look: now, end: now + SEEK };
                Some(())
            }
            Stage::Working { .. } => None,
            Stage::Punching(punch) => {
                let (links, rng) = (&mut core.links, &mut self.rng);
                let may_guess = !self.attempts.values().any(Attempt::is_guessing);
                punch.poll(now, may_guess, rng, |to, probe| {
                    links.send_raw(now, to, &probe);
                });
                if let Some(to) = punch.take_connect() {
                    self.want_connection(attempt.own.tag, to);
                }
                (!punch.is_over(now)).then_some(())
            }
        }
    }

    /// Looks for an introducer that is linked, and has the offer written.
    fn seek(&mut self, core: &mut Core, now: Instant, attempt: &mut Attempt) -> Option<()> {
        let Stage::Seeking { look, end } = &mut attempt.stage else { return Some(()) };
        let (peer, link) = (attempt.peer?, attempt.link?);
        if core.links.is_up(link) || now >= *end {
            return None;
        }
        *look = now + LOOK;
        let network = core.network.clone()?;
        let own = self.own;
        // Found once: a hash for each relay of the document.
        let known = attempt.introducers.get_or_insert_with(|| introducers(&network, &peer, TRIED));
        let able: Vec<RelayId> = known
            .iter()
            .filter(|id| Some(**id) != own && !attempt.useless.contains(id))
            .take(AT_ONCE)
            .copied()
            .collect();
        if able.is_empty() && self.entries.is_empty() {
            return None;
        }
        // Where UDP is blocked, the relays that another carrier leads to are asked after the peer's own introducers.
        let entries: Vec<RelayId> =
            self.entries.iter().filter(|id| **id != peer && !attempt.useless.contains(id)).copied().collect();
        let linked = |id: &RelayId| link_to(core, &network, id).filter(|link| core.links.is_up(*link));
        let up = able.iter().chain(&entries).find_map(linked);
        let Some(via) = up else {
            for id in &able {
                self.connect(core, now, id);
            }
            return Some(());
        };
        let relay = network.relay(&peer)?.link_peer();
        // What is known of this node now, and not when the attempt began.
        let tag = attempt.own.tag;
        attempt.own = self.describe(relay.addresses.first().copied());
        attempt.own.tag = tag;
        attempt.via = Some(via);
        attempt.stage = Stage::Working { until: now + WORK };
        core.exchanges.push_back(ExchangeWork::Offer {
            attempt: attempt.own.tag,
            identity: relay.identity,
            key: relay.link_key,
            own: Box::new(attempt.own.clone()),
            seed: self.rng.seed(),
        });
        Some(())
    }

    /// Public-key work is done.
    pub(crate) fn handle_done(&mut self, core: &mut Core, now: Instant, done: ExchangeDone) {
        let (tag, next) = match done {
            ExchangeDone::Offered { attempt: tag, result } => (tag, self.offered(core, now, tag, result)),
            ExchangeDone::Answered { attempt: tag, result } => (tag, self.answered(core, now, tag, result)),
            ExchangeDone::Finished { attempt: tag, result } => (tag, self.finished(core, now, tag, result)),
        };
        match next {
            Some(stage) => {
                if let Some(attempt) = self.attempts.get_mut(&tag) {
                    attempt.stage = stage;
                }
                self.step_attempts(core, now);
            }
            None => self.end(core, tag),
        }
    }

    fn offered(
        &mut self,
        core: &mut Core,
        now: Instant,
        tag: u32,
        result: Option<(Box<HandshakeState>, Box<[u8; BODY_LEN]>)>,
    ) -> Option<Stage> {
        let attempt = self.attempts.get(&tag)?;
        let (state, body) = result?;
        OverLinks(&mut core.links).offer(now, attempt.via?, attempt.peer?, tag, &body);
        Some(Stage::Offered { state: Some(state), until: now + ANSWER })
    }

    fn answered(
        &mut self,
        core: &mut Core,
        now: Instant,
        tag: u32,
        result: Option<(Description, Box<[u8; BODY_LEN]>)>,
    ) -> Option<Stage> {
        let attempt = self.attempts.get(&tag)?;
        let (peer, body) = result?;
        OverLinks(&mut core.links).answer(now, attempt.via?, attempt.ticket, &body);
        Some(attempt.punch(now, &peer, anywhere(core), false))
    }

    fn finished(&mut self, core: &Core, now: Instant, tag: u32, result: Option<Description>) -> Option<Stage> {
        Some(self.attempts.get(&tag)?.punch(now, &result?, anywhere(core), true))
    }

    /// Somebody wants to reach this node; its offer has come over `via`.
    pub(super) fn on_offered(&mut self, core: &mut Core, now: Instant, via: LinkId, signal: &Signal) {
        let Some((identity, secret)) = core.links.local_secret() else { return };
        let of_link = self.answers_of.entry(via).or_insert_with(|| Favours::new(ANSWERS_OF_LINK, now));
        if !of_link.take(now) || !self.answers.take(now) {
            return;
        }
        let (own, seen) = (self.describe(signal.address), signal.address);
        let ip = seen.map(|seen| seen.ip());
        self.make_room(core, OTHERS_OF_ADDRESS, |attempt| ip.is_some() && attempt.seen.map(|seen| seen.ip()) == ip);
        self.make_room(core, OTHERS_OF_LINK, |attempt| attempt.via == Some(via));
        self.make_room(core, OTHERS, |_| true);
        let route = self.add_route(core, now, via, signal.flow);
        let seed = self.rng.seed();
        let work =
            AnswerWork { attempt: own.tag, identity, secret, body: Box::new(signal.body), own: own.clone(), seed };
        core.exchanges.push_back(ExchangeWork::Answer(Box::new(work)));
        let (stage, ticket) = (Stage::Working { until: now + WORK }, signal.peer);
        self.insert(Attempt { via: Some(via), ticket, seen, route, ..Attempt::new(own, now, stage) });
    }

    /// The answer to an offer of this node has come: the flow works from now on, and probing begins.
    pub(super) fn on_answered(&mut self, core: &mut Core, now: Instant, via: LinkId, signal: &Signal) {
        let [a, b, c, d, ..] = signal.peer;
        let tag = u32::from_be_bytes([a, b, c, d]);
        // An answer that nobody waits for begins nothing.
        let Some(attempt) = self.attempts.get_mut(&tag).filter(|attempt| attempt.via == Some(via)) else { return };
        let Stage::Offered { state, .. } = &mut attempt.stage else { return };
        let Some(state) = state.take() else { return };
        attempt.seen = signal.address;
        attempt.stage = Stage::Working { until: now + WORK };
        let (link, before) = (attempt.link, attempt.route.take());
        core.exchanges.push_back(ExchangeWork::Finish { attempt: tag, state, body: Box::new(signal.body) });
        self.release_route(core, before);
        let route = self.add_route(core, now, via, signal.flow);
        if let Some(attempt) = self.attempts.get_mut(&tag) {
            attempt.route = route;
        }
        // The link comes up by the flow, and moves when a direct way is found.
        if let (Some(link), Some(route)) = (link, route)
            && !core.links.is_up(link)
        {
            core.links.reach(now, link, route::relayed(route));
        }
    }

    /// The relay between knows no such relay, or has enough to do.
    pub(super) fn on_refused(&mut self, now: Instant, via: LinkId, tag: u32) {
        if let Some(attempt) = self.attempts.get_mut(&tag).filter(|attempt| attempt.via == Some(via))
            && let Stage::Offered { until, .. } = &mut attempt.stage
        {
            *until = now;
        }
    }

    /// A TCP connection that an attempt wanted is there.
    pub(crate) fn on_connected(&mut self, core: &mut Core, now: Instant, tag: u32, address: SocketAddr) {
        if let Some(Attempt { stage: Stage::Punching(punch), .. }) = self.attempts.get_mut(&tag) {
            punch.connected(now, address);
        }
        self.step_attempts(core, now);
    }

    /// A probe of an attempt has come.
    pub(super) fn on_probe(&mut self, core: &mut Core, now: Instant, from: SocketAddr, probe: &Probe, datagram: &[u8]) {
        let may_guess = !self.attempts.iter().any(|(tag, attempt)| *tag != probe.tag && attempt.is_guessing());
        let Some(attempt) = self.attempts.get_mut(&probe.tag) else { return };
        let Stage::Punching(punch) = &mut attempt.stage else { return };
        let before = punch.found();
        if let Some(answer) = punch.handle(now, from, datagram) {
            core.links.send_raw(now, from, &answer);
        }
        let (links, rng) = (&mut core.links, &mut self.rng);
        punch.poll(now, may_guess, rng, |to, probe| {
            links.send_raw(now, to, &probe);
        });
        let connect = punch.take_connect();
        if let (None, Some((address, method)), Some(link)) = (before, punch.found(), attempt.link) {
            if let Some(opening) = self.openings.get_mut(&link) {
                opening.found = Some((address, method));
            }
            core.links.reach(now, link, address);
        }
        if let Some(to) = connect {
            self.want_connection(probe.tag, to);
        }
    }
}

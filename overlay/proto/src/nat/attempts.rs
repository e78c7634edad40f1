//! Attempts to reach a relay, and answers to those of others.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::Rng;
use snow::HandshakeState;
use zmesh_sphinx::RelayId;

use super::candidate::gather;
use super::exchange::{AnswerWork, Description, ExchangeDone, ExchangeWork};
use super::introducers::introducers;
use super::machine::{Nat, Route, link_to};
use super::observe::Filtering;
use super::probe::Probe;
use super::punch::{Punch, Side};
use super::reach::Reachability;
use super::signalling::{OverLinks, Signalling};
use crate::link::{LinkId, route};
use crate::node::core::Core;
use crate::wire::frame::signal::{BODY_LEN, Signal};

/// Attempts of this node and of others at once.
const MAX_ATTEMPTS: usize = 64;
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
    seen: Option<SocketAddr>,
    /// Introducers that did not help.
    useless: Vec<RelayId>,
    stage: Stage,
}

impl Attempt {
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
        if self.attempts.len() >= MAX_ATTEMPTS || self.attempts.values().any(|attempt| attempt.link == Some(link)) {
            return;
        }
        let own = self.describe(None);
        let stage = Stage::Waiting { until: now + self.config.head_start };
        let (peer, link) = (Some(peer), Some(link));
        self.insert(Attempt { peer, link, via: None, ticket: [0; 16], own, seen: None, useless: Vec::new(), stage });
    }

    /// Does what is due of all attempts.
    pub(super) fn step_attempts(&mut self, core: &mut Core, now: Instant) {
        let due: Vec<u32> =
            self.attempts.iter().filter(|(_, attempt)| attempt.next_timeout() <= now).map(|(tag, _)| *tag).collect();
        for tag in due {
            // Taken out and put back, so that its steps may use everything else.
            if let Some(attempt) = self.attempts.remove(&tag)
                && let Some(attempt) = self.step(core, now, attempt)
            {
                self.attempts.insert(tag, attempt);
            }
        }
    }

    /// The next step of an attempt; `None` ends it.
    fn step(&mut self, core: &mut Core, now: Instant, mut attempt: Attempt) -> Option<Attempt> {
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
                let peer = attempt.peer?;
                let network = core.network.clone()?;
                let asked = attempt.via.take();
                let mut asked_at = introducers(&network, &peer, TRIED).into_iter().chain(self.entries.iter().copied());
                let silent = asked_at.find(|id| asked.is_some() && link_to(core, &network, id) == asked);
                attempt.useless.extend(silent);
                attempt.stage = Stage::Seeking { look: now, end: now + SEEK };
                Some(attempt)
            }
            Stage::Working { .. } => None,
            Stage::Punching(punch) => {
                let (links, rng) = (&mut core.links, &mut self.rng);
                punch.poll(now, rng, |to, probe| {
                    links.send_raw(now, to, &probe);
                });
                (!punch.is_over(now)).then_some(attempt)
            }
        }
    }

    /// Looks for an introducer that is linked, and has the offer written.
    fn seek(&mut self, core: &mut Core, now: Instant, mut attempt: Attempt) -> Option<Attempt> {
        let Stage::Seeking { look, end } = &mut attempt.stage else { return Some(attempt) };
        let (peer, link) = (attempt.peer?, attempt.link?);
        if core.links.is_up(link) || now >= *end {
            return None;
        }
        *look = now + LOOK;
        let network = core.network.clone()?;
        let own = self.own;
        let able: Vec<RelayId> = introducers(&network, &peer, TRIED)
            .into_iter()
            .filter(|id| Some(*id) != own && !attempt.useless.contains(id))
            .take(AT_ONCE)
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
            return Some(attempt);
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
        Some(attempt)
    }

    /// Public-key work is done.
    pub(crate) fn handle_done(&mut self, core: &mut Core, now: Instant, done: ExchangeDone) {
        let (tag, next) = match done {
            ExchangeDone::Offered { attempt: tag, result } => (tag, self.offered(core, now, tag, result)),
            ExchangeDone::Answered { attempt: tag, result } => (tag, self.answered(core, now, tag, result)),
            ExchangeDone::Finished { attempt: tag, result } => (tag, self.finished(now, tag, result)),
        };
        match next {
            Some(stage) => {
                if let Some(attempt) = self.attempts.get_mut(&tag) {
                    attempt.stage = stage;
                }
                self.step_attempts(core, now);
            }
            None => drop(self.attempts.remove(&tag)),
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
        let side = Side { own: &attempt.own, peer: &peer, seen: attempt.seen, offered: false };
        Some(Stage::Punching(Box::new(Punch::new(now, side))))
    }

    fn finished(&mut self, now: Instant, tag: u32, result: Option<Description>) -> Option<Stage> {
        let attempt = self.attempts.get(&tag)?;
        let side = Side { own: &attempt.own, peer: &result?, seen: attempt.seen, offered: true };
        Some(Stage::Punching(Box::new(Punch::new(now, side))))
    }

    /// Somebody wants to reach this node; its offer has come over `via`.
    pub(super) fn on_offered(&mut self, core: &mut Core, now: Instant, via: LinkId, signal: &Signal) {
        let Some((identity, secret)) = core.links.local_secret() else { return };
        if self.attempts.len() >= MAX_ATTEMPTS || !self.answers.take(now) {
            return;
        }
        self.add_route(core, via, signal.flow);
        let (own, seen) = (self.describe(signal.address), signal.address);
        let seed = self.rng.seed();
        let work =
            AnswerWork { attempt: own.tag, identity, secret, body: Box::new(signal.body), own: own.clone(), seed };
        core.exchanges.push_back(ExchangeWork::Answer(Box::new(work)));
        let (stage, ticket) = (Stage::Working { until: now + WORK }, signal.peer);
        self.insert(Attempt { peer: None, link: None, via: Some(via), ticket, own, seen, useless: Vec::new(), stage });
    }

    /// The answer to an offer of this node has come: the flow works from now on, and probing begins.
    pub(super) fn on_answered(&mut self, core: &mut Core, now: Instant, via: LinkId, signal: &Signal) {
        let [a, b, c, d, ..] = signal.peer;
        let tag = u32::from_be_bytes([a, b, c, d]);
        let route = self.add_route(core, via, signal.flow);
        let Some(attempt) = self.attempts.get_mut(&tag).filter(|attempt| attempt.via == Some(via)) else { return };
        let Stage::Offered { state, .. } = &mut attempt.stage else { return };
        let Some(state) = state.take() else { return };
        attempt.seen = signal.address;
        attempt.stage = Stage::Working { until: now + WORK };
        core.exchanges.push_back(ExchangeWork::Finish { attempt: tag, state, body: Box::new(signal.body) });
        // The link comes up by the flow, and moves when a direct way is found.
        if let (Some(link), Some(route)) = (attempt.link, route)
            && !core.links.is_up(link)
        {
            core.links.reach(now, link, route);
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

    /// An end of a flow here; gives the address that stands for it.
    fn add_route(&mut self, core: &mut Core, via: LinkId, flow: u32) -> Option<SocketAddr> {
        let at = core.links.address(via)?;
        if flow == 0 || self.routes.len() >= route::MAX_ROUTES {
            return None;
        }
        let number = self.next_route;
        self.next_route = self.next_route.checked_add(1)?;
        self.routes.insert(number, Route { via, flow });
        core.links.set_route(number, at, flow);
        Some(route::relayed(number))
    }

    /// A probe of an attempt has come.
    pub(super) fn on_probe(&mut self, core: &mut Core, now: Instant, from: SocketAddr, probe: &Probe, datagram: &[u8]) {
        let Some(attempt) = self.attempts.get_mut(&probe.tag) else { return };
        let Stage::Punching(punch) = &mut attempt.stage else { return };
        let before = punch.found();
        if let Some(answer) = punch.handle(now, from, datagram) {
            core.links.send_raw(now, from, &answer);
        }
        let (links, rng) = (&mut core.links, &mut self.rng);
        punch.poll(now, rng, |to, probe| {
            links.send_raw(now, to, &probe);
        });
        if let (None, Some((address, method)), Some(link)) = (before, punch.found(), attempt.link) {
            if let Some(opening) = self.openings.get_mut(&link) {
                opening.found = Some((address, method));
            }
            core.links.reach(now, link, address);
        }
    }
}

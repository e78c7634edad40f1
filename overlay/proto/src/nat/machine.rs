//! Everything about reaching others inside one node.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zmesh_sphinx::RelayId;

use super::attempts::Attempt;
use super::between::{Between, BetweenConfig};
use super::candidate::{Known, is_private};
use super::introducers::{INTRODUCERS, introducers};
use super::observe::{Filtering, Mapping, Observations};
use super::punch::Method;
use super::reach::{FAVOURS, Favours, Reach, Reachability};
use super::routes::Route;
use crate::directory::Network;
use crate::keys::relay_id;
use crate::link::{LinkId, LinkPeerInfo, route};
use crate::node::core::Core;
use crate::random::Generator;

/// How often introducers are looked after.
pub(super) const UPKEEP: Duration = Duration::from_secs(1);
/// Introducers that a relay tries, best first, until enough are linked.
const TRIED: usize = 8;
/// A relay that could not be linked is left alone for so long.
const PAUSE: Duration = Duration::from_secs(15);
/// Without a link by UDP for so long, and with links wanted, UDP counts as blocked.
const CUT_OFF: Duration = Duration::from_millis(2500);
/// How often reachability is looked at while it is not known.
pub(super) const REACH_TICK: Duration = Duration::from_millis(100);
/// Relays that other carriers lead to, at most.
const MAX_ENTRIES: usize = 16;
/// TCP connections that wait to be begun: one for each attempt that there can be.
const MAX_CONNECTS: usize = 64;
/// How often relays are asked again where they see this node, and how soon when they did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(60);
const ASK_SOON: Duration = Duration::from_secs(1);

/// How a node reaches others that cannot be linked to directly, and is reached by them.
#[derive(Clone, Debug)]
pub struct NatConfig {
    /// A link that is not up after this time is tried through introducers as well.
    pub head_start: Duration,
    /// Whether links to introducers are kept, so that others can ask for this node there. For relays.
    pub keep_introducers: bool,
    /// What this node passes on for others; for relays.
    pub between: BetweenConfig,
}

impl Default for NatConfig {
    fn default() -> Self {
        Self { head_start: Duration::from_millis(400), keep_introducers: false, between: BetweenConfig::default() }
    }
}

/// What a node knows of how it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct NatReport {
    /// How its translator for IPv4 gives out addresses.
    pub mapping: Mapping,
    /// The same for IPv6.
    pub mapping_v6: Mapping,
    /// Whom the translator or firewall lets in.
    pub filtering: Filtering,
    /// Where relays see it, and how many see it there.
    pub reflexive: Vec<(SocketAddr, usize)>,
    /// Ports that its router forwards at its request.
    pub mapped: Vec<SocketAddr>,
    /// Whether strangers can reach it.
    pub reachability: Reachability,
    /// Introducers that it is linked to.
    pub introducers: usize,
}

/// By what way a link goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WayKind {
    /// To an address of the descriptor.
    Advertised,
    /// To an address that an exchange brought.
    Punched(Method),
    /// Through another node.
    Relayed,
    /// By a carrier that is not UDP.
    Carried,
    /// This node did not open it: the peer knows.
    Accepted,
}

/// How a link to a relay came to be.
#[derive(Clone, Copy, PartialEq, Debug, serde::Serialize)]
pub struct Way {
    /// How it goes now.
    pub kind: WayKind,
    /// From the wish to the link's being up.
    pub up_after: Option<Duration>,
    /// From the wish to its going directly.
    pub direct_after: Option<Duration>,
    /// Its smoothed round trip.
    pub rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) peer: RelayId,
    wanted: Instant,
    up: Option<Instant>,
    direct: Option<Instant>,
    /// The address that probes found.
    pub(super) found: Option<(SocketAddr, Method)>,
}

/// All of it. Part of a [`Node`](crate::node::Node).
#[derive(Debug)]
pub(crate) struct Nat {
    pub(super) config: NatConfig,
    /// This node, if it is a relay.
    pub(super) own: Option<RelayId>,
    pub(super) rng: Generator,
    pub(super) observations: Observations,
    pub(super) mapped: Vec<SocketAddr>,
    /// The port from which this node opens TCP connections, and where relays see those.
    stream_port: Option<u16>,
    streams: Observations,
    /// TCP connections to begin: for which attempt, and where to.
    connects: VecDeque<(u32, SocketAddr)>,
    /// By tag.
    pub(super) attempts: BTreeMap<u32, Attempt>,
    pub(super) openings: BTreeMap<LinkId, Opening>,
    pub(super) routes: BTreeMap<u32, Route>,
    pub(super) next_route: u32,
    pub(super) between: Between,
    pub(super) reach: Reach,
    pub(super) favours: Favours,
    /// Answers to offers, of all and of each relay between.
    pub(super) answers: Favours,
    pub(super) answers_of: BTreeMap<LinkId, Favours>,
    /// Links that strangers had this node open.
    pub(super) opened: Favours,
    /// Probes that are sent once more.
    pub(super) later: Vec<(Instant, SocketAddr, [u8; crate::wire::datagram::PROBE_LEN])>,
    /// Relays that a carrier which is not UDP leads to.
    pub(super) entries: Vec<RelayId>,
    paused: BTreeMap<RelayId, Instant>,
    asked: BTreeMap<LinkId, (Instant, bool)>,
    upkeep: Instant,
    pub(super) reach_at: Instant,
    /// How often all links and relays were looked at for that.
    #[cfg(test)]
    pub(crate) looks: usize,
    /// Whether the report may have changed.
    pub(super) news: bool,
}

impl Nat {
    pub(crate) fn new(config: NatConfig, own: Option<RelayId>, rng: Generator, now: Instant) -> Self {
        Self {
            between: Between::new(config.between.clone(), now),
            reach: Reach::default(),
            favours: Favours::new(FAVOURS, now),
            answers: Favours::new(FAVOURS, now),
            answers_of: BTreeMap::new(),
            opened: Favours::new(1, now),
            config,
            own,
            rng,
            observations: Observations::default(),
            mapped: Vec::new(),
            stream_port: None,
            streams: Observations::default(),
            connects: VecDeque::new(),
            attempts: BTreeMap::new(),
            openings: BTreeMap::new(),
            routes: BTreeMap::new(),
            next_route: 1,
            later: Vec::new(),
            entries: Vec::new(),
            paused: BTreeMap::new(),
            asked: BTreeMap::new(),
            upkeep: now,
            reach_at: now,
            #[cfg(test)]
            looks: 0,
            news: false,
        }
    }

    pub(crate) fn set_local(&mut self, local: Vec<SocketAddr>) {
        self.observations.set_local(local);
        self.news = true;
    }

    pub(crate) fn set_mapped(&mut self, mapped: Vec<SocketAddr>) {
        self.news |= self.mapped != mapped;
        self.mapped = mapped;
    }

    /// TCP connections are opened from this port.
    pub(crate) fn set_stream_port(&mut self, port: u16) {
        self.stream_port = Some(port);
    }

    /// Where TCP connections of this node come from: where relays see them; if none has, at the same port, for a node without
    /// a translator or with one that left the UDP port as it was.
    fn stream(&self) -> Option<SocketAddr> {
        let port = self.stream_port?;
        let seen = self.streams.reflexive();
        if let Some((at, _)) = seen.first() {
            return (self.streams.mapping(false) != Mapping::Dependent).then_some(*at);
        }
        let (at, _) = self.observations.reflexive().into_iter().find(|(at, _)| at.is_ipv4())?;
        let kept = self.observations.local().iter().any(|local| local.port() == at.port());
        (self.observations.mapping(false).is_fixed() && kept).then(|| SocketAddr::new(at.ip(), port))
    }

    /// The attempt `tag` wants a TCP connection.
    pub(super) fn want_connection(&mut self, tag: u32, to: SocketAddr) {
        if self.connects.len() < MAX_CONNECTS {
            self.connects.push_back((tag, to));
        }
    }

    /// The next TCP connection to begin.
    pub(crate) fn poll_connect(&mut self) -> Option<(u32, SocketAddr)> {
        self.connects.pop_front()
    }

    /// What this node may tell others of itself.
    pub(super) fn with_known<T>(&self, tell: impl FnOnce(Known<'_>) -> T) -> T {
        let reflexive: Vec<SocketAddr> = self.observations.reflexive().into_iter().map(|(at, _)| at).take(4).collect();
        let (local, predicted) = (self.observations.local(), self.observations.predicted());
        tell(Known { local, reflexive: &reflexive, mapped: &self.mapped, predicted: &predicted, stream: self.stream() })
    }

    /// A link that is not up is wanted.
    pub(crate) fn opening(&mut self, now: Instant, link: LinkId, peer: RelayId) {
        if self.openings.contains_key(&link) || self.openings.len() >= 1024 {
            return;
        }
        self.openings.insert(link, Opening { peer, wanted: now, up: None, direct: None, found: None });
        self.begin(now, link, peer);
    }

    /// A relay can be reached by a carrier that is not UDP.
    pub(crate) fn entry(&mut self, relay: RelayId) {
        if !self.entries.contains(&relay) && self.entries.len() < MAX_ENTRIES {
            self.entries.push(relay);
        }
    }

    /// Whether links have been wanted for a while and none is up by UDP.
    pub(crate) fn is_cut_off(&self, core: &Core, now: Instant) -> bool {
        let by_udp = |at: SocketAddr| !route::is_made_up(at) || route::aside_of(at).is_some();
        let alive =
            core.links.peers().any(|(link, _)| core.links.is_up(link) && core.links.address(link).is_some_and(by_udp));
        let wanted = self.openings.values().any(|opening| now.saturating_duration_since(opening.wanted) >= CUT_OFF);
        !alive && (wanted || !self.paused.is_empty())
    }

    pub(crate) fn link_up(&mut self, core: &mut Core, now: Instant, link: LinkId) {
        if let Some(opening) = self.openings.get_mut(&link) {
            opening.up = Some(now);
        }
        // Relays of the document are asked whoever opened the link: a relay that many link to opens few itself.
        if core.links.peer(link).is_some_and(|info| info.initiator || is_relay(core, &info)) {
            core.links.observe(link);
            self.asked.insert(link, (now, false));
        }
        self.note_ways(core, now);
        self.news = true;
    }

    pub(crate) fn link_down(&mut self, core: &mut Core, now: Instant, link: LinkId) {
        if let Some(opening) = self.openings.remove(&link)
            && opening.up.is_none()
            && self.paused.len() < 1024
        {
            self.paused.insert(opening.peer, now + PAUSE);
        }
        self.asked.remove(&link);
        self.observations.forget(link);
        self.streams.forget(link);
        for (other, flow) in self.between.link_down(link) {
            self.close_flow(core, now, other, flow);
        }
        self.answers_of.remove(&link);
        self.end_attempts_of(core, link);
        self.lose_routes(core, link);
        self.news = true;
    }

    /// A relay says where it sees this node.
    pub(crate) fn observed(&mut self, core: &Core, now: Instant, link: LinkId, seen: SocketAddr) {
        let Some(relay) = core.links.address(link) else { return };
        if route::is_carried(relay) {
            if let Some(relay) = route::far_of(relay) {
                self.streams.note(now, link, relay, seen);
            }
        } else {
            self.news |= self.observations.note(now, link, relay, seen);
        }
        self.asked.insert(link, (now, true));
    }

    /// The same after each turn, as long as anything is tried: links move between two timeouts.
    pub(crate) fn note_moves(&mut self, core: &Core, now: Instant) {
        if !self.attempts.is_empty() {
            self.note_ways(core, now);
        }
    }

    /// Notes which links have come to go directly.
    fn note_ways(&mut self, core: &Core, now: Instant) {
        for (link, opening) in &mut self.openings {
            let direct = || core.links.address(*link).is_some_and(|at| !route::is_relayed(at));
            if opening.up.is_some() && opening.direct.is_none() && direct() {
                opening.direct = Some(now);
            }
        }
    }

    /// How the link to a relay goes.
    pub(crate) fn way(&self, core: &Core, link: LinkId) -> Option<Way> {
        let stats = core.links.stats(link)?;
        let opening = self.openings.get(&link).filter(|_| stats.initiator);
        let found = opening.and_then(|opening| opening.found);
        let kind = match opening {
            None if !stats.initiator => WayKind::Accepted,
            _ if route::is_relayed(stats.address) => WayKind::Relayed,
            _ if route::is_carried(stats.address) => WayKind::Carried,
            _ => match found {
                Some((at, method)) if at == stats.address => WayKind::Punched(method),
                _ => WayKind::Advertised,
            },
        };
        let since = |at: Option<Instant>| Some(at?.saturating_duration_since(opening?.wanted));
        let up_after = since(opening.and_then(|opening| opening.up));
        let direct_after = since(opening.and_then(|opening| opening.direct));
        Some(Way { kind, up_after, direct_after, rtt: stats.rtt })
    }

    pub(crate) fn report(&self, core: &Core) -> NatReport {
        let filtering = match self.reach.state() {
            Reachability::Open { .. } => Filtering::Independent,
            Reachability::Closed { .. } => Filtering::Dependent,
            _ => Filtering::Unknown,
        };
        let mapping = |v6| self.observations.mapping(v6);
        NatReport {
            mapping: mapping(false),
            mapping_v6: mapping(true),
            filtering,
            reflexive: self.observations.reflexive(),
            mapped: self.mapped.clone(),
            reachability: self.reach.state(),
            introducers: self.asked.keys().filter(|link| core.links.is_up(**link)).count(),
        }
    }

    /// Whether the report may have changed since the last call.
    pub(crate) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, core: &mut Core, now: Instant) {
        if now >= self.upkeep {
            self.upkeep = now + UPKEEP;
            self.keep_introducers(core, now);
            self.ask_again(core, now);
            for (link, flow) in self.between.sweep(now) {
                self.close_flow(core, now, link, flow);
            }
            self.keep_routes(core, now);
            self.paused.retain(|_, until| *until > now);
            // Links that were closed here leave without an event.
            self.openings.retain(|link, _| core.links.address(*link).is_some());
            self.asked.retain(|link, _| core.links.address(*link).is_some());
            self.answers_of.retain(|link, _| core.links.address(*link).is_some());
        }
        self.step_attempts(core, now);
        self.step_reach(core, now);
        self.note_ways(core, now);
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        let attempts = self.attempts.values().map(Attempt::next_timeout);
        let later = self.later.iter().map(|(at, ..)| *at);
        let all = attempts.chain(later).chain(self.config.keep_introducers.then_some(self.reach_at));
        all.min().map_or(self.upkeep, |at| at.min(self.upkeep))
    }

    /// The address whose reachability matters: what the router forwards if relays see this node there, else where the most
    /// see it.
    pub(super) fn reach_address(&self) -> Option<SocketAddr> {
        let seen = self.observations.reflexive();
        let forwarded = self.mapped.iter().find(|at| seen.iter().any(|(seen, _)| seen.ip() == at.ip()));
        forwarded.copied().or_else(|| seen.first().map(|(at, _)| *at))
    }

    fn ask_again(&mut self, core: &mut Core, now: Instant) {
        for (link, (at, answered)) in &mut self.asked {
            let wait = if *answered { ASK_AGAIN } else { ASK_SOON };
            if now.saturating_duration_since(*at) >= wait {
                *at = now;
                core.links.observe(*link);
            }
        }
    }

    fn keep_introducers(&mut self, core: &mut Core, now: Instant) {
        let (Some(own), true, Some(network)) = (self.own, self.config.keep_introducers, core.network.clone()) else {
            return;
        };
        let mut linked = 0;
        for id in introducers(&network, &own, TRIED) {
            if linked >= INTRODUCERS {
                break;
            }
            let up = link_to(core, &network, &id).is_some_and(|link| core.links.is_up(link));
            linked += usize::from(up);
            if !up && !self.paused.contains_key(&id) && self.connect(core, now, &id).is_some() {
                linked += 1;
            }
        }
    }

    /// Opens a link to a relay that is not reached through others.
    pub(super) fn connect(&mut self, core: &mut Core, now: Instant, id: &RelayId) -> Option<LinkId> {
        let link = core.connect(now, id)?.ok()?;
        if !core.links.is_up(link) && !self.entries.is_empty() && !self.entries.contains(id) {
            // Where UDP is blocked nobody can be linked to directly.
            self.begin(now, link, *id);
        }
        // Else no attempt: who is to help reaching others must be reachable itself.
        if !core.links.is_up(link) && self.openings.len() < 1024 {
            let opening = Opening { peer: *id, wanted: now, up: None, direct: None, found: None };
            self.openings.entry(link).or_insert(opening);
        }
        core.opening.retain(|(opened, _)| *opened != link);
        Some(link)
    }
}

#[cfg(test)]
impl Nat {
    pub(crate) fn flows_passed_on(&self) -> usize {
        self.between.flows()
    }

    pub(crate) fn routes(&self) -> usize {
        self.routes.len()
    }

    /// Where those are seen that this node answers.
    pub(crate) fn answered_at(&self) -> Vec<Option<SocketAddr>> {
        self.attempts.values().filter(|attempt| attempt.is_of_other()).map(|attempt| attempt.seen).collect()
    }
}

/// Whether the peer has proven the link key of the relay that it says it is.
fn is_relay(core: &Core, info: &LinkPeerInfo) -> bool {
    let relay = || core.network.as_ref()?.relay(&relay_id(&info.identity?)).map(|relay| relay.descriptor().link_key());
    info.link_key.is_some() && relay() == info.link_key
}

/// The link to a relay, up or not.
pub(super) fn link_to(core: &Core, network: &Network, id: &RelayId) -> Option<LinkId> {
    core.links.link_to(&network.relay(id)?.link_peer())
}

/// Whether two addresses are at the same host, as far as can be said from outside.
pub(super) fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    if is_private(a.ip()) && a.ip().is_loopback() { a == b } else { a.ip() == b.ip() }
}

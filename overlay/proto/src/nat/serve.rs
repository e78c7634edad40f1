//! What arrives: signals, probes and relayed datagrams; and what a relay does for others by them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::candidate::may_be_probed;
use super::machine::{Nat, REACH_TICK, UPKEEP, link_to, same_host};
use super::probe::{Probe, Said};
use super::reach::{ReachRequest, Reachability, Situation, reached};
use super::signalling::OverLinks;
use crate::directory::Network;
use crate::keys::relay_id;
use crate::link::{LinkId, route};
use crate::node::core::Core;
use crate::relay::neighbour::Class;
use crate::wire::datagram::{Header, Kind, RELAYED_LEN};
use crate::wire::frame::signal::{SIGNAL_LEN, Signal, SignalKind};

/// A probe for another relay is sent once more after this time.
const ONCE_MORE: Duration = Duration::from_millis(300);
/// Such probes that wait, at most.
const MAX_LATER: usize = 64;

impl Nat {
    /// A signal has come over a link.
    pub(crate) fn handle_signal(&mut self, core: &mut Core, now: Instant, link: LinkId, bytes: &[u8; SIGNAL_LEN]) {
        let Some(signal) = Signal::read(bytes) else { return };
        match signal.kind {
            SignalKind::Offer => self.pass_offer(core, now, link, &signal),
            SignalKind::Answer => self.pass_answer(core, now, link, &signal),
            SignalKind::Reach => self.pass_reach(core, now, link, &signal),
            SignalKind::Probe => self.do_favour(core, now, link, &signal),
            // Only from relays of the network document: others were asked for nothing.
            SignalKind::Offered if known(core, link) => self.on_offered(core, now, link, &signal),
            SignalKind::Answered if known(core, link) => self.on_answered(core, now, link, &signal),
            SignalKind::Refused => self.on_refused(now, link, signal.flow),
            SignalKind::FlowClosed => self.flow_closed(core, link, signal.flow),
            SignalKind::Offered | SignalKind::Answered => {}
        }
    }

    fn pass_offer(&mut self, core: &mut Core, now: Instant, asker: LinkId, signal: &Signal) {
        // Its rate first: an offer that is too much costs nothing.
        let target = if self.between.admits(now, asker) {
            let network = core.network.clone().filter(|_| self.own.is_some_and(|own| own.0 != signal.peer));
            network.and_then(|network| self.link_for(core, now, &network, asker, &RelayId(signal.peer)))
        } else {
            None
        };
        let passed = target
            .and_then(|target| Some((target, self.between.offer(now, asker, signal.flow, target, &mut self.rng)?)));
        let Some((target, passed)) = passed else {
            let refused = Signal::new(SignalKind::Refused, signal.peer, signal.flow);
            return OverLinks(&mut core.links).send(now, asker, &refused);
        };
        let (kind, address) = (SignalKind::Offered, seen(core, asker));
        let on = Signal { kind, peer: passed.ticket, flow: passed.flow, address, body: signal.body };
        OverLinks(&mut core.links).send(now, target, &on);
    }

    /// The link by which a relay is told of an offer: the one that is there, or a new one to a relay that can be linked to.
    /// For all strangers together one is opened in a second.
    fn link_for(
        &mut self,
        core: &mut Core,
        now: Instant,
        network: &Network,
        asker: LinkId,
        id: &RelayId,
    ) -> Option<LinkId> {
        let there = link_to(core, network, id);
        let able = || network.relay(id).is_some_and(|relay| relay.info().meeting);
        if there.is_some_and(|link| core.links.is_up(link)) {
            return there;
        }
        // The offer waits for the link to come up.
        let may_open = able() && (there.is_some() || known(core, asker) || self.opened.take(now));
        may_open.then(|| self.connect(core, now, id)).flatten()
    }

    fn pass_answer(&mut self, core: &mut Core, now: Instant, from: LinkId, signal: &Signal) {
        let Some(passed) = self.between.answer(now, from, signal.peer, &mut self.rng) else { return };
        for (link, flow) in &passed.closed {
            self.close_flow(core, now, *link, *flow);
        }
        let mut peer = [0; 16];
        peer[..4].copy_from_slice(&passed.attempt.to_be_bytes());
        let (kind, address) = (SignalKind::Answered, seen(core, from));
        let on = Signal { kind, peer, flow: passed.flow, address, body: signal.body };
        OverLinks(&mut core.links).send(now, passed.asker, &on);
    }

    pub(super) fn close_flow(&mut self, core: &mut Core, now: Instant, link: LinkId, flow: u32) {
        OverLinks(&mut core.links).send(now, link, &Signal::new(SignalKind::FlowClosed, [0; 16], flow));
    }

    /// A relay asks to be probed by another one.
    fn pass_reach(&mut self, core: &mut Core, now: Instant, asker: LinkId, signal: &Signal) {
        let (Some(own), Some(network)) = (self.own, core.network.clone()) else { return };
        let Some(request) = ReachRequest::read(&signal.body).filter(|_| known(core, asker)) else { return };
        let Some(seen) = seen(core, asker).filter(|_| self.favours.take(now)) else { return };
        let asking = core.links.peer(asker).and_then(|info| info.identity).map(|identity| relay_id(&identity));
        let able: Vec<RelayId> = network
            .relays()
            .iter()
            .map(|relay| (relay.id(), relay.info().meeting))
            .filter(|(id, able)| *able && *id != own && Some(*id) != asking && !request.excluded.contains(id))
            .map(|(id, _)| id)
            .collect();
        if able.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.next_u64() % able.len() as u64).unwrap_or(0);
        // Another port of the same address may be asked for: one that the asker's router forwards.
        let address = signal.address.filter(|claim| claim.ip() == seen.ip()).unwrap_or(seen);
        if let Some(other) = able.get(at).and_then(|id| self.connect(core, now, id)) {
            let on = Signal { kind: SignalKind::Probe, address: Some(address), ..signal.clone() };
            OverLinks(&mut core.links).send(now, other, &on);
        }
    }

    /// Another relay asks for a probe to somebody.
    fn do_favour(&mut self, core: &mut Core, now: Instant, from: LinkId, signal: &Signal) {
        // Only where everybody can be reached: not in the network that this node stands in.
        let usable = |to: &SocketAddr| !route::is_made_up(*to) && may_be_probed(to.ip(), false, anywhere(core));
        let (Some(own), Some(to)) = (self.own, signal.address.filter(usable)) else { return };
        let Some(request) = ReachRequest::read(&signal.body).filter(|_| known(core, from)) else { return };
        if self.favours.take(now) && self.later.len() < MAX_LATER {
            let probe = reached(&request, own, &mut self.rng);
            core.links.send_raw(now, to, &probe);
            self.later.push((now + ONCE_MORE, to, probe));
        }
    }

    /// Asks for probes to this node, and sends those for others once more.
    pub(super) fn step_reach(&mut self, core: &mut Core, now: Instant) {
        let due: Vec<_> = self.later.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, to, probe) in due {
            core.links.send_raw(now, to, &probe);
        }
        if now >= self.reach_at {
            self.look_at_reach(core, now);
            let settled = self.reach.state() != Reachability::Asking;
            self.reach_at = now + if settled { UPKEEP } else { REACH_TICK };
        }
    }

    fn look_at_reach(&mut self, core: &mut Core, now: Instant) {
        let (Some(own), true, Some(network)) = (self.own, self.config.keep_introducers, core.network.clone()) else {
            return;
        };
        let Some(address) = self.reach_address() else { return };
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let mut linked: Vec<(RelayId, LinkId)> = core
            .links
            .peers()
            .filter_map(|(link, info)| Some((relay_id(&info.identity?), link)))
            .filter(|(id, _)| network.relay(id).is_some())
            .collect();
        let excluded: BTreeSet<RelayId> = linked.iter().map(|(id, _)| *id).collect();
        let able = |id: RelayId| id != own && !excluded.contains(&id);
        let others = network.relays().iter().filter(|relay| relay.info().meeting && able(relay.id())).count();
        let port = self.observations.local().first().map_or(0, SocketAddr::port);
        // Those that have said where they see this node.
        linked.retain(|(_, link)| self.observations.seen_by(*link).is_some() && core.links.is_up(*link));
        let able: Vec<RelayId> = linked.iter().map(|(id, _)| *id).collect();
        let situation = Situation { address, port, others, able: &able, excluded: &excluded };
        let before = self.reach.state();
        let request = self.reach.poll(now, &situation, &mut self.rng);
        self.news |= self.reach.state() != before;
        let Some((asked, request)) = request else { return };
        if let Some((_, link)) = linked.iter().find(|(id, _)| *id == asked) {
            let mut signal = Signal::new(SignalKind::Reach, own.0, 0);
            (signal.body, signal.address) = (request.to_body(), Some(address));
            OverLinks(&mut core.links).send(now, *link, &signal);
        }
    }

    /// A probe has come, from anybody.
    pub(crate) fn handle_probe(&mut self, core: &mut Core, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Some(probe) = Probe::read(datagram) else { return };
        if probe.said != Said::Reached {
            return self.on_probe(core, now, from, &probe, datagram);
        }
        if self.reach.is_for(&probe) {
            let stranger = self.is_stranger(core, from, RelayId(probe.relay));
            self.news |= self.reach.handle(&probe, datagram, stranger);
        }
    }

    /// Whether the relay `id` is at `from`, and this node has sent nothing there.
    fn is_stranger(&self, core: &Core, from: SocketAddr, id: RelayId) -> bool {
        let at_home = core
            .network
            .as_ref()
            .and_then(|network| network.relay(&id))
            .is_some_and(|relay| relay.info().addresses.iter().any(|address| same_host(*address, from)));
        let met = core.links.peers().filter_map(|(link, _)| core.links.address(link)).any(|at| same_host(at, from));
        at_home && !met
    }

    /// A relayed datagram has come. Passes it on, or says where the one inside is and from which address it is as good as.
    pub(crate) fn handle_relayed(
        &mut self,
        core: &mut Core,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<(SocketAddr, Range<usize>)> {
        let header = Header::read(datagram).ok().filter(|header| header.kind == Kind::Relayed)?;
        if let Some(end) = self.used_route(core, now, from, header.index) {
            return Some((end, RELAYED_LEN..datagram.len()));
        }
        let owner = self.between.owner(header.index)?;
        if core.links.address(owner) != Some(from) {
            return None;
        }
        let (link, flow) = self.between.pass(now, header.index, datagram.len())?;
        let to = core.links.address(link)?;
        core.links.pass_on(now, to, flow, &datagram[RELAYED_LEN..]);
        None
    }
}

/// Whether the peer is a relay of the network document.
fn known(core: &Core, link: LinkId) -> bool {
    core.neighbours.class(link) == Class::Known || core.links.peer(link).is_some_and(|info| info.initiator)
}

/// Whether addresses that are not public may be probed.
pub(super) fn anywhere(core: &Core) -> bool {
    core.network.as_ref().is_some_and(|network| network.is_test_network())
}

/// Where the peer of a link is, if that is a place in the network.
fn seen(core: &Core, link: LinkId) -> Option<SocketAddr> {
    core.links.address(link).filter(|at| !route::is_made_up(*at))
}

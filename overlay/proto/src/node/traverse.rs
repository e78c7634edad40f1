//! How a node reaches others that cannot be linked to directly; the machine itself is in [`crate::nat`].

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use zmesh_sphinx::RelayId;

use super::Node;
use super::api::{BuildError, Event};
use super::job::Work;
use crate::link::LinkId;
use crate::link::route::is_carried;
use crate::nat::{Nat, NatReport, Way};
use crate::relay::Relay;
use crate::wire::datagram::Kind;
use crate::wire::frame::signal::SIGNAL_LEN;

impl Node {
    /// Addresses of this machine's interfaces, each with the port that the data socket is bound to.
    pub fn set_local_addresses(&mut self, addresses: Vec<SocketAddr>) {
        if let Some(nat) = &mut self.nat {
            nat.set_local(addresses);
        }
    }

    /// Ports that the router forwards to the data socket.
    pub fn set_mapped_addresses(&mut self, addresses: Vec<SocketAddr>) {
        if let Some(nat) = &mut self.nat {
            nat.set_mapped(addresses);
        }
    }

    /// What this node knows of how it is seen; nothing on a node that is not told to find out.
    #[must_use]
    pub fn nat_report(&self) -> NatReport {
        self.nat.as_ref().map(|nat| nat.report(&self.core)).unwrap_or_default()
    }

    /// Opens a link to a relay before any circuit needs it, or finds the one that is there.
    ///
    /// # Errors
    /// [`BuildError::NoNetwork`], [`BuildError::UnknownRelay`], [`BuildError::Link`].
    pub fn open_link(&mut self, now: Instant, to: &RelayId) -> Result<(), BuildError> {
        self.now = now;
        if self.core.network.is_none() {
            return Err(BuildError::NoNetwork);
        }
        let link = self.core.connect(now, to).ok_or(BuildError::UnknownRelay(0))?;
        link.map(drop).map_err(BuildError::Link)
    }

    /// A carrier that is not UDP leads to a relay now; `address` stands for the connection. The link to that relay goes
    /// there, and others are reached through it.
    ///
    /// # Errors
    /// As [`open_link`](Self::open_link).
    pub fn use_carrier(&mut self, now: Instant, to: &RelayId, address: SocketAddr) -> Result<(), BuildError> {
        self.open_link(now, to)?;
        let peer = self.core.network.as_ref().and_then(|network| network.relay(to)).map(|relay| relay.link_peer());
        let link = peer.and_then(|peer| self.core.links.link_to(&peer));
        if let (Some(link), Some(nat)) = (link, &mut self.nat) {
            self.core.opening.retain(|(opened, _)| *opened != link);
            nat.entry(*to);
            self.core.links.reach(now, link, address);
        }
        Ok(())
    }

    /// TCP connections to others are opened from this port of this machine.
    pub fn set_stream_port(&mut self, port: u16) {
        if let Some(nat) = &mut self.nat {
            nat.set_stream_port(port);
        }
    }

    /// The next TCP connection to begin, from that port: for which attempt, and where to. It is given up after
    /// [`STREAM_PATIENCE`](crate::nat::punch::STREAM_PATIENCE).
    pub fn poll_connect(&mut self) -> Option<(u32, SocketAddr)> {
        self.nat.as_mut()?.poll_connect()
    }

    /// The connection that `attempt` wanted is there; `address` stands for it.
    pub fn connected(&mut self, now: Instant, attempt: u32, address: SocketAddr) {
        self.now = now;
        if let Some(nat) = &mut self.nat {
            nat.on_connected(&mut self.core, now, attempt, address);
        }
    }

    /// Whether links have been wanted for a while and none is up by UDP: something in between may let no UDP through.
    #[must_use]
    pub fn is_cut_off(&self, now: Instant) -> bool {
        self.nat.as_ref().is_some_and(|nat| nat.is_cut_off(&self.core, now))
    }

    /// Links that are up by a connection to a relay that serves such.
    #[must_use]
    pub fn carried_links(&self) -> usize {
        let carried = |(link, _)| self.core.links.address(link).is_some_and(is_carried);
        self.core.links.peers().filter(|(link, _)| self.core.links.is_up(*link)).filter(|peer| carried(*peer)).count()
    }

    /// Whether a link goes by the carrier's connection that this address stands for.
    #[must_use]
    pub fn carries_link(&self, address: SocketAddr) -> bool {
        let mut peers = self.core.links.peers();
        peers.any(|(link, _)| self.core.links.address(link) == Some(address) && self.core.links.is_up(link))
    }

    /// How the link to a relay goes; `None` when there is none.
    #[must_use]
    pub fn way_to(&self, to: &RelayId) -> Option<Way> {
        let peer = self.core.network.as_ref()?.relay(to)?.link_peer();
        self.nat.as_ref()?.way(&self.core, self.core.links.link_to(&peer)?)
    }

    /// Looks at what belongs to no link of this node. `None` when that is all; else which part of the datagram goes on to
    /// the links, and where it is as good as from.
    pub(super) fn sort(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<(SocketAddr, Range<usize>)> {
        let all = Some((from, 0..datagram.len()));
        let Some(nat) = &mut self.nat else { return all };
        match datagram.first() {
            Some(&kind) if kind == Kind::Probe as u8 => {
                nat.handle_probe(&mut self.core, now, from, datagram);
                None
            }
            Some(&kind) if kind == Kind::Relayed as u8 => {
                let (mut from, mut part) = nat.handle_relayed(&mut self.core, now, from, datagram)?;
                // What is inside may itself be relayed, once: the node between is reached through another.
                if datagram[part.start] == Kind::Relayed as u8 {
                    let (at, inner) = nat.handle_relayed(&mut self.core, now, from, &datagram[part.clone()])?;
                    (from, part) = (at, part.start + inner.start..part.start + inner.end);
                }
                if datagram[part.start] == Kind::Probe as u8 {
                    nat.handle_probe(&mut self.core, now, from, &datagram[part]);
                    return None;
                }
                Some((from, part))
            }
            _ => all,
        }
    }

    pub(super) fn handle_signal(&mut self, now: Instant, link: LinkId, signal: &[u8; SIGNAL_LEN]) {
        if let Some(nat) = &mut self.nat {
            nat.handle_signal(&mut self.core, now, link, signal);
        }
    }

    pub(super) fn handle_observed(&mut self, now: Instant, link: LinkId, seen: SocketAddr) {
        if let Some(nat) = &mut self.nat {
            nat.observed(&self.core, now, link, seen);
        }
    }

    pub(super) fn nat_link_up(&mut self, now: Instant, link: LinkId) {
        if let Some(nat) = &mut self.nat {
            nat.link_up(&mut self.core, now, link);
        }
    }

    pub(super) fn nat_link_down(&mut self, now: Instant, link: LinkId) {
        if let Some(nat) = &mut self.nat {
            nat.link_down(&mut self.core, now, link);
        }
    }

    /// Takes up what the layers above have asked for since the last call, and does what is due.
    pub(super) fn traverse(&mut self, now: Instant) {
        let opening = std::mem::take(&mut self.core.opening);
        let Some(nat) = &mut self.nat else {
            self.core.exchanges.clear();
            return;
        };
        for (link, peer) in opening {
            if !self.core.links.is_up(link) {
                nat.opening(now, link, peer);
            }
        }
        nat.note_moves(&self.core, now);
        self.own_work.extend(self.core.exchanges.drain(..).map(Work::Exchange));
        if nat.take_news() {
            self.core.tell(Event::NatChanged);
        }
    }

    pub(super) fn nat_timeout(&mut self, now: Instant) {
        if let Some(nat) = &mut self.nat
            && nat.next_timeout() <= now
        {
            nat.handle_timeout(&mut self.core, now);
        }
    }

    pub(super) fn nat_due(&self) -> Option<Instant> {
        self.nat.as_ref().map(|nat| nat.next_timeout())
    }

    /// A node's part for reaching others, if it is told to.
    pub(super) fn nat_of(
        config: Option<crate::nat::NatConfig>,
        relay: Option<&Relay>,
        core: &mut super::core::Core,
        now: Instant,
    ) -> Option<Box<Nat>> {
        config.map(|config| Box::new(Nat::new(config, relay.map(|relay| *relay.id()), core.fork_rng(), now)))
    }
}

#[cfg(test)]
impl Node {
    /// Where the link to a relay goes.
    pub(super) fn guard_link_address(&self, to: &RelayId) -> Option<SocketAddr> {
        let peer = self.core.network.as_ref()?.relay(to)?.link_peer();
        self.core.links.address(self.core.links.link_to(&peer)?)
    }

    /// Flows of others that this node passes on.
    pub(super) fn flows_passed_on(&self) -> usize {
        self.nat.as_ref().map_or(0, |nat| nat.flows_passed_on())
    }
}

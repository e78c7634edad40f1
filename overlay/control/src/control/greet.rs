//! Peers come, greet, and go.

use std::collections::{BTreeSet, HashMap};

use libp2p::core::ConnectedPoint;
use libp2p::request_response::{self, OutboundFailure};
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, identify};

use super::{Control, Door, Peer, Seen};
use crate::address::{self, Direct};
use crate::book::RELAYS_OF_ONE;
use crate::event::Event;
use crate::framing::{Answered, Asked};
use crate::hello::{self, Claims, HelloError};
use crate::limits::{ADDRESSES, HELLO_MAX};
use crate::meter::Meter;
use crate::reputation::Deed;
use crate::{PeerIdentity, clock, gate};

/// Greetings of a peer while it is connected: one for each connection of both, and one to spare.
const GREETINGS: u32 = 4;
/// Addresses by which one peer is known when it comes again.
const DOORS: usize = 4;
/// The protocol of those that carry connections for others.
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

impl Control {
    pub(super) fn connected(&mut self, id: PeerId, connection: ConnectionId, point: &ConnectedPoint) {
        if PeerIdentity::of(&id).is_none() {
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        }
        let remote = point.get_remote_address();
        let (limits, now) = (&self.limits, clock::now());
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(Meter::new(limits, now), now));
        let first = peer.connections.is_empty();
        let relayed = point.is_relayed();
        // What both punched through to each other is an address for these two, and for nobody else.
        let punched = !relayed && peer.connections.values().any(|seen| seen.relayed);
        let ip = address::ip(remote).filter(|_| !relayed);
        peer.connections.insert(connection, Seen { ip, inbound: point.is_listener(), relayed });
        // A test network has all nodes at one address.
        let door = ip.filter(|_| !self.test_network).map_or(Door::Peer(id), |ip| Door::Area(gate::area(ip)));
        if peer.doors.len() < DOORS && peer.doors.insert(door) {
            self.left.charge(&door, &mut peer.meter, now);
        }
        if point.is_dialer() {
            if relayed {
                peer.met_at = address::relay_of(remote).into_iter().collect();
            } else if let Some(direct) = address::direct(remote).filter(|_| !punched) {
                peer.learn(direct);
            }
            if peer.claims.is_none() {
                let greeting = hello::encode(&self.network, &self.claims);
                self.swarm.behaviour_mut().hello.send_request(&id, Asked::new(greeting, HELLO_MAX));
            } else {
                self.remember(&id);
            }
        }
        if first && let Some(identity) = PeerIdentity::of(&id) {
            let points = self.book.points(&identity, clock::unix_seconds());
            self.show_points(&id, points);
        }
    }

    pub(super) fn closed(&mut self, id: &PeerId, connection: ConnectionId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.connections.remove(&connection);
        if !peer.connections.is_empty() {
            return;
        }
        let Some(peer) = self.peers.remove(id) else { return };
        for door in peer.doors {
            self.left.leave(door, peer.meter, clock::now());
        }
        if peer.claims.is_some()
            && let Some(peer) = PeerIdentity::of(id)
        {
            self.tell(Event::PeerDown { peer });
        }
        self.reservation_lost(id);
    }

    pub(super) fn handle_hello(&mut self, event: request_response::Event<Asked, Answered>) {
        use request_response::{Event, Message};
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request { request, channel, .. } => {
                    if self.may_greet(&peer) && self.greeted(peer, &request.bytes) {
                        let greeting = hello::encode(&self.network, &self.claims);
                        // Fails when the connection is over, which is told separately.
                        let _ = self.swarm.behaviour_mut().hello.send_response(channel, Answered::new(greeting));
                    }
                }
                Message::Response { response, .. } => {
                    self.greeted(peer, &response);
                }
            },
            Event::OutboundFailure { peer, error, .. } => {
                // Who does not know the protocol is of another network, or none of us.
                if matches!(error, OutboundFailure::UnsupportedProtocols) && !self.has_greeted(&peer) {
                    let _ = self.swarm.disconnect_peer_id(peer);
                }
            }
            Event::InboundFailure { .. } | Event::ResponseSent { .. } => {}
        }
    }

    /// Counts a greeting. Each costs a look at proofs, and an answer: who greets without end does it for that.
    fn may_greet(&mut self, id: &PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(id) else { return false };
        peer.greetings = peer.greetings.saturating_add(1);
        if peer.greetings <= GREETINGS {
            return true;
        }
        self.deed(id, Deed::Rude);
        false
    }

    /// Takes a greeting; false if the peer is not welcome.
    fn greeted(&mut self, id: PeerId, bytes: &[u8]) -> bool {
        match hello::decode(&self.network, bytes) {
            Ok(claims) => {
                let Some(peer) = self.peers.get_mut(&id) else { return false };
                let again = peer.claims.replace(claims.clone()).is_some();
                self.remember(&id);
                if !again && let Some(peer) = PeerIdentity::of(&id) {
                    self.tell(Event::PeerUp { peer, claims });
                }
                true
            }
            Err(error) => {
                if !matches!(error, HelloError::Version(_)) {
                    self.deed(&id, Deed::Rude);
                }
                let _ = self.swarm.disconnect_peer_id(id);
                false
            }
        }
    }

    /// What a peer tells of its addresses counts where it is seen to be: nobody can have us call on others.
    pub(super) fn identified(&mut self, id: PeerId, info: &identify::Info) {
        if info.protocol_version != self.names.family() {
            return;
        }
        let (anywhere, kad) = (self.test_network, self.names.protocol("kad"));
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.routes = info.protocols.contains(&kad);
        peer.relays = info.protocols.iter().any(|protocol| protocol.as_ref() == HOP);
        for direct in info.listen_addrs.iter().take(16).filter_map(address::direct) {
            let ip = direct.address.ip();
            let there = peer.connections.values().any(|seen| seen.ip == Some(ip));
            if there && (anywhere || address::is_public(ip)) {
                peer.learn(direct);
            }
        }
        peer.met_at.clear();
        for relay in info.listen_addrs.iter().take(16).filter_map(address::relay_of) {
            if peer.met_at.len() < RELAYS_OF_ONE && !peer.met_at.contains(&relay) {
                peer.met_at.push(relay);
            }
        }
        self.remember(&id);
    }

    /// Keeps what is known of a peer that has greeted and lasts; so often, and no more often if it has more to say.
    fn remember(&mut self, id: &PeerId) {
        let now = clock::unix_seconds();
        let (Some(peer), Some(identity)) = (self.peers.get_mut(id), PeerIdentity::of(id)) else { return };
        if !peer.claims.as_ref().is_some_and(|claims| claims.lasting) || !peer.meter.news(clock::now()) {
            return;
        }
        let (routes, met_at) = (peer.routes, peer.met_at.clone());
        for direct in peer.addresses.clone().into_iter().rev() {
            if self.book.met(identity, direct, now) && routes {
                self.swarm.behaviour_mut().kad.add_address(id, direct.multiaddr());
            }
        }
        self.remember_relays(id, identity, &met_at, routes);
    }

    /// Keeps at which relays a peer can be met, and tells others who look for it; and that it is at no others.
    fn remember_relays(&mut self, id: &PeerId, identity: PeerIdentity, told: &[PeerIdentity], routes: bool) {
        let now = clock::unix_seconds();
        for (relay, at) in self.book.relays_of(&identity, now) {
            if told.contains(&relay) {
                continue;
            }
            self.book.left_relay(&identity, &relay);
            if let Some(gone) = address::way((relay, at)) {
                self.swarm.behaviour_mut().kad.remove_address(id, &gone);
            }
        }
        let peers = &self.peers;
        let connected = |peer: &PeerIdentity| peer.peer_id().is_some_and(|id| peers.contains_key(&id));
        for relay in told {
            self.book.met_at_relay(identity, *relay, now, connected);
        }
        if routes {
            for way in self.book.relays_of(&identity, now).into_iter().filter_map(address::way) {
                self.swarm.behaviour_mut().kad.add_address(id, way);
            }
        }
    }

    pub(super) fn has_greeted(&self, id: &PeerId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.claims.is_some())
    }
}

impl Peer {
    fn new(meter: Meter, since: std::time::Instant) -> Self {
        Self {
            since,
            connections: HashMap::new(),
            addresses: Vec::new(),
            claims: None::<Claims>,
            routes: false,
            relays: false,
            met_at: Vec::new(),
            meter,
            doors: BTreeSet::new(),
            greetings: 0,
        }
    }

    fn learn(&mut self, direct: Direct) {
        if !self.addresses.contains(&direct) && self.addresses.len() < ADDRESSES {
            self.addresses.push(direct);
        }
    }
}

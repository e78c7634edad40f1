//! What a node does by itself each second: keep enough peers, end what drags on, write down what it learnt.

use std::time::Duration;

use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::crowd::{self, Guest};
use super::{Control, Reservation};
use crate::gate;
use crate::limits::HELLO_TIME;
use crate::mapping::Mapped;
use crate::reputation::{Consequence, Deed};
use crate::{PeerIdentity, address, clock};

/// Known peers called in one second.
const CALLS: usize = 4;
/// The longest pause between calls to a contact of the operator.
const PAUSE_LONGEST: Duration = Duration::from_secs(120);
/// Seconds between writes to the store.
const FLUSH_EVERY: u64 = 10;
/// Seconds between looks for more peers, while there are too few.
const LOOK_EVERY: u64 = 10;
/// How long a node waits for others to confirm an address before it looks for a relay to be met at.
const CONFIRM_TIME: Duration = Duration::from_secs(30);
/// Places for those who call that are kept free, by seeing somebody off.
const FREE: u32 = 4;

impl Control {
    pub(super) fn upkeep(&mut self) {
        self.ticks += 1;
        self.end_silence();
        self.make_room();
        self.lift_bans();
        self.seek_peers();
        if self.kind.lasting && self.listens {
            self.be_met();
        }
        if self.ticks.is_multiple_of(FLUSH_EVERY)
            && let Err(error) = self.flush()
        {
            tracing::warn!("what is known of peers cannot be kept: {error}");
        }
    }

    /// Notes what a peer did, and acts on it.
    pub(super) fn deed(&mut self, id: &PeerId, deed: Deed) {
        let (Some(identity), now) = (PeerIdentity::of(id), clock::unix_seconds()) else { return };
        let consequence = self.book.note(identity, deed, now);
        let points = self.book.points(&identity, now);
        self.show_points(id, points);
        match consequence {
            Consequence::Nothing => {}
            Consequence::Cut => {
                self.status.cut += 1;
                let _ = self.swarm.disconnect_peer_id(*id);
            }
            Consequence::Ban(_) => {
                self.status.banned += 1;
                let from: Vec<_> = self
                    .peers
                    .get(id)
                    .map(|peer| peer.connections.values().filter_map(|seen| seen.ip).collect())
                    .unwrap_or_default();
                let plane = self.swarm.behaviour_mut();
                for ip in from {
                    plane.gate.strike(ip);
                }
                plane.kad.remove_peer(id);
                // Ends its connections as well.
                plane.bans.block_peer(*id);
            }
        }
    }

    /// Gossip prefers peers by these points.
    pub(super) fn show_points(&mut self, id: &PeerId, points: f32) {
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.set_application_score(id, f64::from(points));
        }
    }

    /// Ends connections with peers that do not greet.
    fn end_silence(&mut self) {
        let now = clock::now();
        let silent: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.claims.is_none() && now.saturating_duration_since(peer.since) > HELLO_TIME)
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            self.deed(&id, Deed::Rude);
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    /// Sees off who has to go so that there is a place for whoever comes next.
    fn make_room(&mut self) {
        let taken = self.swarm.network_info().connection_counters().num_established_incoming();
        let over = (taken + FREE).saturating_sub(self.limits.inbound).min(FREE);
        if over == 0 {
            return;
        }
        let now = clock::unix_seconds();
        let mut guests: Vec<Guest<PeerId>> = self
            .peers
            .iter()
            .filter_map(|(id, peer)| {
                let ip = peer.connections.values().filter(|seen| seen.inbound).find_map(|seen| seen.ip)?;
                Some(Guest {
                    id: *id,
                    network: gate::network(ip),
                    greeted: peer.claims.is_some(),
                    lasting: peer.claims.as_ref().is_some_and(|claims| claims.lasting),
                    points: PeerIdentity::of(id).map_or(0.0, |identity| self.book.points(&identity, now)),
                    since: peer.since,
                })
            })
            .collect();
        for _ in 0..over {
            let Some(id) = crowd::first_to_go(&guests) else { return };
            guests.retain(|guest| guest.id != id);
            self.status.seen_off += 1;
            let _ = self.swarm.disconnect_peer_id(id);
        }
    }

    fn lift_bans(&mut self) {
        let now = clock::unix_seconds();
        let over: Vec<PeerId> = self
            .swarm
            .behaviour()
            .bans
            .blocked_peers()
            .iter()
            .filter(|id| PeerIdentity::of(id).is_none_or(|identity| !self.book.is_banned(&identity, now)))
            .copied()
            .collect();
        for id in over {
            self.swarm.behaviour_mut().bans.unblock_peer(id);
        }
    }

    /// Calls contacts and known peers until enough are connected, and asks those for more.
    fn seek_peers(&mut self) {
        let greeted = self.peers.values().filter(|peer| peer.claims.is_some()).count();
        if greeted >= self.limits.wanted_peers {
            return;
        }
        let now = clock::unix_seconds();
        let peers = &self.peers;
        let own = self.identity();
        let chosen = self.book.candidates(CALLS, now, |identity| {
            *identity == own || identity.peer_id().is_none_or(|id| peers.contains_key(&id))
        });
        for (identity, addresses) in chosen {
            if let Some(id) = identity.peer_id() {
                let addresses = addresses.into_iter().map(address::Direct::multiaddr).collect();
                self.dial(
                    DialOpts::peer_id(id)
                        .condition(PeerCondition::DisconnectedAndNotDialing)
                        .addresses(addresses)
                        .build(),
                );
            }
        }
        // The operator's contacts only while one is alone: they are the same for all, and should not carry all.
        if greeted == 0 {
            self.call_contacts();
        }
        if greeted > 0 && self.kind.lasting && self.ticks % LOOK_EVERY == 2 {
            let _ = self.swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
        }
    }

    fn call_contacts(&mut self) {
        let (now, own) = (clock::now(), self.identity());
        let mut due = Vec::new();
        for (contact, retry) in &mut self.bootstrap {
            if now >= retry.at && contact.identity != Some(own) {
                due.push(*contact);
                retry.pause = (retry.pause * 2).min(PAUSE_LONGEST);
                retry.at = now + retry.pause;
            }
        }
        for contact in due {
            let addresses = address::both(contact.address);
            match contact.identity.and_then(|identity| identity.peer_id()) {
                Some(id) => self.dial(DialOpts::peer_id(id).addresses(addresses).build()),
                None => {
                    for multiaddr in addresses {
                        self.dial(DialOpts::unknown_peer_id().address(multiaddr).build());
                    }
                }
            }
        }
    }

    pub(super) fn dial(&mut self, opts: DialOpts) {
        // Refused when it is under way already, banned, or over a limit; the next tick tries again.
        let _ = self.swarm.dial(opts);
    }

    /// A node that nobody can reach directly can be met at a relay.
    fn be_met(&mut self) {
        let reachable = self.swarm.external_addresses().any(|known| address::direct(known).is_some());
        let waited = clock::now().saturating_duration_since(self.started) > CONFIRM_TIME;
        if reachable {
            if let Reservation::At(listener, _) = std::mem::replace(&mut self.reservation, Reservation::None) {
                self.swarm.remove_listener(listener);
            }
            return;
        }
        if waited && matches!(self.reservation, Reservation::None) {
            self.reserve();
        }
    }

    /// Asks a connected peer that relays for a place.
    pub(super) fn reserve(&mut self) {
        let relay = self.peers.iter().find(|(_, peer)| peer.relays && !peer.addresses.is_empty());
        let Some((id, direct)) = relay.and_then(|(id, peer)| Some((*id, *peer.addresses.first()?))) else { return };
        let at: Multiaddr = direct.multiaddr().with(Protocol::P2p(id)).with(Protocol::P2pCircuit);
        if let Ok(listener) = self.swarm.listen_on(at) {
            self.reservation = Reservation::At(listener, id);
        }
    }

    pub(super) fn listener_closed(&mut self, closed: ListenerId) {
        if matches!(self.reservation, Reservation::At(listener, _) if listener == closed) {
            self.reservation = Reservation::None;
        }
    }

    pub(super) fn reservation_lost(&mut self, id: &PeerId) {
        if let Reservation::At(listener, relay) = self.reservation
            && relay == *id
        {
            self.swarm.remove_listener(listener);
            self.reservation = Reservation::None;
        }
    }

    pub(super) fn port_mapped(&mut self, mapped: Mapped) {
        let multiaddr = if mapped.quic { address::quic(mapped.external) } else { address::tcp(mapped.external) };
        // A router may say anything: others have to confirm it.
        self.swarm.behaviour_mut().gate.suggest(multiaddr);
    }
}

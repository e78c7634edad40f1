//! What a node does by itself each second: keep enough peers, end what drags on, write down what it learnt.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::behaviour::NewExternalAddrCandidate;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{FromSwarm, NetworkBehaviour as _};

use super::Control;
use super::crowd::{self, Guest};
use super::places::Relay;
use crate::address::Direct;
use crate::book::Candidate;
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
/// Places for those who call that are kept free, by seeing somebody off.
const FREE: u32 = 4;

impl Control {
    pub(super) fn upkeep(&mut self) {
        self.ticks += 1;
        self.end_silence();
        self.leave_relays();
        self.make_room();
        self.lift_bans();
        self.seek_peers();
        if self.kind.lasting && self.listens {
            self.be_tested();
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
        for Candidate { identity, addresses, relays } in chosen {
            if let Some(id) = identity.peer_id() {
                let relayed = relays.into_iter().filter_map(address::way);
                let addresses = addresses.into_iter().map(address::Direct::multiaddr).chain(relayed).collect();
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

    /// Has addresses tested again that nobody could confirm.
    fn be_tested(&mut self) {
        let confirmed: Vec<_> = self.swarm.external_addresses().filter_map(address::direct).collect();
        let due = self.reach.due(|address| confirmed.contains(&address), clock::now());
        let Some(tester) = self.swarm.behaviour_mut().reach.as_mut() else { return };
        for addr in &due {
            // It alone: whoever punches would take this for one more address to try.
            tester.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr }));
        }
    }

    /// A node that nobody can reach directly can be met at relays.
    fn be_met(&mut self) {
        let reachable = self.swarm.external_addresses().any(|known| address::direct(known).is_some());
        if reachable {
            for listener in self.places.clear() {
                self.swarm.remove_listener(listener);
            }
            return;
        }
        let now = clock::now();
        if now.saturating_duration_since(self.started) <= self.limits.confirm_time {
            return;
        }
        let relays: Vec<Relay> = self.relays().map(|(relay, _)| relay).collect();
        if let Some(listener) = self.places.give_up(&relays, now) {
            self.swarm.remove_listener(listener);
        }
        let Some(relay) = self.places.draw(&relays, now) else { return };
        let known = self.relays().find(|(known, _)| *known == relay);
        if let Some(way) = known.and_then(|(relay, at)| address::way((relay.identity, at)))
            && let Ok(listener) = self.swarm.listen_on(way)
        {
            self.places.asked(relay, listener, now);
        }
    }

    /// Connected peers that relay, and where each is.
    fn relays(&self) -> impl Iterator<Item = (Relay, Direct)> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.relays).filter_map(|(id, peer)| {
            let (identity, at) = (PeerIdentity::of(id)?, *peer.addresses.first()?);
            Some((Relay { identity, network: gate::network(at.address.ip()) }, at))
        })
    }

    pub(super) fn listener_closed(&mut self, closed: ListenerId) {
        self.places.lost(closed, clock::now());
    }

    pub(super) fn reservation_lost(&mut self, id: &PeerId) {
        if let Some(listener) = PeerIdentity::of(id).and_then(|relay| self.places.at(&relay)) {
            self.swarm.remove_listener(listener);
            self.places.lost(listener, clock::now());
        }
    }

    /// Ends connections through relays to peers that are connected directly by now. Whoever began one ends it, when it is not needed for
    /// the greeting any more.
    fn leave_relays(&mut self) {
        for peer in self.peers.values().filter(|peer| peer.claims.is_some()) {
            if peer.connections.values().all(|seen| seen.relayed) {
                continue;
            }
            for (connection, _) in peer.connections.iter().filter(|(_, seen)| seen.relayed && !seen.inbound) {
                self.swarm.close_connection(*connection);
            }
        }
    }

    pub(super) fn port_mapped(&mut self, Mapped { outside, quic }: Mapped) {
        let carried = |at: SocketAddr| if quic { address::quic(at) } else { address::tcp(at) };
        let before = std::mem::replace(&mut self.mapped[usize::from(!quic)], outside).map(carried);
        // What the operator says is the operator's to take back.
        if let Some(before) = before.filter(|before| !self.advertised.contains(before)) {
            self.swarm.remove_external_address(&before);
        }
        if let Some(outside) = outside {
            // A router may say anything: others have to confirm it. They may have looked before it was open.
            self.swarm.behaviour_mut().gate.suggest(carried(outside));
            self.reach.opened(Direct { address: outside, quic }, clock::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use zmesh_proto::wire::document::NetworkId;

    use super::*;

    #[tokio::test]
    async fn no_router_takes_back_what_the_operator_says() {
        let [own, other]: [SocketAddr; 2] =
            ["203.0.113.7:4001", "203.0.113.8:4001"].map(|at| at.parse().expect("an address"));
        let mut control = Control::builder(NetworkId([7; 32]))
            .identity(&SigningKey::from_bytes(&[1; 32]))
            .advertise(own)
            .start()
            .expect("a node");
        let told = |control: &Control| control.swarm.external_addresses().cloned().collect::<Vec<_>>();
        for quic in [true, false] {
            control.port_mapped(Mapped { outside: Some(own), quic });
            control.port_mapped(Mapped { outside: None, quic });
        }
        let mut known = told(&control);
        known.sort();
        let mut expected = address::both(own);
        expected.sort();
        assert_eq!(known, expected, "they are the operator's");
        // What the router alone said goes with it.
        control.swarm.add_external_address(address::quic(other));
        control.port_mapped(Mapped { outside: Some(other), quic: true });
        control.port_mapped(Mapped { outside: None, quic: true });
        assert!(!told(&control).contains(&address::quic(other)));
    }
}

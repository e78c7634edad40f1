//! What the network says, and what follows from it.

use libp2p::gossipsub;
use libp2p::request_response::{self, OutboundFailure};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, dcutr, identify};

use super::Control;
use crate::address::Direct;
use crate::event::{Event, MessageTag, QuestionId};
use crate::framing::{Answered, Asked as Question};
use crate::plane::PlaneEvent;
use crate::reputation::Deed;
use crate::{AskError, PeerIdentity, address, clock};

/// Questions that wait for this node's answer at once.
const QUESTIONS: usize = 128;

type Asked = request_response::Event<Question, Answered>;

impl Control {
    pub(super) fn handle(&mut self, event: SwarmEvent<PlaneEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_plane(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, .. } => self.closed(&peer_id, connection_id),
            SwarmEvent::IncomingConnectionError { .. } => self.status.turned_away += 1,
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), .. } => {
                if let Some(identity) = PeerIdentity::of(&peer)
                    && !self.peers.contains_key(&peer)
                {
                    self.book.failed(identity, clock::unix_seconds());
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let Some(direct) = address::direct(&address) else { return };
                if self.test_network {
                    self.swarm.add_external_address(address);
                }
                self.tell(Event::Listening { address: direct.address, quic: direct.quic });
            }
            SwarmEvent::NewExternalAddrCandidate { address } => self.seen_at(&address),
            SwarmEvent::ExternalAddrConfirmed { address } => self.confirmed(&address),
            SwarmEvent::ListenerClosed { listener_id, .. } => self.listener_closed(listener_id),
            _ => {}
        }
    }

    /// A peer saw this node at an address. Where the router keeps the port, QUIC is there as well as TCP, and all have to know of it: of
    /// two that were seen by QUIC alone and by TCP alone, each would punch for what the other one does not send. Not the other way
    /// round: of two that punch by both at once, each may keep the connection that the other one ends.
    fn seen_at(&mut self, address: &Multiaddr) {
        let Some(seen) = self.reach.named(address, clock::now()).filter(|seen| !seen.quic) else { return };
        let listens = |at: Direct| at.quic && at.address.port() == seen.address.port();
        if self.swarm.listeners().filter_map(address::direct).any(listens) {
            self.swarm.behaviour_mut().gate.suggest(Direct { quic: true, ..seen }.multiaddr());
        }
    }

    fn confirmed(&mut self, confirmed: &Multiaddr) {
        let Some(direct) = address::bare(confirmed) else { return };
        let plain = direct.multiaddr();
        if plain != *confirmed {
            // Others are told the address itself, not how it was written for another test.
            self.swarm.remove_external_address(confirmed);
            self.swarm.add_external_address(plain);
        }
        self.tell(Event::Reachable { address: direct.address });
    }

    fn handle_plane(&mut self, event: PlaneEvent) {
        match event {
            PlaneEvent::Gossip(event) => self.handle_gossip(event),
            PlaneEvent::Hello(event) => self.handle_hello(event),
            PlaneEvent::Ask(event) => self.handle_ask(event),
            PlaneEvent::Identify(identify::Event::Received { peer_id, info, .. }) => self.identified(peer_id, &info),
            PlaneEvent::Punch(dcutr::Event { result: Ok(_), .. }) => self.status.punched += 1,
            _ => {}
        }
    }

    fn handle_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message { propagation_source: source, message_id: id, message } = event else { return };
        if let Some(topic) = self.names.topic_of(&message.topic) {
            let tag = MessageTag { id, source, len: message.data.len() };
            self.tell(Event::Message { tag, topic, bytes: message.data });
        }
    }

    fn handle_ask(&mut self, event: Asked) {
        match event {
            Asked::Message { peer, message, .. } => match message {
                request_response::Message::Request { request_id, request, channel } => {
                    if !self.may_ask(&peer) || self.questions.len() >= QUESTIONS {
                        self.status.refused += 1;
                        return;
                    }
                    let Some(identity) = PeerIdentity::of(&peer) else { return };
                    self.serial += 1;
                    let id = QuestionId(self.serial);
                    self.questions.insert(id, channel);
                    self.question_requests.insert(id, request_id);
                    self.tell(Event::Question { id, peer: identity, bytes: request.bytes });
                }
                request_response::Message::Response { request_id, response } => {
                    // Nobody else has it, so nothing is copied.
                    self.answered(&peer, request_id, Ok(Answered::unwrap_or_clone(response)));
                }
            },
            Asked::OutboundFailure { peer, request_id, error, .. } => {
                let error = match error {
                    OutboundFailure::Timeout => AskError::Timeout,
                    OutboundFailure::DialFailure => AskError::NotConnected,
                    _ => AskError::Refused,
                };
                self.answered(&peer, request_id, Err(error));
            }
            Asked::InboundFailure { request_id, .. } => {
                self.answers_in_flight.remove(&request_id);
                self.forget_question(request_id);
            }
            Asked::ResponseSent { request_id, .. } => {
                self.answers_in_flight.remove(&request_id);
            }
        }
    }

    /// Counts a question of a peer.
    fn may_ask(&mut self, peer: &PeerId) -> bool {
        let now = clock::now();
        let Some(asking) = self.peers.get_mut(peer).filter(|asking| asking.claims.is_some()) else { return false };
        if asking.meter.ask(now) {
            return true;
        }
        self.deed(peer, Deed::Flood);
        false
    }

    fn answered(
        &mut self,
        peer: &PeerId,
        request: request_response::OutboundRequestId,
        result: Result<Vec<u8>, AskError>,
    ) {
        let Some(id) = self.asks.remove(&request) else { return };
        if let Some(peer) = PeerIdentity::of(peer) {
            self.tell(Event::Answer { id, peer, result });
        }
    }

    fn forget_question(&mut self, request: request_response::InboundRequestId) {
        let id = self.question_requests.iter().find(|(_, other)| **other == request).map(|(id, _)| *id);
        if let Some(id) = id {
            self.refuse(id);
        }
    }
}

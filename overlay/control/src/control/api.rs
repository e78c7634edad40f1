//! What the owner of a node does with it.

use std::sync::Arc;

use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use zmesh_proto::wire::control::{Topic, Verdict};
use zmesh_proto::wire::descriptor::{ControlAddress, ControlCarrier};

use super::{Control, Flight};
use crate::event::{AskId, MessageTag, QuestionId, Status};
use crate::framing::Asked;
use crate::hello::Claims;
use crate::limits::{ANSWER_MAX, QUESTION_MAX};
use crate::reputation::Deed;
use crate::{AskError, Event, PeerIdentity, PublishError, StoreError, address, clock};

impl Control {
    /// Sends a message to everybody.
    ///
    /// # Errors
    /// See [`PublishError`]. The message is kept nowhere: publish it again later if it still matters.
    pub fn publish(&mut self, topic: Topic, bytes: Vec<u8>) -> Result<(), PublishError> {
        if bytes.len() > topic.message_max() {
            return Err(PublishError::TooLong);
        }
        let topic = self.names.topic(topic);
        let gossip = self.swarm.behaviour_mut().gossip.as_mut().ok_or(PublishError::Passing)?;
        match gossip.publish(topic, bytes) {
            Ok(_) => Ok(()),
            Err(gossipsub::PublishError::Duplicate) => Err(PublishError::Known),
            Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => Err(PublishError::Nobody),
            Err(gossipsub::PublishError::MessageTooLarge) => Err(PublishError::TooLong),
            Err(_) => Err(PublishError::Busy),
        }
    }

    /// Says what a message is worth. Whoever brings more than its share of what is not accepted is cut off: what *is* accepted, others
    /// take from this node in turn, so how much that can be is up to the verdicts, which do not depend on who brings it.
    pub fn report(&mut self, tag: &MessageTag, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore(_) => MessageAcceptance::Ignore,
            Verdict::Reject(_) => MessageAcceptance::Reject,
        };
        if let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() {
            gossip.report_message_validation_result(&tag.id, &tag.source, acceptance);
        }
        match verdict {
            Verdict::Accept => {
                self.status.accepted += 1;
                self.deed(&tag.source, Deed::Served);
            }
            Verdict::Ignore(_) => self.status.ignored += 1,
            Verdict::Reject(_) => {
                self.status.rejected += 1;
                self.deed(&tag.source, Deed::Invalid);
            }
        }
        let now = clock::now();
        let fits = |peer: &mut super::Peer| peer.meter.message(tag.len, now);
        if verdict != Verdict::Accept && !self.peers.get_mut(&tag.source).is_none_or(fits) {
            self.deed(&tag.source, Deed::Flood);
        }
    }

    /// Puts a question to a connected peer. [`Event::Answer`] ends it. An answer up to [`ANSWER_MAX`] is read.
    ///
    /// # Errors
    /// [`AskError::TooLong`], [`AskError::NotConnected`].
    pub fn ask(&mut self, peer: PeerIdentity, question: Vec<u8>) -> Result<AskId, AskError> {
        self.ask_within(peer, question, ANSWER_MAX)
    }

    /// As [`Control::ask`], for a question whose answer has at most so many bytes: a longer one is not read.
    ///
    /// # Errors
    /// As [`Control::ask`].
    pub fn ask_within(&mut self, peer: PeerIdentity, question: Vec<u8>, answer_max: usize) -> Result<AskId, AskError> {
        if question.len() > QUESTION_MAX {
            return Err(AskError::TooLong);
        }
        let to = peer.peer_id().filter(|id| self.has_greeted(id)).ok_or(AskError::NotConnected)?;
        self.serial += 1;
        let id = AskId(self.serial);
        let ask = self.swarm.behaviour_mut().ask.as_mut().ok_or(AskError::NotConnected)?;
        self.asks.insert(ask.send_request(&to, Asked::new(question, answer_max)), id);
        Ok(id)
    }

    /// Whether an answer of so many bytes would be sent: ask before making one.
    #[must_use]
    pub fn has_room(&self, len: usize) -> bool {
        let own = |flight: &Flight| if let Flight::Own(len) = flight { *len } else { 0 };
        let in_flight: usize = self.answers_in_flight.values().map(own).sum();
        in_flight.saturating_add(len) <= self.limits.answers_in_flight
    }

    /// Answers a question. An answer over [`ANSWER_MAX`] bytes, or over what may be on its way at once, is not sent, and
    /// the peer learns that there is none.
    pub fn answer(&mut self, id: QuestionId, answer: Vec<u8>) {
        let fits = self.has_room(answer.len());
        let flight = Flight::Own(answer.len());
        self.send_answer(id, Arc::new(answer), flight, fits);
    }

    /// The same with an answer that many get: it is in memory once, so only so many at once are bounded, not their bytes.
    pub fn answer_shared(&mut self, id: QuestionId, answer: Arc<Vec<u8>>) {
        let shared = self.answers_in_flight.values().filter(|flight| matches!(flight, Flight::Shared)).count();
        self.send_answer(id, answer, Flight::Shared, shared < self.limits.shared_answers);
    }

    fn send_answer(&mut self, id: QuestionId, answer: Arc<Vec<u8>>, flight: Flight, fits: bool) {
        let (channel, request) = (self.questions.remove(&id), self.question_requests.remove(&id));
        let (Some(channel), Some(request)) = (channel, request) else { return };
        if answer.len() > ANSWER_MAX || !fits {
            self.status.refused += 1;
            return;
        }
        if let Some(ask) = self.swarm.behaviour_mut().ask.as_mut()
            && ask.send_response(channel, answer).is_ok()
        {
            self.answers_in_flight.insert(request, flight);
        }
    }

    /// Refuses a question.
    pub fn refuse(&mut self, id: QuestionId) {
        self.questions.remove(&id);
        self.question_requests.remove(&id);
    }

    /// Changes what this node says of itself, to peers that come from now on.
    pub fn set_claims(&mut self, claims: Claims) {
        self.claims = Claims { lasting: self.kind.lasting, ..claims };
    }

    /// A peer's greeting was a lie: it is banned.
    pub fn punish_lie(&mut self, peer: PeerIdentity) {
        if let Some(peer) = peer.peer_id() {
            self.deed(&peer, Deed::Lied);
        }
    }

    /// A peer's answer was of use.
    pub fn praise(&mut self, peer: PeerIdentity) {
        if let Some(peer) = peer.peer_id() {
            self.deed(&peer, Deed::Helped);
        }
    }

    /// A peer's answer was not what an honest node gives.
    pub fn blame(&mut self, peer: PeerIdentity) {
        if let Some(peer) = peer.peer_id() {
            self.deed(&peer, Deed::Invalid);
        }
    }

    /// The peers that have greeted.
    pub fn peers(&self) -> impl Iterator<Item = PeerIdentity> + '_ {
        self.peers.iter().filter(|(_, peer)| peer.claims.is_some()).filter_map(|(id, _)| PeerIdentity::of(id))
    }

    /// Whether a peer is connected and has greeted.
    #[must_use]
    pub fn is_connected(&self, peer: &PeerIdentity) -> bool {
        peer.peer_id().is_some_and(|id| self.has_greeted(&id))
    }

    /// Calls a node at the addresses that its descriptor names, and at the relays where it can be met if they are known; false if there are
    /// none that may be used. Nothing tells when it fails; when it does not, the peer greets.
    pub fn call(&mut self, peer: PeerIdentity, addresses: &[ControlAddress]) -> bool {
        let anywhere = self.test_network;
        let usable = addresses.iter().filter(|at| anywhere || address::is_public(at.address.ip()));
        let addresses: Vec<_> = usable
            .map(|at| match at.carrier {
                ControlCarrier::Quic => address::quic(at.address),
                ControlCarrier::Tcp => address::tcp(at.address),
            })
            .chain(self.book.relays_of(&peer, clock::unix_seconds()).into_iter().filter_map(address::way))
            .collect();
        let Some(id) = peer.peer_id().filter(|_| !addresses.is_empty()) else { return false };
        self.dial(
            DialOpts::peer_id(id).condition(PeerCondition::DisconnectedAndNotDialing).addresses(addresses).build(),
        );
        true
    }

    /// Whether a peer is banned now.
    #[must_use]
    pub fn is_banned(&self, peer: &PeerIdentity) -> bool {
        self.book.is_banned(peer, crate::clock::unix_seconds())
    }

    /// Counters and states.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            peers: self.peers().count(),
            connections: self.swarm.network_info().connection_counters().num_established(),
            known: self.book.known(),
            reachable: self.swarm.external_addresses().any(|known| address::direct(known).is_some()),
            met_at_relay: self.swarm.external_addresses().any(address::is_relayed),
            relayed: self.peers.values().flat_map(|peer| peer.connections.values()).filter(|seen| seen.relayed).count(),
            ..self.status
        }
    }

    /// Writes what was learnt of peers to the store.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        self.book.expire(crate::clock::unix_seconds());
        match &self.store {
            Some(store) => {
                let changes = self.book.take_changes();
                if changes.is_empty() { Ok(()) } else { store.put_peers(changes) }
            }
            None => Ok(()),
        }
    }

    /// Gives the ports back that the router forwards, and waits for that some seconds at most.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the giving back to the runtime.
    pub async fn give_ports_back(&mut self) {
        self.mappings.give_back().await;
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }
}

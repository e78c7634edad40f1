//! The driver's part in agreement: it hands the voting machine messages and the time, looks which relays are up, and turns
//! what was agreed on into documents.

use std::sync::Arc;

use zmesh_proto::directory::voting::{Event, Memory, Voting};
use zmesh_proto::directory::{Chain, Held, Proofs};
use zmesh_proto::keys::{SignerKey, relay_id};
use zmesh_proto::wire::control::vote::Ballot;
use zmesh_proto::wire::control::{EpochDocument, Genesis, Topic};
use zmesh_proto::wire::descriptor::ControlAddress;
use zmesh_proto::wire::document::SignerId;
use zmesh_sphinx::RelayId;

use super::calls::Calls;
use super::node::Driver;
use super::proofs;
use super::question::{Answer, Question};
use super::sightings::Watch;
use super::wishes::Wishes;
use crate::{PeerIdentity, PublishError, StartError, Store, clock};

/// The name of the machine's memory in the store.
const MEMORY: &str = "votes";
/// Relays that are called in one second to see whether they are up.
const CALLS: usize = 8;

/// What a node needs to take part in votes, or to follow them.
pub(super) struct Votes {
    pub(super) voting: Voting,
    is_voter: bool,
    /// The key's public half.
    voter: Option<SignerId>,
    watch: Watch,
    /// The relay that this node is.
    own: RelayId,
    /// Where the round of looking stands.
    next: Option<RelayId>,
    calls: Calls,
    /// Agreed on, but not all descriptors are there.
    incomplete: Option<EpochDocument>,
    /// An epoch in seconds.
    epoch: u64,
    wishes: Wishes,
    /// Against voters, as the store has them.
    pub(super) proofs: Proofs,
}

impl Votes {
    /// Takes up where the store says that this node stopped.
    pub(super) fn new(
        genesis: &Genesis,
        held: Option<&Held>,
        key: Option<SignerKey>,
        own: RelayId,
        store: Option<&Store>,
        begins: bool,
    ) -> Result<Self, StartError> {
        if key.is_some() && store.is_none() {
            return Err(StartError::Setting("a voter needs a store: without it, it may vote twice after a crash"));
        }
        let kept = store.map(|store| store.value(MEMORY)).transpose()?.flatten();
        let chain = held.map_or_else(|| Chain::from_genesis(genesis.clone()), |held| held.chain().clone());
        let memory = match &kept {
            Some(bytes) => Memory::Kept(bytes),
            None if held.is_none() && begins => Memory::Fresh,
            // An empty store may be one that was deleted.
            None => Memory::Lost,
        };
        let (now, is_voter) = (clock::unix_millis(), key.is_some());
        let voter = key.as_ref().map(|key| SignerId(key.public()));
        let spare = key.as_ref().and_then(|key| SignerKey::from_text(key.to_text().as_bytes()).ok());
        let mut voting = match Voting::new(chain.clone(), key, memory, now) {
            Ok(voting) => voting,
            Err(damaged) => {
                tracing::warn!("what this voter voted cannot be read: {damaged}");
                Voting::new(chain, spare, Memory::Lost, now).map_err(|_| StartError::Fault("no memory is damaged"))?
            }
        };
        if is_voter && voting.sits_out() {
            tracing::warn!(
                "this voter does not know what it voted before: it sits out until later documents are there"
            );
        }
        let proofs = proofs::recall(store, genesis, &mut voting);
        let epoch = u64::from(genesis.terms().epoch_length);
        Ok(Self {
            voting,
            is_voter,
            voter,
            watch: Watch::default(),
            own,
            next: None,
            calls: Calls::new(genesis.terms().test_network),
            incomplete: None,
            epoch,
            wishes: Wishes::default(),
            proofs,
        })
    }

    /// The same with its operator's wishes.
    pub(super) fn with(self, wishes: Wishes) -> Self {
        Self { wishes, ..self }
    }

    /// When the machine wants to be told the time, unix milliseconds.
    pub(super) fn timeout(&self) -> Option<u64> {
        self.voting.next_timeout()
    }

    /// The length of an epoch in seconds.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether the newest document names this node as a voter.
    pub(super) fn is_in_office(&self) -> bool {
        self.voter.is_some_and(|voter| self.voting.chain().head().voters.place(&voter).is_some())
    }

    fn uptime(&self, id: &RelayId, now: u64) -> Option<u16> {
        if *id == self.own { Some(1_000) } else { self.watch.uptime(id, self.epoch.max(60), now) }
    }
}

impl Driver {
    pub(super) fn time_passes(&mut self) {
        self.votes.voting.handle_time(clock::unix_millis());
        self.settle();
    }

    /// Publishes what the machine wants to say, and acts on what it says. To be called after each thing it was told.
    pub(super) fn settle(&mut self) {
        let mut transmits = Vec::new();
        while let Some(transmit) = self.votes.voting.poll_transmit() {
            transmits.push(transmit);
        }
        let own = transmits.iter().any(|transmit| transmit.topic == Topic::Votes);
        if own && !self.remember_votes() {
            // Said and forgotten is worse than not said: neither now nor to whoever asks later.
            transmits.retain(|transmit| transmit.topic != Topic::Votes);
            self.votes.voting.fall_silent(clock::unix_millis());
        }
        for transmit in transmits {
            match self.control.publish(transmit.topic, transmit.bytes) {
                // Who is not reached now asks for it.
                Ok(()) | Err(PublishError::Known | PublishError::Nobody) => {}
                Err(error) => tracing::debug!("a vote was not published: {error}"),
            }
        }
        while let Some(event) = self.votes.voting.poll_event() {
            match event {
                Event::Agreed(document) => self.complete(*document),
                Event::Wanted(_) | Event::Behind { .. } => self.fetch_from_somebody(),
                Event::Equivocation(evidence) => self.convict(&evidence),
                Event::Forked(_) => {
                    tracing::error!("there are two histories of the network: its voters have to be asked")
                }
                _ => {}
            }
        }
    }

    /// Writes the machine's memory to the disk; false if that failed.
    fn remember_votes(&self) -> bool {
        let Some(store) = &self.store else { return false };
        match store.put_values([(MEMORY, Some(self.votes.voting.memory().as_slice()))]) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!("this voter is silent, for its votes cannot be kept: {error}");
                false
            }
        }
    }

    /// Makes a snapshot of a document that was agreed on, if all descriptors are there.
    fn complete(&mut self, document: EpochDocument) {
        if document.signed().header().epoch() <= self.follow.epoch() {
            return;
        }
        match self.shelf.snapshot(document.clone()) {
            Ok(snapshot) => {
                self.votes.incomplete = None;
                match self.follow.adopt(&snapshot) {
                    Ok(true) => self.arrived(),
                    Ok(false) => {}
                    Err(error) => tracing::warn!("a document that was agreed on is refused: {error}"),
                }
            }
            Err(_) => {
                self.votes.incomplete = Some(document);
                self.fetch_from_somebody();
            }
        }
    }

    /// The node holds a newer document than its machine knows of: tells it the way there.
    pub(super) fn tell_machine(&mut self) {
        let Some(held) = self.follow.held() else { return };
        let (now, newest) = (clock::unix_millis(), held.snapshot().document());
        let voting = &mut self.votes.voting;
        if voting.chain().head().hash != newest.hash() {
            let known = voting.chain().head().epoch;
            for change in held.changes().iter().filter(|change| change.header().epoch() > known) {
                voting.handle_message(Topic::Snapshots, &change.encode(), now);
            }
            voting.handle_message(Topic::Snapshots, &newest.signed().encode(), now);
        }
        if voting.document().is_none() {
            // Of another document, if the machine did not come along.
            let _ = voting.handle_document(&newest.encode());
        }
        self.votes.incomplete = None;
        self.forget_proofs();
    }

    /// Looks which relays are up and says so in the next ballot; asks a peer for votes that were missed.
    pub(super) fn watch_relays(&mut self) {
        match self.votes.incomplete.take() {
            Some(document) => self.complete(document),
            None if self.votes.voting.chain().head().epoch > self.follow.epoch() => self.fetch_from_somebody(),
            None => {}
        }
        let every = (self.votes.epoch / 16).clamp(1, 5);
        if self.ticks.is_multiple_of(every)
            && let Some(peer) = self.some_peer()
        {
            let have = self.votes.voting.have();
            self.ask(peer, Question::Votes { have });
        }
        if !self.votes.is_voter {
            return;
        }
        self.look_at_some();
        let now = clock::unix_seconds();
        let chain = self.votes.voting.chain();
        let (until, parameters) = (chain.ballots_hold_until(now), chain.head().parameters.clone());
        // What was measured so far; a copy of the pointer, so that whoever measures never waits for a vote.
        let measures = self.measures.as_ref().map(|measures| Arc::clone(&measures.borrow())).unwrap_or_default();
        let measured = |id: &RelayId| measures.get(id).copied().unwrap_or_default();
        let ballot = self.shelf.ballot(until, |id| Some((self.votes.uptime(id, now)?, measured(id))));
        let head = self.votes.voting.chain().head();
        let (voters, least) = (&head.voters, head.parameters.voter_uptime());
        let uptime = |key: &SignerId| self.votes.uptime(&relay_id(&key.0), now);
        let ballot = self.votes.wishes.add_to(Ballot { parameters, ..ballot }, voters, least, uptime);
        self.votes.voting.set_ballot(ballot);
    }

    /// A relay is up if it is connected; one that is not is called, and has until the next round of looking.
    fn look_at_some(&mut self) {
        let now = clock::unix_seconds();
        let mut chosen = self.next_to_look_at();
        if chosen.is_empty() && self.votes.next.take().is_some() {
            // The round is over, and the next one begins.
            let shelf = &self.shelf;
            self.votes.watch.keep(|id| shelf.contains(id));
            self.votes.calls.keep(|id| shelf.contains(id));
            chosen = self.next_to_look_at();
        }
        self.votes.next = chosen.last().map(|(id, ..)| *id);
        for (id, identity, addresses) in chosen {
            if id == self.votes.own {
                continue;
            }
            if self.control.is_connected(&identity) {
                self.votes.calls.came(&id);
                self.votes.watch.note(id, true, now);
            } else {
                if self.votes.calls.is_down(&id, now) {
                    self.votes.watch.note(id, false, now);
                }
                let addresses = self.votes.calls.now(id, &addresses, now);
                self.control.call(identity, &addresses);
            }
        }
    }

    /// The relays that come next in the round of looking, and where they are called.
    fn next_to_look_at(&self) -> Vec<(RelayId, PeerIdentity, Vec<ControlAddress>)> {
        let after = self.votes.next;
        self.shelf
            .descriptors()
            .filter(|descriptor| after.is_none_or(|after| descriptor.id() > after))
            .take(CALLS)
            .map(|descriptor| (descriptor.id(), PeerIdentity(descriptor.identity()), descriptor.info().control.clone()))
            .collect()
    }

    /// What a peer lacks of the votes.
    pub(super) fn answer_votes(&self, have: &[u8]) -> Option<Answer> {
        let missing = self.votes.voting.answer(have).ok()?;
        let part = |transmit: zmesh_proto::directory::voting::Transmit| {
            let kind =
                Topic::ALL.iter().position(|topic| *topic == transmit.topic).and_then(|at| u8::try_from(at).ok())?;
            Some([&[kind][..], &transmit.bytes].concat())
        };
        Some(Answer::parts(missing.into_iter().filter_map(part).collect()))
    }

    /// Takes votes that were missed; false if they are none.
    pub(super) fn take_votes(&mut self, answer: &Answer) -> bool {
        let now = clock::unix_millis();
        for part in &answer.parts {
            let Some((kind, bytes)) = part.split_first() else { return false };
            let Some(topic) = Topic::ALL.get(usize::from(*kind)).copied() else { return false };
            if matches!(
                self.votes.voting.handle_message(topic, bytes, now),
                zmesh_proto::wire::control::Verdict::Reject(_)
            ) {
                return false;
            }
        }
        self.settle();
        true
    }
}

#[cfg(test)]
mod tests {
    use zmesh_proto::random::Generator;
    use zmesh_proto::wire::control::{GenesisTerms, Parameters, Voter, VoterSet};
    use zmesh_proto::wire::document::SignerId;

    use super::*;

    fn key() -> SignerKey {
        SignerKey::generate(&mut Generator::new(&[7; 32]))
    }

    fn genesis() -> Genesis {
        let voter = Voter { key: SignerId(key().public()), operator: "one".to_owned() };
        Genesis::new(GenesisTerms {
            name: "silence".to_owned(),
            test_network: true,
            epoch_length: 60,
            epoch_zero: clock::unix_seconds(),
            voters_per_operator: 1,
            voters: VoterSet::new(vec![voter], 1).unwrap(),
            parameters: Parameters::new(),
        })
        .unwrap()
    }

    fn sits_out(store: &Store, begins: bool) -> bool {
        let votes = Votes::new(&genesis(), None, Some(key()), RelayId([0; 16]), Some(store), begins).unwrap();
        votes.voting.sits_out()
    }

    #[test]
    fn an_empty_store_is_no_license_to_vote() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        assert!(sits_out(&store, false), "it may have been deleted");
        assert!(!sits_out(&store, true), "the network begins");
    }

    #[test]
    fn what_cannot_be_read_is_no_license_to_vote() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        store.put_values([(MEMORY, Some(b"junk".as_slice()))]).unwrap();
        assert!(sits_out(&store, true));
    }

    /// The document that the store held cannot be read any more, what the voter voted can.
    #[test]
    fn votes_on_a_document_that_is_not_there_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let network = genesis().network_id().0;
        // Network, epoch and hash of the document before, as the memory has them.
        let memory = [&[0x0a, 32][..], &network, &[0x10, 5, 0x1a, 32], &[9; 32]].concat();
        store.put_values([(MEMORY, Some(memory.as_slice()))]).unwrap();
        let votes = Votes::new(&genesis(), None, Some(key()), RelayId([0; 16]), Some(&store), true).unwrap();
        assert!(votes.voting.sits_out());
        assert_eq!(votes.voting.memory(), memory);
    }
}

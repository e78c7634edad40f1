//! The machine that a node drives: [`Voting`].

use std::collections::{BTreeSet, VecDeque};

use zeroize::Zeroizing;

use super::instance::Instance;
use super::lottery;
use super::memory::{self, Kept, Memory, MemoryError};
use super::rounds::{Action, Step};
use super::sync;
use super::timing::{epoch_for, latest_epoch};
use super::value::Said;
use crate::directory::{Chain, ChainError, Fork};
use crate::keys::{SignerKey, VRF_PROOF_LEN};
use crate::wire::control::vote::{Ballot, Evidence, Vote, VoteKind, VoteMessage, commitment};
use crate::wire::control::{
    EpochDocument, FormError, HeaderHash, Reason, RelayEntry, SignedHeader, Topic, Verdict, VoterSet,
};
use crate::wire::document::SignerId;

/// Something to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// On which topic.
    pub topic: Topic,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A new document was agreed on, and this node has it whole.
    Agreed(Box<EpochDocument>),
    /// A new document was agreed on that this node lacks: fetch it from others and hand it to [`Voting::handle_document`]. Votes on the
    /// next one go on meanwhile.
    Wanted(HeaderHash),
    /// Others are further: fetch the headers that are missing and hand them to [`Voting::handle_message`] as snapshots.
    Behind {
        /// The epoch of the document that they have.
        epoch: u64,
    },
    /// A voter said two things where it may say one.
    Equivocation(Box<Evidence>),
    /// There are two histories, both with enough signatures. People have to look at this.
    Forked(Box<Fork>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Timer {
    /// Propose, unless somebody with a better ticket has.
    Propose(u32),
    /// The proposals had their time.
    Proposals(u32),
    Prevotes(u32),
    Precommits(u32),
}

/// Agrees with others on the next document, and on the next after that, without input or output of its own.
///
/// Drive it so: hand it messages ([`Voting::handle_message`]) and the time ([`Voting::handle_time`], at [`Voting::next_timeout`] at the
/// latest; all times are unix milliseconds). Then take what there is to publish ([`Voting::poll_transmit`]) and what happened
/// ([`Voting::poll_event`]) until there is nothing. **Store [`Voting::memory`] on the disk before you publish**: a voter that votes again
/// after a crash without its memory may vote twice. Every few seconds ask a neighbour for what was missed ([`Voting::have`],
/// [`Voting::answer`]): gossip loses messages.
///
/// A node without a key, or one whose key is no voter's, follows and never votes.
pub struct Voting {
    pub(super) chain: Chain,
    pub(super) key: Option<SignerKey>,
    pub(super) ballot: Ballot,
    pub(super) instance: Instance,
    /// Votes that this node cast in the instance.
    pub(super) cast: Vec<VoteMessage>,
    /// It does not know what it voted before: it sits out until a document of a later epoch than this is there.
    pub(super) abstains: Option<u64>,
    /// What it remembers of an instance that its chain has not reached: it sits out until then. With the bytes, which stay what is to
    /// be stored.
    pub(super) kept: Option<(Kept, Vec<u8>)>,
    pub(super) timers: BTreeSet<(u64, Timer)>,
    /// In this round it may propose now.
    pub(super) due: Option<u32>,
    pub(super) decided: Option<(u32, HeaderHash)>,
    /// The newest document, its signatures and who signed it.
    pub(super) last: Option<(SignedHeader, VoterSet)>,
    pub(super) document: Option<EpochDocument>,
    /// When it may be said again that others are further, unix milliseconds.
    pub(super) behind: u64,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
}

impl Voting {
    /// Follows, and with a voter's key votes on, the successor of the chain's newest document.
    ///
    /// # Errors
    /// The memory is damaged.
    pub fn new(chain: Chain, key: Option<SignerKey>, memory: Memory<'_>, now: u64) -> Result<Self, MemoryError> {
        let instance = Instance::new(chain.genesis(), chain.head(), now, true);
        let latest = latest_epoch(chain.genesis(), now);
        let (kept, abstains) = match memory {
            Memory::Fresh => (None, None),
            Memory::Lost => (None, Some(latest)),
            Memory::Kept(bytes) => match memory::read(bytes)? {
                kept if kept.lost || kept.scope.network != instance.scope().network => (None, Some(latest)),
                kept => (Some((kept, bytes.to_vec())), None),
            },
        };
        let mut voting = Self {
            key,
            ballot: Ballot::default(),
            abstains,
            kept,
            cast: Vec::new(),
            timers: BTreeSet::new(),
            due: None,
            decided: None,
            last: None,
            document: None,
            behind: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            instance,
            chain,
        };
        voting.recall(now);
        Ok(voting)
    }

    /// Takes up what it remembers, if that is of this instance. What it remembers of an earlier one is over: had it voted in this one, it
    /// would remember that instead. What it remembers of a later one, or of another past, waits for its chain to get there.
    fn recall(&mut self, now: u64) {
        let ours = self.instance.scope();
        let Some((kept, bytes)) = self.kept.take() else { return };
        if kept.scope == ours {
            self.instance.rounds.restore(kept.round, kept.locked, kept.valid);
            for message in kept.cast {
                self.instance.accept(message.clone(), now, false);
                self.cast.push(message);
            }
        } else if kept.scope.previous_epoch >= ours.previous_epoch {
            self.kept = Some((kept, bytes));
        }
    }

    /// Whether this node casts no votes for now, because it does not know what it voted before.
    #[must_use]
    pub fn sits_out(&self) -> bool {
        self.abstains.is_some() || self.kept.is_some()
    }

    /// To be called instead of publishing, when [`Voting::memory`] could not be stored: what this node was about to say is not said, to
    /// nobody, and it sits out as one whose memory is [`Memory::Lost`].
    pub fn fall_silent(&mut self, now: u64) {
        self.transmits.retain(|transmit| transmit.topic != Topic::Votes);
        self.abstains = Some(latest_epoch(self.chain.genesis(), now));
        self.begin_instance(now, true);
    }

    fn begin_instance(&mut self, now: u64, joins: bool) {
        self.instance = Instance::new(self.chain.genesis(), self.chain.head(), now, joins);
        self.cast.clear();
        self.timers.clear();
        (self.due, self.decided) = (None, None);
    }

    /// What this node would say of the relays, if it votes: used for the next ballot. Call it as often as the view changes.
    pub fn set_ballot(&mut self, ballot: Ballot) {
        self.ballot = ballot;
    }

    /// The chain of documents up to the newest one that was agreed on.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The newest document, if this node has it whole.
    #[must_use]
    pub fn document(&self) -> Option<&EpochDocument> {
        self.document.as_ref()
    }

    /// The newest signed header, once there is one.
    #[must_use]
    pub fn signed(&self) -> Option<&SignedHeader> {
        self.last.as_ref().map(|(signed, _)| signed)
    }

    /// In which round the node is, for people to look at; `None` before the first.
    #[must_use]
    pub fn round(&self) -> Option<u32> {
        self.instance.rounds.has_begun().then(|| self.instance.rounds.round())
    }

    /// What must survive a crash: store it before publishing what [`Voting::poll_transmit`] gives.
    #[must_use]
    pub fn memory(&self) -> Vec<u8> {
        if let Some((_, bytes)) = &self.kept {
            return bytes.clone();
        }
        let (rounds, lost) = (&self.instance.rounds, self.abstains.is_some());
        memory::write(&self.instance.scope(), rounds.round(), rounds.locked(), rounds.valid(), &self.cast, lost)
    }

    /// Takes a message that a neighbour published on a topic, and says whether it is passed on.
    pub fn handle_message(&mut self, topic: Topic, bytes: &[u8], now: u64) -> Verdict {
        if bytes.len() > topic.message_max() {
            return Verdict::Reject(Reason::Oversized);
        }
        let verdict = match topic {
            Topic::Votes => self.handle_vote(bytes, now),
            Topic::Snapshots => self.handle_header(bytes, now),
            Topic::Proofs => self.handle_evidence(bytes),
            Topic::Descriptors | Topic::Meta => Verdict::Ignore(Reason::Unrelated),
        };
        self.run(now);
        verdict
    }

    /// Takes a whole document that was fetched because of [`Event::Wanted`].
    ///
    /// # Errors
    /// It is malformed, or not the one that was agreed on.
    pub fn handle_document(&mut self, bytes: &[u8]) -> Result<(), ChainError> {
        let document = EpochDocument::decode(bytes)?;
        let (wanted, found) = (self.chain.head().hash, document.hash());
        if found != wanted {
            return Err(ChainError::OtherHeader { wanted, found });
        }
        if self.document.is_none() {
            self.document = Some(document.clone());
            self.events.push_back(Event::Agreed(Box::new(document)));
        }
        Ok(())
    }

    /// The time has come, or passes.
    pub fn handle_time(&mut self, now: u64) {
        self.run(now);
    }

    /// When to call [`Voting::handle_time`] at the latest.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let timing = self.instance.timing;
        let phase = [(timing.commit(), VoteKind::Commitment), (timing.reveal(), VoteKind::Reveal)]
            .into_iter()
            .filter(|(_, kind)| self.can_cast(*kind, 0))
            .map(|(at, _)| at)
            .chain((!self.instance.rounds.has_begun()).then(|| timing.propose()));
        phase.chain(self.timers.first().map(|(at, _)| *at)).min()
    }

    /// Takes something to publish, after [`Voting::memory`] was stored.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Takes something that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// What this node has, for a neighbour to answer what is missing.
    #[must_use]
    pub fn have(&self) -> Vec<u8> {
        sync::have(&self.instance)
    }

    /// The messages that a neighbour lacks that sent this [`Voting::have`]: hand each of them to its [`Voting::handle_message`].
    ///
    /// # Errors
    /// Malformed.
    pub fn answer(&self, have: &[u8]) -> Result<Vec<Transmit>, FormError> {
        sync::answer(&self.instance, self.signed(), have)
    }

    fn run(&mut self, now: u64) {
        loop {
            self.gather(now);
            if let Some((at, timer)) = self.timers.first().copied()
                && at <= now
            {
                self.timers.pop_first();
                self.fire(timer, now);
                continue;
            }
            if let Some(round) = self.due {
                self.propose(round, now);
            }
            self.instance.settle();
            match self.instance.poll() {
                Some(action) => self.act(action, now),
                None if self.finish(now) => {}
                None => return,
            }
        }
    }

    /// The part by the clock.
    fn gather(&mut self, now: u64) {
        let timing = self.instance.timing;
        let scope = self.instance.scope();
        if now >= timing.commit() && self.can_cast(VoteKind::Commitment, 0) {
            let (voter, _, secret) = self.secret();
            self.cast(Vote::Commitment(commitment(&scope, &voter, &secret)), now);
        }
        if now >= timing.reveal() && self.can_cast(VoteKind::Reveal, 0) {
            let (_, proof, _) = self.secret();
            self.cast(Vote::Reveal(*proof), now);
        }
        if now >= timing.reveal() && self.can_cast(VoteKind::Ballot, 0) {
            self.cast(Vote::Ballot(self.ballot.clone()), now);
        }
        // Who came late joins in as soon as somebody honest has begun.
        let rounds = &self.instance.rounds;
        let joins = self.instance.came_late && rounds.others_began();
        if (now >= timing.propose() || joins) && !rounds.has_begun() {
            let action = self.instance.rounds.begin();
            self.act(action, now);
        }
    }

    /// This node's secret of the instance, and its proof. It is a function of the key: a restart does not forget it, and nobody can choose
    /// another.
    fn secret(&self) -> (SignerId, Zeroizing<[u8; VRF_PROOF_LEN]>, Zeroizing<[u8; 32]>) {
        let key = self.key.as_ref().expect("asked of voters only");
        let (proof, secret) = key.secret_for(&self.instance.context.secret_input());
        (SignerId(key.public()), proof, secret)
    }

    fn me(&self) -> Option<u8> {
        let key = self.key.as_ref().filter(|_| !self.sits_out())?;
        self.instance.place(&SignerId(key.public()))
    }

    /// Whether this node votes and has not cast a vote of this kind and round.
    fn can_cast(&self, kind: VoteKind, round: u32) -> bool {
        self.me().is_some_and(|me| self.instance.vote_of(me, kind, round).is_none())
    }

    fn cast(&mut self, vote: Vote, now: u64) {
        if !self.can_cast(vote.kind(), vote.round()) {
            return;
        }
        let Some(key) = &self.key else { return };
        // A ballot that breaks a rule is its maker's mistake; it is not sent.
        let Ok(message) = VoteMessage::sign(key, self.instance.scope(), vote) else { return };
        self.transmits.push_back(Transmit { topic: Topic::Votes, bytes: message.as_bytes().to_vec() });
        self.cast.push(message.clone());
        self.take(message, now, true);
    }

    fn fire(&mut self, timer: Timer, now: u64) {
        let action = match timer {
            Timer::Propose(round) => {
                self.due = Some(round);
                None
            }
            Timer::Proposals(round) => {
                if round == self.instance.rounds.round() && self.instance.rounds.prevote().is_some() {
                    self.due = None;
                    let header = self.instance.choose(round, now);
                    self.cast(Vote::Prevote { round, header }, now);
                }
                None
            }
            Timer::Prevotes(round) => self.instance.rounds.prevotes_waited(round),
            Timer::Precommits(round) => self.instance.rounds.precommits_waited(round),
        };
        if let Some(action) = action {
            self.act(action, now);
        }
    }

    fn act(&mut self, action: Action, now: u64) {
        let patience = |round| self.instance.timing.patience(round);
        match action {
            Action::Begin(round) => {
                self.timers.retain(|(_, timer)| matches!(timer, Timer::Precommits(later) if *later > round));
                self.due = None;
                self.timers.insert((now + patience(round), Timer::Proposals(round)));
                if self.can_cast(VoteKind::Proposal, round)
                    && let Some(key) = &self.key
                {
                    let randomness = &self.chain.head().randomness;
                    let (_, rank) = lottery::draw(key, &self.instance.scope(), randomness, round);
                    self.timers.insert((now + lottery::delay(&rank, patience(round)), Timer::Propose(round)));
                }
                self.instance.forget_before(round);
            }
            Action::Precommit(round, header) => self.cast(Vote::Precommit { round, header }, now),
            Action::WaitForPrevotes(round) => {
                self.timers.insert((now + patience(round), Timer::Prevotes(round)));
            }
            Action::WaitForPrecommits(round) => {
                self.timers.insert((now + patience(round), Timer::Precommits(round)));
            }
            Action::Decided(round, header) => self.decided = Some((round, header)),
        }
    }

    fn propose(&mut self, round: u32, now: u64) {
        let rounds = &self.instance.rounds;
        if round != rounds.round() || rounds.step() != Step::Propose || !self.can_cast(VoteKind::Proposal, round) {
            self.due = None;
            return;
        }
        let Some(key) = &self.key else { return };
        let (scope, head) = (self.instance.scope(), self.chain.head());
        let (proof, rank) = lottery::draw(key, &scope, &head.randomness, round);
        let epoch = epoch_for(self.chain.genesis(), head.epoch, now);
        let said = Said { epoch, round, proposer: SignerId(key.public()), proof };
        if self.instance.is_outdone(round, &rank, now) {
            self.due = None;
        } else if let Some(proposal) = self.instance.propose(round, said, proof) {
            self.due = None;
            self.cast(Vote::Proposal(Box::new(proposal)), now);
        }
        // Otherwise too little has come yet: the next message tries again.
    }

    /// Ends the instance if it is decided and the header is known.
    fn finish(&mut self, now: u64) -> bool {
        let Some((round, hash)) = self.decided else { return false };
        self.instance.learn(&hash);
        let Some(signed) = self.instance.certify(round, &hash) else { return false };
        let relays = self.instance.take_value(&hash).map(|value| value.relays);
        self.conclude(signed, relays, now, false);
        true
    }

    /// Moves on to the next instance; `joins` says that others may have done so before.
    pub(super) fn conclude(&mut self, signed: SignedHeader, relays: Option<Vec<RelayEntry>>, now: u64, joins: bool) {
        let voters = self.chain.head().voters.clone();
        if self.chain.advance(&signed).is_err() {
            // What this node counted itself is sound, and what came from others was verified.
            debug_assert!(false, "a decided header did not verify");
            self.decided = None;
            return;
        }
        self.transmits.push_back(Transmit { topic: Topic::Snapshots, bytes: signed.encode() });
        self.document = relays.and_then(|relays| EpochDocument::new(signed.clone(), relays).ok());
        self.events.push_back(match &self.document {
            Some(document) => Event::Agreed(Box::new(document.clone())),
            None => Event::Wanted(signed.header().hash()),
        });
        self.last = Some((signed, voters));
        self.begin_instance(now, joins);
        let epoch = self.chain.head().epoch;
        self.behind = 0;
        self.abstains = self.abstains.filter(|latest| epoch <= *latest);
        self.recall(now);
    }
}

impl std::fmt::Debug for Voting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voting")
            .field("head", &self.chain.head().hash)
            .field("round", &self.round())
            .finish_non_exhaustive()
    }
}

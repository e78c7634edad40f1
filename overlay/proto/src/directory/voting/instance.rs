//! One document in the making: what was said about it, and what a node makes of that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::fair;
use super::lottery;
use super::rounds::{Action, Rounds};
use super::timing::Timing;
use super::value::{Arrived, Check, Context, Gathered, Opened, Said, Value};
use crate::directory::Head;
use crate::keys::{VRF_PROOF_LEN, VrfOutput};
use crate::wire::control::vote::{Evidence, Proposal, Scope, Vote, VoteKind, VoteMessage, write_placed};
use crate::wire::control::{Certificate, Genesis, Header, HeaderHash, Reason, SignedHeader, Verdict};
use crate::wire::document::SignerId;

/// A proposal, and the rank of its ticket.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) message: VoteMessage,
    pub(super) rank: VrfOutput,
}

impl Ticket {
    pub(super) fn proposal(&self) -> &Proposal {
        match self.message.vote() {
            Vote::Proposal(proposal) => proposal,
            _ => unreachable!("tickets are made of proposals"),
        }
    }
}

/// What a proposed document is said to be made of: a header together with the ballots and secrets. Somebody else may name others for the
/// same header, so that one being unsound says nothing about the other.
type Making = [u8; 32];

fn making(proposal: &Proposal) -> Making {
    Sha256::new_with_prefix(proposal.header.hash().0)
        .chain_update([u8::try_from(proposal.ballots.len()).unwrap_or(u8::MAX)])
        .chain_update(write_placed(&proposal.ballots))
        .chain_update(write_placed(&proposal.secrets))
        .finalize()
        .into()
}

pub(super) struct Instance {
    pub(super) context: Context,
    pub(super) timing: Timing,
    pub(super) gathered: Gathered,
    pub(super) proposals: BTreeMap<u32, BTreeMap<u8, Ticket>>,
    pub(super) rounds: Rounds,
    values: BTreeMap<HeaderHash, Value>,
    sound: BTreeSet<Making>,
    unsound: BTreeSet<Making>,
    /// What was accepted, so that copies cost a hash.
    ids: BTreeSet<[u8; 32]>,
    convicted: BTreeSet<(u8, VoteKind, u32)>,
    /// The node came too late to judge what came when.
    pub(super) came_late: bool,
}

impl Instance {
    /// `joins` says that others may have begun before: not so where this node decided the document before by itself.
    pub(super) fn new(genesis: &Genesis, head: &Head, now: u64, joins: bool) -> Self {
        let timing = Timing::after(genesis, head.epoch, now);
        let scope = Scope { network: genesis.network_id(), previous_epoch: head.epoch, previous: head.hash };
        Self {
            timing,
            gathered: Gathered::default(),
            proposals: BTreeMap::new(),
            rounds: Rounds::new(head.voters.quorum(), head.voters.tolerated()),
            values: BTreeMap::new(),
            sound: BTreeSet::new(),
            unsound: BTreeSet::new(),
            ids: BTreeSet::new(),
            convicted: BTreeSet::new(),
            came_late: joins && timing.is_late(genesis, head.epoch),
            context: Context { genesis: genesis.clone(), head: head.clone(), scope },
        }
    }

    pub(super) fn scope(&self) -> Scope {
        self.context.scope
    }

    pub(super) fn place(&self, key: &SignerId) -> Option<u8> {
        self.context.head.voters.place(key).and_then(|place| u8::try_from(place).ok())
    }

    /// Whether these very bytes are here already, by their SHA-256.
    pub(super) fn has(&self, id: &[u8; 32]) -> bool {
        self.ids.contains(id)
    }

    /// The vote of a voter, of a kind and round.
    pub(super) fn vote_of(&self, place: u8, kind: VoteKind, round: u32) -> Option<&VoteMessage> {
        match kind {
            VoteKind::Commitment => self.gathered.commitments.get(&place).map(|arrived| &arrived.message),
            VoteKind::Reveal => self.gathered.reveals.get(&place).map(|opened| &opened.arrived.message),
            VoteKind::Ballot => self.gathered.ballots.get(&place)?.first().map(|arrived| &arrived.message),
            VoteKind::Proposal => self.proposals.get(&round)?.get(&place).map(|ticket| &ticket.message),
            VoteKind::Prevote => self.rounds.prevotes(round)?.get(place),
            VoteKind::Precommit => self.rounds.precommits(round)?.get(place),
        }
    }

    /// Takes a vote in this scope, or says why not. The second answer is proof against its voter, found for the first time.
    pub(super) fn accept(&mut self, message: VoteMessage, now: u64, own: bool) -> (Verdict, Option<Evidence>) {
        let Some(place) = self.place(&message.voter()) else {
            // Whoever passed it on knows this scope's voters.
            return (Verdict::Reject(Reason::NotEntitled), None);
        };
        let (kind, round) = (message.vote().kind(), message.vote().round());
        if self.ids.contains(&message.id()) {
            return (Verdict::Ignore(Reason::Duplicate), None);
        }
        if !self.rounds.keeps(round) {
            return (Verdict::Ignore(Reason::Early), None);
        }
        let known = self.votes_of(place, kind, round);
        // The same words signed in another way are the same vote. Other words are another vote, even if they mean the same: somebody may
        // have counted them, and whoever looks for them by their hash has to find them.
        if known.iter().any(|known| known.says_the_same(&message)) {
            return (Verdict::Ignore(Reason::Duplicate), None);
        }
        let first = known.first().copied().cloned();
        // Ballots and votes that contradict others of their voter are kept, some of them: others may have counted them.
        let room = match kind {
            VoteKind::Ballot => self.has_room_for(place, &message, &known),
            VoteKind::Prevote | VoteKind::Precommit => true,
            _ => first.is_none(),
        };
        if !room && (kind == VoteKind::Ballot || self.convicted.contains(&(place, kind, round))) {
            return (Verdict::Ignore(Reason::Equivocation), None);
        }
        if !own && !message.is_signed() {
            return (Verdict::Reject(Reason::Forged), None);
        }
        let evidence =
            first.and_then(|first| Evidence::find(&first, &message)).filter(|evidence| self.convict(evidence));
        if !room {
            return (Verdict::Ignore(Reason::Equivocation), evidence);
        }
        let id = message.id();
        let verdict = self.store(place, message, now);
        if verdict == Verdict::Accept {
            self.ids.insert(id);
        }
        (verdict, evidence)
    }

    /// Notes proof, whose votes are verified; whether it was new.
    pub(super) fn convict(&mut self, evidence: &Evidence) -> bool {
        let vote = evidence.votes().0.vote();
        let (kind, round) = (vote.kind(), vote.round());
        let Some(place) = self.place(&evidence.voter()) else { return false };
        self.convicted.insert((place, kind, round))
    }

    /// All votes of a voter, of a kind and round, that are kept.
    pub(super) fn votes_of(&self, place: u8, kind: VoteKind, round: u32) -> Vec<&VoteMessage> {
        match kind {
            VoteKind::Ballot => {
                self.gathered.ballots.get(&place).into_iter().flatten().map(|arrived| &arrived.message).collect()
            }
            VoteKind::Prevote => {
                self.rounds.prevotes(round).map(|tally| tally.all_of(place).collect()).unwrap_or_default()
            }
            VoteKind::Precommit => {
                self.rounds.precommits(round).map(|tally| tally.all_of(place).collect()).unwrap_or_default()
            }
            _ => self.vote_of(place, kind, round).into_iter().collect(),
        }
    }

    /// Two ballots of a voter are kept, and besides them those of which a document is made that voters may be locked on.
    fn has_room_for(&self, place: u8, ballot: &VoteMessage, known: &[&VoteMessage]) -> bool {
        let binds = |ballot: &VoteMessage| ballot.ballot_id().is_some_and(|id| self.binds(place, &id));
        known.len() < 2 || binds(ballot) || known.iter().filter(|known| !binds(known)).count() < 2
    }

    fn binds(&self, place: u8, ballot: &[u8; 32]) -> bool {
        self.binding().values().any(|proposal| proposal.ballots.binary_search(&(place, *ballot)).is_ok())
    }

    /// The latest proposal of each voter whose document more voters prevoted than may lie: somebody honest has all that it is made of.
    /// Not all of these need say the truth about that, but those of honest voters do.
    fn binding(&self) -> BTreeMap<u8, &Proposal> {
        let all = self.proposals.values().flatten().map(|(place, ticket)| (*place, ticket.proposal()));
        all.filter(|(_, proposal)| self.rounds.is_backed(&proposal.header.hash())).collect()
    }

    /// Ballots that are not here, of a document that voters may be locked on: by what one voter says, another one in each round.
    pub(super) fn missing_ballots(&self, max: usize) -> Vec<(u8, [u8; 32])> {
        let lists: Vec<Vec<(u8, [u8; 32])>> = self
            .binding()
            .into_values()
            .filter(|proposal| !self.values.contains_key(&proposal.header.hash()))
            .map(|proposal| {
                let all = proposal.ballots.iter().copied();
                all.filter(|(place, id)| self.gathered.ballot_message(*place, id).is_none()).take(max).collect()
            })
            .filter(|missing: &Vec<_>| !missing.is_empty())
            .collect();
        let turn = usize::try_from(self.rounds.round()).unwrap_or(0) % lists.len().max(1);
        lists.into_iter().nth(turn).unwrap_or_default()
    }

    /// Forgets ballots of a voter that were kept besides two because of a proposal that is no more.
    fn forget_ballots(&mut self, place: u8) {
        let Some(all) = self.gathered.ballots.get(&place).filter(|all| all.len() > 2) else { return };
        let useless = all.iter().skip(2).map(|arrived| &arrived.message);
        let useless: BTreeSet<[u8; 32]> = useless
            .filter(|message| message.ballot_id().is_none_or(|id| !self.binds(place, &id)))
            .map(VoteMessage::id)
            .collect();
        if let Some(all) = self.gathered.ballots.get_mut(&place) {
            all.retain(|arrived| !useless.contains(&arrived.message.id()));
        }
        self.ids.retain(|id| !useless.contains(id));
    }

    fn store(&mut self, place: u8, message: VoteMessage, now: u64) -> Verdict {
        let voter = message.voter();
        let arrived = |message| Arrived { message, at: now };
        match message.vote().clone() {
            Vote::Commitment(_) => {
                self.gathered.commitments.insert(place, arrived(message));
            }
            Vote::Reveal(proof) => {
                let Some(secret) = self.context.prove(place, &proof) else {
                    // Whoever passed it on could have known.
                    return Verdict::Reject(Reason::AgainstRules);
                };
                self.gathered.reveals.insert(place, Opened { arrived: arrived(message), proof, secret });
            }
            Vote::Ballot(_) => {
                self.gathered.ballots.entry(place).or_default().push(arrived(message));
                self.forget_ballots(place);
            }
            Vote::Proposal(proposal) => {
                let randomness = &self.context.head.randomness;
                let round = proposal.round;
                let Some(rank) = lottery::rank(&voter, &self.context.scope, randomness, round, &proposal.proof) else {
                    return Verdict::Reject(Reason::Forged);
                };
                self.rounds.add_proposer(round, place);
                self.proposals.entry(round).or_default().insert(place, Ticket { message, rank });
            }
            Vote::Prevote { round, header } => {
                if !self.rounds.add_prevote(round, place, header, message) {
                    return Verdict::Ignore(Reason::Equivocation);
                }
            }
            Vote::Precommit { round, header } => {
                if !self.rounds.add_precommit(round, place, header, message) {
                    return Verdict::Ignore(Reason::Equivocation);
                }
            }
        }
        Verdict::Accept
    }

    /// Forgets proposals of rounds that are over, except those that enough voters may still be locked on.
    pub(super) fn forget_before(&mut self, round: u32) {
        let voted: BTreeSet<HeaderHash> = (0..round)
            .filter_map(|round| self.rounds.prevotes(round))
            .flat_map(|tally| tally.iter().filter_map(|(_, value, _)| value).collect::<Vec<_>>())
            .collect();
        for (at, tickets) in &mut self.proposals {
            if *at < round {
                tickets.retain(|_, ticket| voted.contains(&ticket.proposal().header.hash()));
            }
        }
        self.proposals.retain(|_, tickets| !tickets.is_empty());
    }

    /// A header that somebody proposed.
    pub(super) fn header(&self, hash: &HeaderHash) -> Option<&Header> {
        self.ticket(hash).map(|ticket| &ticket.proposal().header)
    }

    fn ticket(&self, hash: &HeaderHash) -> Option<&Ticket> {
        self.tickets(hash).next()
    }

    fn tickets(&self, hash: &HeaderHash) -> impl Iterator<Item = &Ticket> {
        self.proposals
            .values()
            .flat_map(BTreeMap::values)
            .filter(move |ticket| ticket.proposal().header.hash() == *hash)
    }

    pub(super) fn value(&self, hash: &HeaderHash) -> Option<&Value> {
        self.values.get(hash)
    }

    pub(super) fn take_value(&mut self, hash: &HeaderHash) -> Option<Value> {
        self.values.remove(hash)
    }

    /// Looks once more whether a document is sound, by whatever a proposal says that it is made of.
    pub(super) fn learn(&mut self, hash: &HeaderHash) -> bool {
        if self.values.contains_key(hash) {
            return true;
        }
        let proposals: Vec<Proposal> = self.tickets(hash).map(|ticket| ticket.proposal().clone()).collect();
        proposals.iter().any(|proposal| self.weigh(proposal))
    }

    /// Whether a document is sound by what this proposal says that it is made of; looked at once more if that was not found out before.
    fn weigh(&mut self, proposal: &Proposal) -> bool {
        let making = making(proposal);
        if self.sound.contains(&making) {
            return true;
        }
        if self.unsound.contains(&making) {
            return false;
        }
        match self.context.check(proposal, &self.gathered) {
            Check::Sound(relays) => {
                self.sound.insert(making);
                let proposal = proposal.clone();
                self.values.entry(proposal.header.hash()).or_insert(Value { proposal, relays });
                true
            }
            Check::Missing => false,
            Check::Unsound => {
                self.unsound.insert(making);
                false
            }
        }
    }

    /// Looks at the document that the current round's prevotes, or a decision, wait for.
    pub(super) fn settle(&mut self) {
        let round = self.rounds.round();
        let wanted: BTreeSet<HeaderHash> = self
            .rounds
            .prevotes(round)
            .into_iter()
            .flat_map(|tally| tally.iter().filter_map(|(_, value, _)| value))
            .collect();
        for hash in wanted {
            if self.rounds.has_polka(round, &hash) {
                self.learn(&hash);
            }
        }
    }

    /// What the rounds ask for now.
    pub(super) fn poll(&mut self) -> Option<Action> {
        let values = &self.values;
        self.rounds.poll(|hash| values.contains_key(hash))
    }

    /// The round's proposals, best first: those that enough others prevoted before, latest first; then by lot.
    fn candidates(&self, round: u32) -> Vec<Ticket> {
        let mut tickets: Vec<(u8, Ticket)> = self
            .proposals
            .get(&round)
            .map(|tickets| tickets.iter().map(|(place, ticket)| (*place, ticket.clone())).collect())
            .unwrap_or_default();
        tickets.retain(|(place, ticket)| {
            let proposal = ticket.proposal();
            let seconded = |locked| self.rounds.has_polka(locked, &proposal.header.hash());
            // Of somebody who proposed two documents, voters may have seen either.
            !self.convicted.contains(&(*place, VoteKind::Proposal, round)) && proposal.locked_round.is_none_or(seconded)
        });
        tickets.sort_by_key(|(_, ticket)| (Reverse(ticket.proposal().locked_round), ticket.rank));
        tickets.into_iter().map(|(_, ticket)| ticket).collect()
    }

    /// What to prevote in a round, after its proposals had their time.
    pub(super) fn choose(&mut self, round: u32, now: u64) -> Option<HeaderHash> {
        for ticket in self.candidates(round) {
            let proposal = ticket.proposal();
            let hash = proposal.header.hash();
            if !self.rounds.may_prevote(&hash, proposal.locked_round) {
                continue;
            }
            let own_lock = self.rounds.locked().is_some_and(|(_, locked)| locked == hash);
            let good = if proposal.locked_round.is_some() || own_lock {
                self.learn(&hash)
            } else {
                // Fair or not is what this proposal names, so this has to be what the document is made of.
                fair::epoch_fits(&self.context, proposal, now)
                    && (self.came_late || fair::is_fair(&self.context, &self.timing, &self.gathered, proposal))
                    && self.weigh(proposal)
            };
            if good {
                return Some(hash);
            }
        }
        None
    }

    /// Whether somebody with a better ticket proposed something that this node would prevote.
    pub(super) fn is_outdone(&mut self, round: u32, rank: &VrfOutput, now: u64) -> bool {
        let valid = self.rounds.valid().map(|(round, _)| round);
        let better: Vec<HeaderHash> = self
            .candidates(round)
            .iter()
            .filter(|ticket| (Reverse(ticket.proposal().locked_round), ticket.rank) < (Reverse(valid), *rank))
            .map(|ticket| ticket.proposal().header.hash())
            .collect();
        !better.is_empty() && self.choose(round, now).is_some_and(|chosen| better.contains(&chosen))
    }

    /// What this node would propose in a round: what enough others prevoted before, or else what it gathered.
    pub(super) fn propose(&mut self, round: u32, said: Said, proof: [u8; VRF_PROOF_LEN]) -> Option<Proposal> {
        if let Some((locked, hash)) = self.rounds.valid() {
            let value = self.values.get(&hash)?;
            return Some(Proposal { round, locked_round: Some(locked), proof, ..value.proposal.clone() });
        }
        let ballots = fair::ballots(&self.gathered);
        let secrets = fair::secrets(&self.timing, &self.gathered, round, self.came_late);
        let (header, relays) = self.context.compose(said, &ballots, &secrets, &self.gathered)?;
        let proposal = Proposal { round, locked_round: None, proof, header, ballots, secrets };
        self.sound.insert(making(&proposal));
        self.values.insert(proposal.header.hash(), Value { proposal: proposal.clone(), relays });
        Some(proposal)
    }

    /// The document's head with the precommits of a round.
    pub(super) fn certify(&self, round: u32, hash: &HeaderHash) -> Option<SignedHeader> {
        let header = match self.values.get(hash) {
            Some(value) => value.proposal.header.clone(),
            None => self.header(hash)?.clone(),
        };
        let signatures = self
            .rounds
            .precommits(round)?
            .iter()
            .filter(|(_, value, _)| *value == Some(*hash))
            .map(|(place, _, message)| (place, *message.signature()))
            .collect();
        SignedHeader::new(header, Certificate { round, signatures }).ok()
    }
}

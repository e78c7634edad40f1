//! Rounds of prevotes and precommits: who is locked on what, and when it is decided.
//!
//! This part knows hashes and places of voters, and nothing else. The rules are those of Tendermint's algorithm 1; their numbers there
//! stand beside them. Whoever drives it hands it votes of voters that it verified, tells which values it has, and does what
//! [`Rounds::poll`] says.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::control::HeaderHash;
use crate::wire::control::vote::VoteMessage;

/// How many rounds ahead of its own a node keeps votes for.
pub(super) const ROUNDS_AHEAD: u32 = 16;
/// How many rounds behind its own.
const ROUNDS_BEHIND: u32 = 64;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    Propose,
    Prevote,
    Precommit,
}

/// What there is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// A round begins: draw lots, and call [`Rounds::prevote`] when its proposals have had their time.
    Begin(u32),
    /// Sign and send this precommit, and hand it back as a vote.
    Precommit(u32, Option<HeaderHash>),
    /// Call [`Rounds::prevotes_waited`] for this round later.
    WaitForPrevotes(u32),
    /// Call [`Rounds::precommits_waited`] for this round later.
    WaitForPrecommits(u32),
    /// Enough voters precommitted this in this round.
    Decided(u32, HeaderHash),
}

/// How many different votes of one voter are kept. One that says two things counts for both: others may have locked on a document by
/// the vote that this node saw second, and only by counting it this node can follow them. It takes a third of the voters to make
/// two values win so. A vote for what more voters than may lie are for always has room: somebody may be locked by it, and whoever
/// filled the places with other votes before could otherwise hide it from this node for ever.
const VARIANTS_MAX: usize = 4;

/// What the votes of a kind and round were for.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally(BTreeMap<u8, Vec<(Option<HeaderHash>, VoteMessage)>>);

impl Tally {
    /// The vote of a voter that came first.
    pub(super) fn get(&self, place: u8) -> Option<&VoteMessage> {
        self.0.get(&place)?.first().map(|(_, message)| message)
    }

    /// All votes of a voter.
    pub(super) fn all_of(&self, place: u8) -> impl Iterator<Item = &VoteMessage> {
        self.0.get(&place).into_iter().flatten().map(|(_, message)| message)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, Option<HeaderHash>, &VoteMessage)> {
        self.0.iter().flat_map(|(place, votes)| votes.iter().map(|(value, message)| (*place, *value, message)))
    }

    /// Whether it was new and there was room.
    fn add(&mut self, place: u8, value: Option<HeaderHash>, message: VoteMessage, tolerated: usize) -> bool {
        let backed = self.count(value) > tolerated;
        let votes = self.0.entry(place).or_default();
        let room = (votes.len() < VARIANTS_MAX || backed) && votes.iter().all(|(voted, _)| *voted != value);
        if room {
            votes.push((value, message));
        }
        room
    }

    fn count(&self, value: Option<HeaderHash>) -> usize {
        self.0.values().filter(|votes| votes.iter().any(|(voted, _)| *voted == value)).count()
    }

    /// A value that so many voted for; there is one at most while fewer than a third say two things.
    fn chosen(&self, quorum: usize) -> Option<Option<HeaderHash>> {
        let values: BTreeSet<Option<HeaderHash>> = self.iter().map(|(_, value, _)| value).collect();
        values.into_iter().find(|value| self.count(*value) >= quorum)
    }
}

#[derive(Debug)]
pub(super) struct Rounds {
    quorum: usize,
    tolerated: usize,
    round: u32,
    step: Step,
    begun: bool,
    locked: Option<(u32, HeaderHash)>,
    valid: Option<(u32, HeaderHash)>,
    prevotes: BTreeMap<u32, Tally>,
    precommits: BTreeMap<u32, Tally>,
    /// Who proposed in rounds to come: they are there already.
    ahead: BTreeMap<u32, BTreeSet<u8>>,
    waiting: BTreeSet<(u32, Step)>,
    decided: bool,
}

impl Rounds {
    pub(super) fn new(quorum: usize, tolerated: usize) -> Self {
        Self {
            quorum,
            tolerated,
            round: 0,
            step: Step::Propose,
            begun: false,
            locked: None,
            valid: None,
            prevotes: BTreeMap::new(),
            precommits: BTreeMap::new(),
            ahead: BTreeMap::new(),
            waiting: BTreeSet::new(),
            decided: false,
        }
    }

    pub(super) fn round(&self) -> u32 {
        self.round
    }

    pub(super) fn step(&self) -> Step {
        self.step
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn locked(&self) -> Option<(u32, HeaderHash)> {
        self.locked
    }

    pub(super) fn valid(&self) -> Option<(u32, HeaderHash)> {
        self.valid
    }

    /// What a restart restores. The votes themselves are handed in again.
    pub(super) fn restore(&mut self, round: u32, locked: Option<(u32, HeaderHash)>, valid: Option<(u32, HeaderHash)>) {
        (self.round, self.locked, self.valid) = (round, locked, valid);
    }

    pub(super) fn prevotes(&self, round: u32) -> Option<&Tally> {
        self.prevotes.get(&round)
    }

    pub(super) fn precommits(&self, round: u32) -> Option<&Tally> {
        self.precommits.get(&round)
    }

    /// Whether votes of a round are kept.
    pub(super) fn keeps(&self, round: u32) -> bool {
        round <= self.round.saturating_add(ROUNDS_AHEAD) && round.saturating_add(ROUNDS_BEHIND) >= self.round
    }

    /// Adds a prevote; whether it was new and there was room.
    pub(super) fn add_prevote(
        &mut self,
        round: u32,
        place: u8,
        value: Option<HeaderHash>,
        message: VoteMessage,
    ) -> bool {
        self.prevotes.entry(round).or_default().add(place, value, message, self.tolerated)
    }

    /// Adds a precommit; whether it was new and there was room.
    pub(super) fn add_precommit(
        &mut self,
        round: u32,
        place: u8,
        value: Option<HeaderHash>,
        message: VoteMessage,
    ) -> bool {
        self.precommits.entry(round).or_default().add(place, value, message, self.tolerated)
    }

    pub(super) fn add_proposer(&mut self, round: u32, place: u8) {
        self.ahead.entry(round).or_default().insert(place);
    }

    /// Whether enough voters prevoted a value in a round.
    pub(super) fn has_polka(&self, round: u32, value: &HeaderHash) -> bool {
        self.prevotes.get(&round).is_some_and(|tally| tally.count(Some(*value)) >= self.quorum)
    }

    /// Whether more voters than may lie prevoted a value in one round: somebody honest found it sound.
    pub(super) fn is_backed(&self, value: &HeaderHash) -> bool {
        self.prevotes.values().any(|tally| tally.count(Some(*value)) > self.tolerated)
    }

    /// Whether more voters than may lie are in rounds already.
    pub(super) fn others_began(&self) -> bool {
        self.crowded_from(self.round).is_some()
    }

    /// Begins the first round, or the one that was restored.
    pub(super) fn begin(&mut self) -> Action {
        self.begun = true;
        self.start(self.round)
    }

    fn start(&mut self, round: u32) -> Action {
        self.round = round;
        self.step = Step::Propose;
        let keep = round.saturating_sub(ROUNDS_BEHIND);
        self.prevotes = self.prevotes.split_off(&keep);
        self.precommits = self.precommits.split_off(&keep);
        self.ahead = self.ahead.split_off(&round);
        self.waiting = self.waiting.split_off(&(round, Step::Propose));
        Action::Begin(round)
    }

    /// Whether a proposal may be prevoted (lines 22 and 28): it is what this node is locked on, or the node is not locked, or enough
    /// others prevoted it no earlier than the lock.
    pub(super) fn may_prevote(&self, value: &HeaderHash, locked_round: Option<u32>) -> bool {
        let free = self.locked.is_none_or(|(_, locked)| locked == *value);
        match locked_round {
            None => free,
            Some(round) => {
                round < self.round
                    && self.has_polka(round, value)
                    && (free || self.locked.is_some_and(|(locked, _)| locked <= round))
            }
        }
    }

    /// The proposals of the round had their time: the node prevotes. Tells the round, if it has not prevoted in it yet.
    pub(super) fn prevote(&mut self) -> Option<u32> {
        (self.step == Step::Propose).then(|| {
            self.step = Step::Prevote;
            self.round
        })
    }

    /// The prevotes of a round had their time (line 61).
    pub(super) fn prevotes_waited(&mut self, round: u32) -> Option<Action> {
        (self.round == round && self.step == Step::Prevote).then(|| {
            self.step = Step::Precommit;
            Action::Precommit(round, None)
        })
    }

    /// The precommits of a round had their time (line 65).
    pub(super) fn precommits_waited(&mut self, round: u32) -> Option<Action> {
        (self.round == round && !self.decided).then(|| self.start(round + 1))
    }

    /// What there is to do now, one thing at a time; `has` tells whether the node has a value whole and found it sound.
    pub(super) fn poll(&mut self, has: impl Fn(&HeaderHash) -> bool) -> Option<Action> {
        if self.decided {
            return None;
        }
        // Line 49. The precommits are the signatures: they decide, even where the value is still to be fetched.
        let won = self.precommits.iter().find_map(|(round, tally)| Some((*round, tally.chosen(self.quorum)??)));
        if let Some((round, value)) = won {
            self.decided = true;
            return Some(Action::Decided(round, value));
        }
        if !self.begun {
            return None;
        }
        // Line 55: more voters than may lie are in a later round.
        if let Some(round) = self.crowded_from(self.round + 1) {
            return Some(self.start(round));
        }
        let round = self.round;
        let prevotes = self.prevotes.get(&round);
        if self.step >= Step::Prevote
            && let Some(chosen) = prevotes.and_then(|tally| tally.chosen(self.quorum))
        {
            match chosen {
                // Line 36.
                Some(value) if has(&value) => {
                    self.valid = Some((round, value));
                    if self.step == Step::Prevote {
                        self.locked = Some((round, value));
                        self.step = Step::Precommit;
                        return Some(Action::Precommit(round, Some(value)));
                    }
                }
                Some(_) => {}
                // Line 44.
                None if self.step == Step::Prevote => {
                    self.step = Step::Precommit;
                    return Some(Action::Precommit(round, None));
                }
                None => {}
            }
        }
        // Line 34.
        if self.step == Step::Prevote
            && prevotes.is_some_and(|tally| tally.0.len() >= self.quorum)
            && self.waiting.insert((round, Step::Prevote))
        {
            return Some(Action::WaitForPrevotes(round));
        }
        // Line 47.
        if self.precommits.get(&round).is_some_and(|tally| tally.0.len() >= self.quorum)
            && self.waiting.insert((round, Step::Precommit))
        {
            return Some(Action::WaitForPrecommits(round));
        }
        None
    }

    /// The latest round from `first` on in which more voters are than may lie.
    fn crowded_from(&self, first: u32) -> Option<u32> {
        let rounds: BTreeSet<u32> = [&self.prevotes, &self.precommits]
            .into_iter()
            .flat_map(|tallies| tallies.range(first..).map(|(round, _)| *round))
            .chain(self.ahead.range(first..).map(|(round, _)| *round))
            .collect();
        rounds.into_iter().rev().find(|round| {
            let voted = |tallies: &BTreeMap<u32, Tally>| {
                tallies.get(round).map(|tally| tally.0.keys().copied().collect::<Vec<_>>()).unwrap_or_default()
            };
            let mut places: BTreeSet<u8> = voted(&self.prevotes).into_iter().chain(voted(&self.precommits)).collect();
            places.extend(self.ahead.get(round).into_iter().flatten());
            places.len() > self.tolerated
        })
    }
}

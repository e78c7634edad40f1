//! What one node has and another lacks: gossip loses messages, and nodes come late.

use prost::Message as _;

use super::instance::Instance;
use super::machine::Transmit;
use crate::wire::control::canonical::{self, FormError, array};
use crate::wire::control::vote::{Scope, VoteKind, VoteMessage, read_placed, write_placed};
use crate::wire::control::{HeaderHash, SignedHeader, Topic};
use crate::wire::document::NetworkId;

/// Largest question, in bytes.
pub const HAVE_MAX: usize = 768;
/// How many ballots are asked for by their names at once.
const NAMED_MAX: usize = 16;
/// How many bytes an answer has at most, a last message excepted: who lacks more asks again.
const ANSWER_MAX: usize = 512 * 1024;

/// What a node has: a bit for each place of a voter.
pub(super) fn have(instance: &Instance) -> Vec<u8> {
    let scope = instance.scope();
    let round = instance.rounds.round();
    let bits = |kind| {
        (0..64)
            .filter(|place| instance.vote_of(*place, kind, round).is_some())
            .fold(0u64, |all, place| all | 1 << place)
    };
    let both = (0..64).filter(|place| instance.votes_of(*place, VoteKind::Ballot, 0).len() > 1);
    schema::Have {
        network: scope.network.0.to_vec(),
        previous_epoch: scope.previous_epoch,
        previous: scope.previous.0.to_vec(),
        commitments: bits(VoteKind::Commitment),
        reveals: bits(VoteKind::Reveal),
        ballots: bits(VoteKind::Ballot),
        round,
        proposals: bits(VoteKind::Proposal),
        prevotes: bits(VoteKind::Prevote),
        precommits: bits(VoteKind::Precommit),
        both_ballots: both.fold(0u64, |all, place| all | 1 << place),
        missing: write_placed(&instance.missing_ballots(NAMED_MAX)),
    }
    .encode_to_vec()
}

/// What whoever has that lacks, in the order in which it can be used.
pub(super) fn answer(
    instance: &Instance,
    newest: Option<&SignedHeader>,
    have: &[u8],
) -> Result<Vec<Transmit>, FormError> {
    let have: schema::Have = canonical::read_strict(have, HAVE_MAX)?;
    let theirs = Scope {
        network: NetworkId(array(&have.network, "network id")?),
        previous_epoch: have.previous_epoch,
        previous: HeaderHash(array(&have.previous, "hash of the document before")?),
    };
    let ours = instance.scope();
    if theirs != ours {
        let later = theirs.network == ours.network && theirs.previous_epoch < ours.previous_epoch;
        let header = newest.filter(|_| later);
        return Ok(header
            .map(|signed| Transmit { topic: Topic::Snapshots, bytes: signed.encode() })
            .into_iter()
            .collect());
    }
    let named: Vec<(u8, [u8; 32])> = read_placed(&have.missing)?;
    let mut out = Answer { instance, messages: Vec::new(), len: 0 };
    out.add(VoteKind::Commitment, 0, have.commitments);
    out.add(VoteKind::Reveal, 0, have.reveals);
    let rounds = &instance.rounds;
    // The round that it is in, the one that this node is in, and those that proposals may rest on.
    out.round(have.round, [have.proposals, have.prevotes, have.precommits]);
    let mut others = vec![rounds.round()];
    others.extend([rounds.valid(), rounds.locked()].into_iter().flatten().map(|(round, _)| round));
    others.sort_unstable();
    others.dedup();
    for round in others.into_iter().filter(|round| *round != have.round) {
        out.round(round, [0; 3]);
    }
    let named = named.iter().filter_map(|(place, id)| instance.gathered.ballot_message(*place, id));
    named.for_each(|message| out.push(message));
    out.add(VoteKind::Ballot, 0, have.ballots);
    out.second_ballots(have.both_ballots);
    Ok(out.messages)
}

struct Answer<'a> {
    instance: &'a Instance,
    messages: Vec<Transmit>,
    len: usize,
}

impl Answer<'_> {
    fn round(&mut self, round: u32, [proposals, prevotes, precommits]: [u64; 3]) {
        self.add(VoteKind::Proposal, round, proposals);
        self.add(VoteKind::Prevote, round, prevotes);
        self.add(VoteKind::Precommit, round, precommits);
    }

    fn add(&mut self, kind: VoteKind, round: u32, has: u64) {
        let instance = self.instance;
        for place in 0..64 {
            let votes = instance.votes_of(place, kind, round);
            // Of whoever said two things in a round it may have the other one: both are sent, they are small.
            let both = votes.len() > 1 && kind != VoteKind::Ballot;
            if has & 1 << place == 0 || both {
                votes.into_iter().for_each(|message| self.push(message));
            }
        }
    }

    fn second_ballots(&mut self, has: u64) {
        let instance = self.instance;
        for place in (0..64).filter(|place| has & 1 << place == 0) {
            let votes = instance.votes_of(place, VoteKind::Ballot, 0);
            if votes.len() > 1 {
                votes.into_iter().for_each(|message| self.push(message));
            }
        }
    }

    fn push(&mut self, message: &VoteMessage) {
        if self.len < ANSWER_MAX {
            let bytes = message.as_bytes().to_vec();
            self.len += bytes.len();
            self.messages.push(Transmit { topic: Topic::Votes, bytes });
        }
    }
}

mod schema {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Have {
        #[prost(bytes = "vec", tag = "1")]
        pub(super) network: Vec<u8>,
        #[prost(uint64, tag = "2")]
        pub(super) previous_epoch: u64,
        #[prost(bytes = "vec", tag = "3")]
        pub(super) previous: Vec<u8>,
        #[prost(fixed64, tag = "4")]
        pub(super) commitments: u64,
        #[prost(fixed64, tag = "5")]
        pub(super) reveals: u64,
        #[prost(fixed64, tag = "6")]
        pub(super) ballots: u64,
        #[prost(uint32, tag = "7")]
        pub(super) round: u32,
        #[prost(fixed64, tag = "8")]
        pub(super) proposals: u64,
        #[prost(fixed64, tag = "9")]
        pub(super) prevotes: u64,
        #[prost(fixed64, tag = "10")]
        pub(super) precommits: u64,
        /// Voters of whom it has two ballots.
        #[prost(fixed64, tag = "11")]
        pub(super) both_ballots: u64,
        /// Ballots that it needs and has not: a place and the name of each, ascending.
        #[prost(bytes = "vec", tag = "12")]
        pub(super) missing: Vec<u8>,
    }
}

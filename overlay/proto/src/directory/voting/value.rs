//! What was gathered, the documents that can be made of it, and whether a proposed one is one of them.

use std::collections::BTreeMap;

use super::count::{count, randomness};
use super::lottery;
use crate::directory::Head;
use crate::keys::VRF_PROOF_LEN;
use crate::wire::control::vote::{Ballot, Proposal, Scope, Vote, VoteMessage, commitment};
use crate::wire::control::{Genesis, Header, HeaderFields, RelayEntry, table_hash, write_table};
use crate::wire::document::SignerId;

/// A message and when it came, unix milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) message: VoteMessage,
    pub(super) at: u64,
}

/// What voters said before the first round, by their places.
#[derive(Clone, Default, Debug)]
pub(super) struct Gathered {
    pub(super) commitments: BTreeMap<u8, Arrived>,
    pub(super) reveals: BTreeMap<u8, Arrived>,
    /// Two of a voter at most. A proposal may name either.
    pub(super) ballots: BTreeMap<u8, Vec<Arrived>>,
    /// Who committed to two secrets, with the proof: nobody names either.
    pub(super) two_faced: BTreeMap<u8, Vec<u8>>,
}

impl Gathered {
    fn ballot(&self, place: u8, id: &[u8; 32]) -> Option<&Ballot> {
        let arrived = self.ballots.get(&place)?.iter().find(|arrived| arrived.message.id() == *id)?;
        match arrived.message.vote() {
            Vote::Ballot(ballot) => Some(ballot),
            _ => None,
        }
    }

    /// What a voter committed to.
    pub(super) fn commitment(&self, place: u8) -> Option<[u8; 32]> {
        match self.commitments.get(&place)?.message.vote() {
            Vote::Commitment(value) => Some(*value),
            _ => None,
        }
    }

    /// The secret that a voter opened.
    pub(super) fn secret(&self, place: u8) -> Option<[u8; 32]> {
        match self.reveals.get(&place)?.message.vote() {
            Vote::Reveal(secret) => Some(*secret),
            _ => None,
        }
    }
}

/// What an instance follows.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) genesis: Genesis,
    pub(super) head: Head,
    pub(super) scope: Scope,
}

/// A document that was found sound.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) proposal: Proposal,
    pub(super) relays: Vec<RelayEntry>,
}

/// What a look at a proposed document found.
#[derive(Debug)]
pub(super) enum Check {
    Sound(Vec<RelayEntry>),
    /// It names what has not come yet.
    Missing,
    Unsound,
}

/// What of a header its proposer says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) epoch: u64,
    pub(super) round: u32,
    pub(super) proposer: SignerId,
    pub(super) proof: [u8; VRF_PROOF_LEN],
}

impl Context {
    /// The document that these ballots and secrets amount to. `None` when there are too few or some are missing.
    pub(super) fn compose(
        &self,
        said: Said,
        ballots: &[(u8, [u8; 32])],
        secrets: &[(u8, [u8; 32])],
        gathered: &Gathered,
    ) -> Option<(Header, Vec<RelayEntry>)> {
        let quorum = self.head.voters.quorum();
        if ballots.len() < quorum || secrets.len() < quorum {
            return None;
        }
        let named = ballots
            .iter()
            .map(|(place, id)| Some((*place, gathered.ballot(*place, id)?)))
            .collect::<Option<Vec<(u8, &Ballot)>>>()?;
        let counted = count(&self.genesis, &self.head, &named);
        let header = Header::new(HeaderFields {
            network: self.scope.network,
            epoch: said.epoch,
            previous_epoch: self.scope.previous_epoch,
            previous: self.scope.previous,
            valid_after: self.genesis.epoch_start(said.epoch),
            valid_until: self.genesis.epoch_start(said.epoch.saturating_add(counted.parameters.lifetime())),
            proposer: said.proposer,
            round: said.round,
            proof: said.proof,
            randomness: randomness(&self.scope, &self.head.voters, secrets),
            signers: self.head.voters.hash(),
            voters: counted.voters,
            parameters: counted.parameters,
            relay_count: counted.relays.len(),
            relays: table_hash(&write_table(&counted.relays)),
        })
        .ok()?;
        Some((header, counted.relays))
    }

    /// Whether a proposed document is what its ballots and secrets amount to, and its proposer drew the ticket that it says.
    pub(super) fn check(&self, proposal: &Proposal, gathered: &Gathered) -> Check {
        let header = &proposal.header;
        let (voters, scope) = (&self.head.voters, &self.scope);
        let quorum = voters.quorum();
        let known = |list: &[(u8, [u8; 32])]| list.iter().all(|(place, _)| voters.at(usize::from(*place)).is_some());
        let in_scope = header.network() == scope.network
            && header.previous() == scope.previous
            && header.previous_epoch() == scope.previous_epoch
            && header.round() <= proposal.round
            // Nobody signs what it does not understand.
            && !header.is_extended();
        let enough = proposal.ballots.len() >= quorum && proposal.secrets.len() >= quorum;
        if !in_scope || !enough || !known(&proposal.ballots) || !known(&proposal.secrets) {
            return Check::Unsound;
        }
        if voters.place(&header.proposer()).is_none()
            || lottery::rank(&header.proposer(), scope, &self.head.randomness, header.round(), header.proof()).is_none()
        {
            return Check::Unsound;
        }
        for (place, secret) in &proposal.secrets {
            let (Some(voter), Some(committed)) = (voters.at(usize::from(*place)), gathered.commitment(*place)) else {
                return Check::Missing;
            };
            if commitment(scope, &voter.key, secret) != committed {
                return Check::Unsound;
            }
        }
        if proposal.ballots.iter().any(|(place, id)| gathered.ballot(*place, id).is_none()) {
            return Check::Missing;
        }
        let said =
            Said { epoch: header.epoch(), round: header.round(), proposer: header.proposer(), proof: *header.proof() };
        match self.compose(said, &proposal.ballots, &proposal.secrets, gathered) {
            Some((composed, relays)) if composed == *header => Check::Sound(relays),
            _ => Check::Unsound,
        }
    }
}

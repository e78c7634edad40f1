//! What was gathered, the documents that can be made of it, and whether a proposed one is one of them.

use std::collections::BTreeMap;

use super::count::{count, randomness};
use super::lottery;
use crate::directory::Head;
use crate::keys::{VRF_PROOF_LEN, secret_of};
use crate::wire::control::vote::{Ballot, Proposal, Scope, Vote, VoteMessage};
use crate::wire::control::{Genesis, Header, HeaderFields, RelayEntry, table_hash, write_table};
use crate::wire::document::SignerId;

/// A message and when it came, unix milliseconds.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) message: VoteMessage,
    pub(super) at: u64,
}

/// A secret that was opened, and its proof.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) arrived: Arrived,
    pub(super) proof: [u8; VRF_PROOF_LEN],
    pub(super) secret: [u8; 32],
}

/// What voters said before the first round, by their places.
#[derive(Clone, Default, Debug)]
pub(super) struct Gathered {
    pub(super) commitments: BTreeMap<u8, Arrived>,
    pub(super) reveals: BTreeMap<u8, Opened>,
    /// Two of a voter, and others that voters are bound to. A proposal may name any of them.
    pub(super) ballots: BTreeMap<u8, Vec<Arrived>>,
}

impl Gathered {
    /// The ballot of a voter that proposals name so.
    pub(super) fn ballot_message(&self, place: u8, id: &[u8; 32]) -> Option<&VoteMessage> {
        let all = self.ballots.get(&place)?;
        all.iter().map(|arrived| &arrived.message).find(|message| message.ballot_id() == Some(*id))
    }

    fn ballot(&self, place: u8, id: &[u8; 32]) -> Option<&Ballot> {
        match self.ballot_message(place, id)?.vote() {
            Vote::Ballot(ballot) => Some(ballot),
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
    /// What a voter's secret is over: its key has one for each document to agree on.
    pub(super) fn secret_input(&self) -> Vec<u8> {
        [self.scope.network.0, self.scope.previous.0].concat()
    }

    /// The secret of the voter at a place, if this proves it.
    pub(super) fn prove(&self, place: u8, proof: &[u8; VRF_PROOF_LEN]) -> Option<[u8; 32]> {
        let voter = self.head.voters.at(usize::from(place))?;
        secret_of(&voter.key.0, &self.secret_input(), proof)
    }

    fn secret(&self, place: u8, proof: &[u8; VRF_PROOF_LEN], gathered: &Gathered) -> Option<[u8; 32]> {
        // A proof that was looked at when it came costs nothing.
        let known = gathered.reveals.get(&place).filter(|opened| opened.proof == *proof);
        known.map(|opened| opened.secret).or_else(|| self.prove(place, proof))
    }

    /// The document that these ballots and secrets amount to. `None` when there are too few, some are missing, or a secret is not its
    /// voter's.
    pub(super) fn compose(
        &self,
        said: Said,
        ballots: &[(u8, [u8; 32])],
        secrets: &[(u8, [u8; VRF_PROOF_LEN])],
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
        let opened = secrets
            .iter()
            .map(|(place, proof)| Some((*place, self.secret(*place, proof, gathered)?)))
            .collect::<Option<Vec<(u8, [u8; 32])>>>()?;
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
            randomness: randomness(&self.scope, &self.head.voters, &opened),
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
        let is_voter = |place: &u8| voters.at(usize::from(*place)).is_some();
        let in_scope = header.network() == scope.network
            && header.previous() == scope.previous
            && header.previous_epoch() == scope.previous_epoch
            && header.round() <= proposal.round
            // Nobody signs what it does not understand.
            && !header.is_extended();
        let enough = proposal.ballots.len() >= quorum && proposal.secrets.len() >= quorum;
        let known = proposal.ballots.iter().all(|(place, _)| is_voter(place))
            && proposal.secrets.iter().all(|(place, _)| is_voter(place));
        if !in_scope || !enough || !known {
            return Check::Unsound;
        }
        // What costs little comes first: this is asked again with each message while something is missing.
        if proposal.ballots.iter().any(|(place, id)| gathered.ballot(*place, id).is_none()) {
            return Check::Missing;
        }
        if voters.place(&header.proposer()).is_none()
            || lottery::rank(&header.proposer(), scope, &self.head.randomness, header.round(), header.proof()).is_none()
        {
            return Check::Unsound;
        }
        let said =
            Said { epoch: header.epoch(), round: header.round(), proposer: header.proposer(), proof: *header.proof() };
        match self.compose(said, &proposal.ballots, &proposal.secrets, gathered) {
            Some((composed, relays)) if composed == *header => Check::Sound(relays),
            _ => Check::Unsound,
        }
    }
}

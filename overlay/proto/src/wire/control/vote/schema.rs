//! Votes as they travel: one body with the fields of all kinds, of which each kind has its own.

use prost::Message;

use super::ballot::{Ballot, read_sightings, write_sightings};
use super::{Proposal, Scope, Vote, VoteKind};
use crate::wire::control::canonical::{FormError, array, rule};
use crate::wire::control::{Header, HeaderHash, Parameters, VOTERS_MAX, schema};
use crate::wire::document::{NetworkId, SignerId};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Envelope {
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) body: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(super) signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Body {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(uint64, tag = "2")]
    previous_epoch: u64,
    #[prost(bytes = "vec", tag = "3")]
    previous: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    voter: Vec<u8>,
    /// The round; of proposals, prevotes and precommits.
    #[prost(uint32, tag = "5")]
    round: u32,
    /// 32 bytes: a commitment, or the hash of a header (empty for none).
    #[prost(bytes = "vec", tag = "6")]
    value: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    sightings: Vec<u8>,
    #[prost(message, repeated, tag = "8")]
    wanted: Vec<schema::Voter>,
    /// Keys, 32 bytes each, ascending.
    #[prost(bytes = "vec", tag = "9")]
    unwanted: Vec<u8>,
    #[prost(message, repeated, tag = "10")]
    parameters: Vec<schema::Parameter>,
    /// The round of the lock and one; 0 for none.
    #[prost(uint32, tag = "11")]
    locked: u32,
    /// Of reveals, the proof of the secret; of proposals, of the ticket.
    #[prost(bytes = "vec", tag = "12")]
    proof: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    header: Vec<u8>,
    /// A place and 32 bytes each, ascending.
    #[prost(bytes = "vec", tag = "14")]
    ballots: Vec<u8>,
    /// A place and 80 bytes each, ascending.
    #[prost(bytes = "vec", tag = "15")]
    secrets: Vec<u8>,
}

impl Body {
    pub(super) fn of(scope: &Scope, voter: [u8; 32], vote: &Vote) -> Self {
        let mut body = Self {
            network: scope.network.0.to_vec(),
            previous_epoch: scope.previous_epoch,
            previous: scope.previous.0.to_vec(),
            voter: voter.to_vec(),
            round: vote.round(),
            ..Self::default()
        };
        match vote {
            Vote::Commitment(value) => body.value = value.to_vec(),
            Vote::Reveal(proof) => body.proof = proof.to_vec(),
            Vote::Prevote { header, .. } | Vote::Precommit { header, .. } => {
                body.value = header.map(|hash| hash.0.to_vec()).unwrap_or_default();
            }
            Vote::Ballot(ballot) => {
                body.sightings = write_sightings(&ballot.sightings);
                body.wanted = ballot.wanted.as_ref().map(|voters| voters.write()).unwrap_or_default();
                body.unwanted = ballot.unwanted.iter().flat_map(|key| key.0).collect();
                body.parameters = ballot.parameters.write();
            }
            Vote::Proposal(proposal) => {
                body.locked = proposal.locked_round.map_or(0, |round| round.saturating_add(1));
                body.proof = proposal.proof.to_vec();
                body.header = proposal.header.as_bytes().to_vec();
                body.ballots = write_placed(&proposal.ballots);
                body.secrets = write_placed(&proposal.secrets);
            }
        }
        body
    }

    pub(super) fn parse(self, kind: VoteKind) -> Result<(Scope, SignerId, Vote), FormError> {
        let scope = Scope {
            network: NetworkId(array(&self.network, "network id")?),
            previous_epoch: self.previous_epoch,
            previous: HeaderHash(array(&self.previous, "hash of the document before")?),
        };
        let voter = SignerId(array(&self.voter, "voter")?);
        let vote = match kind {
            VoteKind::Commitment => Vote::Commitment(array(&self.value, "commitment")?),
            VoteKind::Reveal => Vote::Reveal(array(&self.proof, "proof of the secret")?),
            VoteKind::Prevote => Vote::Prevote { round: self.round, header: optional_hash(&self.value)? },
            VoteKind::Precommit => Vote::Precommit { round: self.round, header: optional_hash(&self.value)? },
            VoteKind::Ballot => Vote::Ballot(Ballot::read(
                read_sightings(&self.sightings)?,
                self.wanted.clone(),
                &self.unwanted,
                Parameters::read(self.parameters.clone())?,
            )?),
            VoteKind::Proposal => {
                rule(self.locked <= self.round, "round of the lock", "has to be before the round")?;
                Vote::Proposal(Box::new(Proposal {
                    round: self.round,
                    locked_round: self.locked.checked_sub(1),
                    proof: array(&self.proof, "proof of the proposer")?,
                    header: Header::decode(&self.header)?,
                    ballots: read_placed(&self.ballots)?,
                    secrets: read_placed(&self.secrets)?,
                }))
            }
        };
        // Fields of other kinds would be a second form.
        rule(Self::of(&scope, voter.0, &vote) == self, "vote", "has fields of another kind")?;
        Ok((scope, voter, vote))
    }
}

fn optional_hash(bytes: &[u8]) -> Result<Option<HeaderHash>, FormError> {
    if bytes.is_empty() { Ok(None) } else { Ok(Some(HeaderHash(array(bytes, "hash of the header")?))) }
}

/// Writes values by the places of voters.
pub(crate) fn write_placed<const N: usize>(list: &[(u8, [u8; N])]) -> Vec<u8> {
    list.iter().flat_map(|(place, value)| std::iter::once(*place).chain(*value)).collect()
}

/// Reads values by the places of voters, ascending, each once.
pub(crate) fn read_placed<const N: usize>(bytes: &[u8]) -> Result<Vec<(u8, [u8; N])>, FormError> {
    let parts = bytes.chunks_exact(1 + N);
    rule(parts.remainder().is_empty() && parts.len() <= VOTERS_MAX, "list by voter", "has to be of whole entries")?;
    let list =
        parts.map(|part| Ok((part[0], array(&part[1..], "list by voter")?))).collect::<Result<Vec<_>, FormError>>()?;
    rule(
        list.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && list.last().is_none_or(|(place, _)| usize::from(*place) < VOTERS_MAX),
        "list by voter",
        "has to be sorted, each once",
    )?;
    Ok(list)
}

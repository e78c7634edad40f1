//! Whether a proposer left out what it must have seen. This is each voter's own judgement, by its clock: it decides what a voter
//! prevotes of its own accord, and never what it takes once enough others did.
//!
//! Three deadlines, each a margin apart, keep honest voters from disagreeing: what a voter saw before the first, a proposer has seen
//! before the second; what a proposer counts that it saw before the second, every voter has seen before the third. So a message sent at
//! the last moment, to a few only, cannot make those who have it refuse the proposals of those who have it not.

use super::timing::{Timing, epoch_for};
use super::value::{Arrived, Context, Gathered};
use crate::keys::VRF_PROOF_LEN;
use crate::wire::control::vote::Proposal;

/// From this round on voters ask for soundness alone: a network that is slower than the margins agrees all the same.
const LENIENT_ROUND: u32 = 4;

/// The secrets that a proposer names: those whose commitment came in time, by the second deadline; all of them where nobody asks for
/// fairness, or where the proposer itself came too late to say.
pub(super) fn secrets(
    timing: &Timing,
    gathered: &Gathered,
    round: u32,
    came_late: bool,
) -> Vec<(u8, [u8; VRF_PROOF_LEN])> {
    let last = timing.reveal() - timing.margin();
    let timely = |place: &u8| {
        came_late || round >= LENIENT_ROUND || gathered.commitments.get(place).is_some_and(|arrived| arrived.at <= last)
    };
    gathered.reveals.iter().filter(|(place, _)| timely(place)).map(|(place, opened)| (*place, opened.proof)).collect()
}

/// The ballots that a proposer names: those of voters who cast one.
pub(super) fn ballots(gathered: &Gathered) -> Vec<(u8, [u8; 32])> {
    let single = |arrived: &Vec<Arrived>| match arrived.as_slice() {
        [only] => only.message.ballot_id(),
        _ => None,
    };
    gathered.ballots.iter().filter_map(|(place, arrived)| Some((*place, single(arrived)?))).collect()
}

/// Whether a proposal is of the epoch that it should be of, by the clock of a voter that prevotes at `now`, a quarter of an epoch more or
/// less. Everybody can tell that, in whatever round and however late it came.
pub(super) fn epoch_fits(context: &Context, proposal: &Proposal, now: u64) -> bool {
    let (genesis, previous) = (&context.genesis, context.scope.previous_epoch);
    let quarter = u64::from(genesis.terms().epoch_length) * 250;
    let (first, last) = (now.saturating_sub(quarter), now.saturating_add(quarter));
    (epoch_for(genesis, previous, first)..=epoch_for(genesis, previous, last)).contains(&proposal.header.epoch())
}

/// Whether a voter that prevotes in this round finds a proposal fair.
pub(super) fn is_fair(context: &Context, timing: &Timing, gathered: &Gathered, proposal: &Proposal) -> bool {
    if proposal.round >= LENIENT_ROUND {
        return true;
    }
    let names_secret = |place: u8| proposal.secrets.binary_search_by_key(&place, |(place, _)| *place).is_ok();
    let names_ballot = |place: u8| proposal.ballots.binary_search_by_key(&place, |(place, _)| *place).is_ok();
    let (first_reveal, last_commitment) = (timing.propose() - 2 * timing.margin(), timing.reveal());
    let first_commitment = last_commitment - 2 * timing.margin();
    let late = |place: u8| gathered.commitments.get(&place).is_none_or(|arrived| arrived.at > last_commitment);
    if proposal.secrets.iter().any(|(place, _)| late(*place)) {
        return false;
    }
    let secrets_left_out = gathered.reveals.iter().any(|(place, opened)| {
        opened.arrived.at <= first_reveal
            && gathered.commitments.get(place).is_some_and(|arrived| arrived.at <= first_commitment)
            && !names_secret(*place)
    });
    // Of a voter with two ballots a proposer names none, and others may have seen one only. So as many as may lie can be left out; what
    // is counted lies between honest figures all the same.
    let ballots_left_out = gathered
        .ballots
        .iter()
        .filter(|(place, arrived)| arrived.len() == 1 && arrived[0].at <= first_reveal && !names_ballot(**place))
        .count();
    !secrets_left_out && ballots_left_out <= context.head.voters.tolerated()
}

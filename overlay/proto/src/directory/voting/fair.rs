//! Whether a proposer left out what it must have seen. This is each voter's own judgement, by its clock: it decides what a voter
//! prevotes of its own accord, and never what it takes once enough others did.
//!
//! Three deadlines, each a margin apart, keep honest voters from disagreeing: what a voter saw before the first, a proposer has seen
//! before the second; what a proposer counts that it saw before the second, every voter has seen before the third. So a message sent at
//! the last moment, to a few only, cannot make those who have it refuse the proposals of those who have it not.

use super::timing::{Timing, epoch_for};
use super::value::{Arrived, Context, Gathered};
use crate::wire::control::vote::Proposal;

/// From this round on voters ask for soundness alone: a network that is slower than the margins agrees all the same.
const LENIENT_ROUND: u32 = 4;

/// The secrets that a proposer names: those whose commitment came in time, by the second deadline.
pub(super) fn secrets(timing: &Timing, gathered: &Gathered, round: u32) -> Vec<(u8, [u8; 32])> {
    let last = match round {
        0..LENIENT_ROUND => timing.reveal() - timing.margin(),
        _ => u64::MAX,
    };
    let timely = |place: &u8| {
        !gathered.two_faced.contains_key(place)
            && gathered.commitments.get(place).is_some_and(|arrived| arrived.at <= last)
    };
    gathered
        .reveals
        .keys()
        .filter(|place| timely(place))
        .filter_map(|place| Some((*place, gathered.secret(*place)?)))
        .collect()
}

/// The ballots that a proposer names: those of voters who cast one.
pub(super) fn ballots(gathered: &Gathered) -> Vec<(u8, [u8; 32])> {
    let single = |arrived: &Vec<Arrived>| match arrived.as_slice() {
        [only] => Some(only.message.id()),
        _ => None,
    };
    gathered.ballots.iter().filter_map(|(place, arrived)| Some((*place, single(arrived)?))).collect()
}

/// Whether a voter that prevotes at `now` in this round finds a proposal fair.
pub(super) fn is_fair(context: &Context, timing: &Timing, gathered: &Gathered, proposal: &Proposal, now: u64) -> bool {
    let genesis = &context.genesis;
    let quarter = u64::from(genesis.terms().epoch_length) * 250;
    let epoch = proposal.header.epoch();
    let previous = context.scope.previous_epoch;
    let epochs =
        epoch_for(genesis, previous, now.saturating_sub(quarter))..=epoch_for(genesis, previous, now + quarter);
    if !epochs.contains(&epoch) {
        return false;
    }
    if proposal.round >= LENIENT_ROUND {
        return true;
    }
    let names = |list: &[(u8, [u8; 32])], place: u8| list.binary_search_by_key(&place, |(place, _)| *place).is_ok();
    let (first_reveal, last_commitment) = (timing.propose() - 2 * timing.margin(), timing.reveal());
    let first_commitment = last_commitment - 2 * timing.margin();
    let late = |place: u8| gathered.commitments.get(&place).is_none_or(|arrived| arrived.at > last_commitment);
    // A secret of somebody who committed to two is sound to some and not to others.
    if proposal.secrets.iter().any(|(place, _)| late(*place) || gathered.two_faced.contains_key(place)) {
        return false;
    }
    let secrets_left_out = gathered.reveals.iter().any(|(place, arrived)| {
        arrived.at <= first_reveal
            && gathered.commitments.get(place).is_some_and(|arrived| arrived.at <= first_commitment)
            && !gathered.two_faced.contains_key(place)
            && !names(&proposal.secrets, *place)
    });
    // Of a voter with two ballots a proposer names none, and others may have seen one only. So as many as may lie can be left out; what
    // is counted lies between honest figures all the same.
    let ballots_left_out = gathered
        .ballots
        .iter()
        .filter(|(place, arrived)| {
            arrived.len() == 1 && arrived[0].at <= first_reveal && !names(&proposal.ballots, **place)
        })
        .count();
    !secrets_left_out && ballots_left_out <= context.head.voters.tolerated()
}

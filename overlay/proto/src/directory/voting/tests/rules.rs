//! The rules of locking, one by one.

use super::world::key;
use crate::directory::voting::rounds::{Action, Rounds, Step};
use crate::wire::control::HeaderHash;
use crate::wire::control::vote::{Scope, Vote, VoteMessage};
use crate::wire::document::NetworkId;

const A: HeaderHash = HeaderHash([1; 32]);
const B: HeaderHash = HeaderHash([2; 32]);

/// A message to stand for a vote: the rules look at places and hashes only.
fn message() -> VoteMessage {
    let scope = Scope { network: NetworkId([0; 32]), previous_epoch: 0, previous: HeaderHash([0; 32]) };
    VoteMessage::sign(&key(0), scope, Vote::Prevote { round: 0, header: None }).unwrap()
}

/// Four voters, of whom one may be faulty.
fn begun() -> Rounds {
    let mut rounds = Rounds::new(3, 1);
    assert_eq!(rounds.begin(), Action::Begin(0));
    rounds
}

fn prevotes(rounds: &mut Rounds, round: u32, votes: &[(u8, Option<HeaderHash>)]) {
    for (place, value) in votes {
        rounds.add_prevote(round, *place, *value, message());
    }
}

fn precommits(rounds: &mut Rounds, round: u32, votes: &[(u8, Option<HeaderHash>)]) {
    for (place, value) in votes {
        rounds.add_precommit(round, *place, *value, message());
    }
}

fn actions(rounds: &mut Rounds) -> Vec<Action> {
    std::iter::from_fn(|| rounds.poll(|_| true)).collect()
}

#[test]
fn a_polka_locks_and_a_quorum_decides() {
    let mut rounds = begun();
    assert_eq!(rounds.prevote(), Some(0));
    assert_eq!(rounds.prevote(), None, "once in a round");
    prevotes(&mut rounds, 0, &[(0, Some(A)), (1, Some(A))]);
    assert_eq!(actions(&mut rounds), []);
    prevotes(&mut rounds, 0, &[(2, Some(A))]);
    assert_eq!(actions(&mut rounds)[0], Action::Precommit(0, Some(A)));
    assert_eq!((rounds.locked(), rounds.valid()), (Some((0, A)), Some((0, A))));
    precommits(&mut rounds, 0, &[(0, Some(A)), (1, Some(A)), (2, None)]);
    assert_eq!(actions(&mut rounds), [Action::WaitForPrecommits(0)]);
    precommits(&mut rounds, 0, &[(3, Some(A))]);
    assert_eq!(actions(&mut rounds), [Action::Decided(0, A)]);
    assert_eq!(rounds.precommits_waited(0), None, "it is over");
}

#[test]
fn a_locked_voter_prevotes_another_document_only_if_others_did_later() {
    let mut rounds = begun();
    rounds.prevote();
    prevotes(&mut rounds, 0, &[(0, Some(A)), (1, Some(A)), (2, Some(A))]);
    actions(&mut rounds);
    assert_eq!(rounds.precommits_waited(0), Some(Action::Begin(1)));
    assert!(rounds.may_prevote(&A, None));
    assert!(!rounds.may_prevote(&B, None));
    assert!(!rounds.may_prevote(&B, Some(0)), "nobody prevoted it in round 0");
    assert!(rounds.may_prevote(&A, Some(0)));
    // In round 1 enough others prevote B; this node sees it, but too late to lock.
    rounds.prevote();
    rounds.prevotes_waited(1);
    prevotes(&mut rounds, 1, &[(1, Some(B)), (2, Some(B)), (3, Some(B))]);
    actions(&mut rounds);
    assert_eq!((rounds.locked(), rounds.valid()), (Some((0, A)), Some((1, B))));
    assert_eq!(rounds.precommits_waited(1), Some(Action::Begin(2)));
    assert!(rounds.may_prevote(&B, Some(1)), "the later polka unlocks");
    assert!(!rounds.may_prevote(&B, None));
    assert!(!rounds.may_prevote(&B, Some(2)), "a polka of this round or a later one is none yet");
}

#[test]
fn nothing_is_precommitted_that_is_not_there() {
    let mut rounds = begun();
    rounds.prevote();
    prevotes(&mut rounds, 0, &[(0, Some(A)), (1, Some(A)), (2, Some(A))]);
    let found: Vec<Action> = std::iter::from_fn(|| rounds.poll(|_| false)).collect();
    assert_eq!(found, [Action::WaitForPrevotes(0)]);
    assert_eq!(rounds.prevotes_waited(0), Some(Action::Precommit(0, None)));
    assert_eq!(rounds.locked(), None);
}

#[test]
fn no_agreement_precommits_nothing_at_once_or_after_a_while() {
    let mut rounds = begun();
    rounds.prevote();
    prevotes(&mut rounds, 0, &[(0, None), (1, None), (2, None)]);
    assert_eq!(actions(&mut rounds)[0], Action::Precommit(0, None));
    let mut split = begun();
    split.prevote();
    prevotes(&mut split, 0, &[(0, None), (1, Some(A)), (2, Some(B))]);
    assert_eq!(actions(&mut split), [Action::WaitForPrevotes(0)]);
    assert_eq!(split.prevotes_waited(0), Some(Action::Precommit(0, None)));
    assert_eq!(split.prevotes_waited(0), None);
    assert_eq!(split.step(), Step::Precommit);
}

#[test]
fn more_than_may_lie_in_a_later_round_bring_this_one_there() {
    let mut rounds = begun();
    prevotes(&mut rounds, 5, &[(1, None)]);
    assert_eq!(actions(&mut rounds), [], "one may lie");
    precommits(&mut rounds, 5, &[(2, None)]);
    assert_eq!(actions(&mut rounds), [Action::Begin(5)]);
    assert!(rounds.keeps(5 + 16) && !rounds.keeps(5 + 17));
}

#[test]
fn precommits_of_an_earlier_round_decide_too() {
    let mut rounds = begun();
    precommits(&mut rounds, 0, &[(0, None), (1, None), (2, Some(A))]);
    actions(&mut rounds);
    assert_eq!(rounds.precommits_waited(0), Some(Action::Begin(1)));
    precommits(&mut rounds, 1, &[(0, Some(B))]);
    precommits(&mut rounds, 2, &[(1, Some(B)), (2, Some(B)), (3, Some(B))]);
    assert_eq!(actions(&mut rounds).last(), Some(&Action::Decided(2, B)));
}

/// The fourth voter filled its places with votes for nothing that exists, to this node, and prevoted A to another, who is locked by it.
#[test]
fn what_others_voted_for_has_room_whatever_its_voter_said_before() {
    let mut rounds = begun();
    rounds.prevote();
    for byte in 10..20 {
        rounds.add_prevote(0, 3, Some(HeaderHash([byte; 32])), message());
    }
    assert!(!rounds.add_prevote(0, 3, Some(A), message()), "four are kept");
    prevotes(&mut rounds, 0, &[(0, Some(A))]);
    assert!(!rounds.add_prevote(0, 3, Some(A), message()), "one of the others may lie");
    prevotes(&mut rounds, 0, &[(1, Some(A))]);
    assert!(rounds.add_prevote(0, 3, Some(A), message()));
    assert!(rounds.has_polka(0, &A));
    assert_eq!(rounds.prevotes(0).unwrap().all_of(3).count(), 5);
}

/// The fourth voter prevoted nothing to this node and A to the others, who are locked on A by that vote.
#[test]
fn who_says_two_things_is_counted_for_both() {
    let mut rounds = begun();
    rounds.prevote();
    prevotes(&mut rounds, 0, &[(3, None), (0, Some(A)), (1, Some(A))]);
    actions(&mut rounds);
    assert!(!rounds.has_polka(0, &A));
    prevotes(&mut rounds, 0, &[(3, Some(A))]);
    assert!(rounds.has_polka(0, &A));
    assert_eq!(actions(&mut rounds)[0], Action::Precommit(0, Some(A)));
    assert!(!rounds.add_prevote(0, 3, Some(A), message()), "once for each");
}

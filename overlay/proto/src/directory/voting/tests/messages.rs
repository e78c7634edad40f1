//! Votes as bytes, and what a node says of them.

use proptest::prelude::*;

use super::world::{Conditions, Manner, World, ballot, key, set};
use crate::directory::fixture::{descriptor, info};
use crate::directory::voting::{Event, Memory, Voting};
use crate::directory::{ByHand, Chain};
use crate::wire::control::vote::{Evidence, Scope, Vote, VoteMessage};
use crate::wire::control::{FormError, HeaderHash, Reason, Topic, Verdict};
use crate::wire::document::NetworkId;

fn scope(world: &World) -> Scope {
    let head = world.nodes[0].chain().head();
    Scope { network: world.genesis.network_id(), previous_epoch: head.epoch, previous: head.hash }
}

fn calm() -> World {
    World::new(&[Manner::Honest; 4], Conditions { delay: 1..=5, lost: 0, skew: 0 }, 1)
}

/// One vote of each kind, as voters sent them.
fn votes() -> Vec<VoteMessage> {
    let mut world = calm();
    world.run_until(0.3);
    let scope = scope(&world);
    let mut all: Vec<VoteMessage> = Vec::new();
    // In the first round, before it is decided.
    world.run_until(3.0 / 8.0 + 0.02);
    let have = Voting::new(Chain::from_genesis(world.genesis.clone()), None, Memory::Fresh, world.now).unwrap().have();
    for transmit in world.nodes[1].answer(&have).unwrap() {
        all.push(VoteMessage::decode(&transmit.bytes).unwrap());
    }
    for round in [0, 3] {
        all.push(
            VoteMessage::sign(&key(0), scope, Vote::Precommit { round, header: Some(HeaderHash([5; 32])) }).unwrap(),
        );
        all.push(VoteMessage::sign(&key(0), scope, Vote::Precommit { round, header: None }).unwrap());
        all.push(VoteMessage::sign(&key(0), scope, Vote::Prevote { round, header: None }).unwrap());
    }
    let mut rich = ballot(0..5, 1);
    rich.wanted = Some(set([9]));
    rich.unwanted = vec![crate::wire::document::SignerId([3; 32])];
    all.push(VoteMessage::sign(&key(0), scope, Vote::Ballot(rich)).unwrap());
    all
}

#[test]
fn votes_round_trip_and_any_altered_byte_is_refused() {
    let votes = votes();
    let kinds: std::collections::BTreeSet<_> = votes.iter().map(|message| message.vote().kind()).collect();
    assert_eq!(kinds.len(), 6, "every kind");
    for message in votes {
        assert_eq!(VoteMessage::decode(message.as_bytes()).unwrap(), message);
        let bytes = message.as_bytes();
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            assert!(VoteMessage::decode(&bad).is_err(), "byte {at} of {:?}", message.vote().kind());
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            assert!(VoteMessage::decode(&bytes[..cut]).is_err());
        }
    }
    let max = Topic::Votes.message_max();
    assert_eq!(VoteMessage::decode(&vec![0; max + 1]), Err(FormError::TooLarge { len: max + 1, max }));
}

/// A vote of one kind, network, document or round is none of another.
#[test]
fn signatures_are_for_one_purpose() {
    let scope = Scope { network: NetworkId([1; 32]), previous_epoch: 3, previous: HeaderHash([2; 32]) };
    let sign = |scope, vote| VoteMessage::sign(&key(1), scope, vote).unwrap();
    let header = Some(HeaderHash([5; 32]));
    let all = [
        sign(scope, Vote::Commitment([5; 32])),
        sign(scope, Vote::Reveal([5; 80])),
        sign(scope, Vote::Prevote { round: 1, header }),
        sign(scope, Vote::Precommit { round: 1, header }),
        sign(scope, Vote::Precommit { round: 2, header }),
        sign(Scope { network: NetworkId([9; 32]), ..scope }, Vote::Precommit { round: 1, header }),
        sign(Scope { previous: HeaderHash([9; 32]), ..scope }, Vote::Precommit { round: 1, header }),
    ];
    for (at, from) in all.iter().enumerate() {
        for (other, to) in all.iter().enumerate() {
            let mut bytes = to.as_bytes().to_vec();
            let end = bytes.len();
            bytes[end - 64..].copy_from_slice(from.signature());
            assert_eq!(VoteMessage::decode(&bytes).is_ok(), at == other, "{at} as {other}");
        }
    }
}

#[test]
fn two_votes_are_evidence_and_one_is_not() {
    let scope = Scope { network: NetworkId([1; 32]), previous_epoch: 0, previous: HeaderHash([1; 32]) };
    let vote = |seed, round, byte| {
        VoteMessage::sign(&key(seed), scope, Vote::Prevote { round, header: Some(HeaderHash([byte; 32])) }).unwrap()
    };
    let evidence = Evidence::find(&vote(1, 0, 1), &vote(1, 0, 2)).unwrap();
    assert_eq!(Evidence::find(&vote(1, 0, 2), &vote(1, 0, 1)), Some(evidence.clone()));
    assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence.clone()));
    assert!(Evidence::find(&vote(1, 0, 1), &vote(1, 0, 1)).is_none());
    assert!(Evidence::find(&vote(1, 0, 1), &vote(1, 1, 2)).is_none());
    assert!(Evidence::find(&vote(1, 0, 1), &vote(2, 0, 2)).is_none());
    let bytes = evidence.encode();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        assert!(Evidence::decode(&bad).is_err());
    }
}

/// After a restart a node is told by its store whom it caught: it does not find it out again, and counts on them no more than before.
#[test]
fn who_was_caught_is_remembered() {
    let mut world = calm();
    world.run_until(0.05);
    let (ours, now) = (scope(&world), world.now);
    let proof = |seed, scope| {
        let vote = |byte| VoteMessage::sign(&key(seed), scope, Vote::Commitment([byte; 32])).unwrap();
        Evidence::find(&vote(1), &vote(2)).unwrap()
    };
    let mut node = Voting::new(Chain::from_genesis(world.genesis.clone()), None, Memory::Fresh, now).unwrap();
    assert!(node.remember(&proof(1, ours)));
    assert!(!node.remember(&proof(99, ours)), "it is no voter");
    assert!(node.remember(&proof(99, Scope { previous_epoch: 50, ..ours })), "who voted then this node does not know");
    assert_eq!(node.poll_event(), None, "nothing of that is news");
    let mut told = |evidence: &Evidence| node.handle_message(Topic::Proofs, &evidence.encode(), now);
    assert_eq!(told(&proof(1, ours)), Verdict::Ignore(Reason::Duplicate));
    assert_eq!(told(&proof(2, ours)), Verdict::Accept, "of another voter it is news");
}

#[test]
fn verdicts_blame_whom_they_should() {
    let mut world = calm();
    world.run_until(0.05);
    let ours = scope(&world);
    let now = world.now;
    let node = &mut world.nodes[0];
    let mut say = |message: &VoteMessage| node.handle_message(Topic::Votes, message.as_bytes(), now);
    let sign = |seed, scope, vote| VoteMessage::sign(&key(seed), scope, vote).unwrap();
    let prevote = |round| Vote::Prevote { round, header: None };
    let good = sign(1, ours, prevote(0));
    assert_eq!(say(&good), Verdict::Accept);
    assert_eq!(say(&good), Verdict::Ignore(Reason::Duplicate));
    assert_eq!(say(&sign(99, ours, prevote(0))), Verdict::Reject(Reason::NotEntitled));
    assert_eq!(say(&sign(2, ours, prevote(17))), Verdict::Ignore(Reason::Early));
    let other = Vote::Prevote { round: 0, header: Some(HeaderHash([1; 32])) };
    assert_eq!(say(&sign(1, ours, other)), Verdict::Accept, "others may have counted it");
    for byte in 2..9 {
        let another = Vote::Prevote { round: 0, header: Some(HeaderHash([byte; 32])) };
        let kept = byte < 4;
        let expected = if kept { Verdict::Accept } else { Verdict::Ignore(Reason::Equivocation) };
        assert_eq!(say(&sign(1, ours, another)), expected, "four and no more");
    }
    assert_eq!(say(&sign(1, ours, Vote::Commitment([1; 32]))), Verdict::Ignore(Reason::Equivocation));
    assert_eq!(say(&sign(3, ours, Vote::Reveal([0; 80]))), Verdict::Reject(Reason::AgainstRules), "no secret of its");
    let foreign = Scope { network: NetworkId([0; 32]), ..ours };
    assert_eq!(say(&sign(1, foreign, prevote(0))), Verdict::Reject(Reason::OtherNetwork));
    let later = Scope { previous_epoch: 50, previous: HeaderHash([3; 32]), ..ours };
    assert_eq!(say(&sign(1, later, prevote(0))), Verdict::Ignore(Reason::Unrelated));
    let mut forged = sign(2, ours, prevote(1)).as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(world.nodes[0].handle_message(Topic::Votes, &forged, now), Verdict::Reject(Reason::Forged));
    assert_eq!(world.nodes[0].handle_message(Topic::Votes, b"junk", now), Verdict::Reject(Reason::Malformed));
    let long = vec![0; Topic::Snapshots.message_max() + 1];
    assert_eq!(world.nodes[0].handle_message(Topic::Snapshots, &long, now), Verdict::Reject(Reason::Oversized));
}

/// Whatever strangers send, memory is bounded by voters and rounds.
#[test]
fn a_flood_leaves_nothing_behind() {
    let mut world = calm();
    world.run_until(0.05);
    let ours = scope(&world);
    let now = world.now;
    let before = world.nodes[0].have();
    for seed in 1_000..1_100 {
        for vote in [Vote::Commitment([1; 32]), Vote::Prevote { round: 0, header: None }, Vote::Ballot(ballot(0..3, 0))]
        {
            let message = VoteMessage::sign(&key(seed), ours, vote).unwrap();
            assert!(matches!(world.nodes[0].handle_message(Topic::Votes, message.as_bytes(), now), Verdict::Reject(_)));
        }
    }
    assert_eq!(world.nodes[0].have(), before);
    world.run_until(0.9);
    assert_eq!(world.check_agreement(), [1]);
}

/// Anybody can say that others are a million epochs ahead. It must not be the last that is heard of those who are.
#[test]
fn a_lie_about_the_future_does_not_hide_the_truth() {
    let world = calm();
    let (now, chain) = (world.now, Chain::from_genesis(world.genesis.clone()));
    let mut node = Voting::new(chain.clone(), None, Memory::Fresh, now).unwrap();
    let relay = descriptor(1_000, &info(1));
    let mut change = ByHand::new(&chain, 1, vec![relay.clone()]);
    change.voters = Some(set([5, 6, 7, 8]));
    let change = change.sign(&chain, &(0..4).map(key).collect::<Vec<_>>()).unwrap();
    let mut ahead = chain;
    ahead.advance(change.document().signed()).unwrap();
    let mut tell = |epoch: u64, now: u64| {
        let others: Vec<_> = (5..9).map(key).collect();
        let snapshot = ByHand::new(&ahead, epoch, vec![relay.clone()]).sign(&ahead, &others).unwrap();
        let header = snapshot.document().signed().encode();
        assert_eq!(node.handle_message(Topic::Snapshots, &header, now), Verdict::Ignore(Reason::Unrelated));
        std::iter::from_fn(|| node.poll_event()).filter(|event| matches!(event, Event::Behind { .. })).count()
    };
    assert_eq!(tell(1_000_000, now), 1);
    assert_eq!(tell(2, now + 1), 0, "not with each");
    assert_eq!(tell(2, now + 10_000), 1, "but the truth is heard");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = VoteMessage::decode(&bytes);
        let _ = Evidence::decode(&bytes);
    }

    #[test]
    fn a_machine_takes_anything(topic in 0..5usize, at in 0..3_000usize, bit in 0..8u8, which in 0..40usize) {
        let mut bytes = VOTES.with(|votes| votes[which % votes.len()].as_bytes().to_vec());
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let mut world = calm();
        let now = world.now;
        let verdict = world.nodes[0].handle_message(Topic::ALL[topic], &bytes, now);
        prop_assert!(verdict != Verdict::Accept);
        let _ = world.nodes[0].answer(&bytes);
        prop_assert!(Voting::new(Chain::from_genesis(world.genesis.clone()), None, Memory::Kept(&bytes), now).is_err());
    }
}

thread_local! {
    static VOTES: Vec<VoteMessage> = votes();
}

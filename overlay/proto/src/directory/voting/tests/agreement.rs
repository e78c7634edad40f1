//! Whatever the network and fewer than a third of the voters do, the others agree, and go on agreeing.

use proptest::prelude::*;

use super::world::{Conditions, EPOCH, Manner, World, ZERO, ballot, key, relay, set};
use crate::directory::Chain;
use crate::directory::voting::{Memory, Voting};
use crate::wire::control::vote::Ballot;
use crate::wire::control::{HeaderHash, RelayFlags};
use crate::wire::document::SignerId;
use Manner::{Double, Honest, Liar, Silent, Whisperer};

fn calm() -> Conditions {
    Conditions { delay: 5..=60, lost: 0, skew: 0 }
}

#[test]
fn honest_voters_agree_in_the_first_round_every_epoch() {
    for voters in [1, 2, 4, 7] {
        let mut world = World::new(&vec![Honest; voters], calm(), 1);
        world.run_until(3.9);
        assert_eq!(world.check_agreement(), [1, 2, 3, 4]);
        for documents in &world.documents {
            assert_eq!(documents.len(), 4);
            for document in documents {
                assert_eq!(document.relays().len(), 20);
                assert_eq!(document.signed().header().round(), 0);
                assert_eq!(document.signed().certificate().round, 0);
                let header = document.signed().header();
                assert_eq!(header.valid_after(), ZERO + header.epoch() * u64::from(EPOCH));
            }
        }
        let randoms: std::collections::BTreeSet<_> =
            world.documents[0].iter().map(|document| document.signed().header().randomness()).collect();
        assert_eq!(randoms.len(), 4, "fresh each epoch");
        assert_eq!(world.rejected, 0);
    }
}

/// A document is there well before its epoch begins.
#[test]
fn a_document_is_agreed_on_before_its_epoch() {
    let mut world = World::new(&[Honest; 4], calm(), 2);
    world.run_until(0.5);
    assert!(world.documents.iter().all(|documents| documents.len() == 1));
    assert_eq!(world.documents[0][0].signed().header().epoch(), 1);
}

#[test]
fn liars_change_nothing_that_honest_voters_agree_on() {
    let mut world = World::new(&[Honest, Honest, Liar, Honest, Honest, Liar, Honest], calm(), 3);
    world.run_until(2.9);
    assert_eq!(world.check_agreement(), [1, 2, 3]);
    for document in world.documents[0].iter() {
        assert_eq!(document.relays().len(), 20, "relays that liars alone see are not in");
        assert!(document.relay(&relay(500)).is_none());
        for number in 0..20u64 {
            let entry = document.relay(&relay(number)).unwrap();
            let low = u32::try_from(1_000 + 10 * number).unwrap();
            assert!((low..low + 7).contains(&entry.measure.capacity), "{}", entry.measure.capacity);
            assert_eq!(entry.flags.contains(RelayFlags::EXIT), number % 3 == 0);
            assert!(entry.flags.contains(RelayFlags::STABLE));
        }
        assert!(document.signed().header().voters().is_none(), "nor are their voters");
    }
}

#[test]
fn a_third_is_too_many_and_less_is_not() {
    let mut enough = World::new(&[Honest, Honest, Silent, Honest, Honest, Silent, Honest], calm(), 4);
    enough.run_until(3.0);
    assert_eq!(enough.check_agreement(), [1, 2, 3]);
    let mut short = World::new(&[Honest, Honest, Silent, Honest, Silent, Silent], calm(), 4);
    short.run_until(3.0);
    assert_eq!(short.check_agreement(), [0u64; 0], "no document without strictly more than two thirds");
}

#[test]
fn double_voters_are_convicted_and_stop_nobody() {
    let manners = [Double, Honest, Honest, Honest, Double, Honest, Honest];
    let mut world = World::new(&manners, calm(), 5);
    world.run_until(4.0);
    assert!(world.check_agreement().len() >= 3);
    let guilty = [SignerId(key(0).public()), SignerId(key(4).public())];
    for node in world.honest() {
        assert!(world.convicted[node].iter().all(|convicted| guilty.contains(convicted)), "nobody honest is accused");
        assert!(guilty.iter().all(|guilty| world.convicted[node].contains(guilty)), "node {node} knows");
    }
}

/// A quarter of all messages is lost. What was lost is asked for again.
#[test]
fn lost_messages_are_made_up_for() {
    let mut world = World::new(&[Honest; 5], Conditions { delay: 5..=100, lost: 250, skew: 20 }, 6);
    world.run_until(4.0);
    assert_eq!(world.check_agreement(), [1, 2, 3, 4]);
    assert!(world.documents.iter().all(|documents| documents.len() == 4));
}

/// Delays far beyond the schedule's margins: rounds fail, patience grows, and it ends.
#[test]
fn a_slow_network_agrees_late() {
    let mut world = World::new(&[Honest; 4], Conditions { delay: 200..=900, lost: 50, skew: 0 }, 7);
    world.run_until(12.0);
    let epochs = world.check_agreement();
    assert!(epochs.len() >= 3, "{epochs:?}");
}

#[test]
fn a_network_that_stood_still_goes_on_with_the_present_epoch() {
    let mut world = World::new(&[Honest; 4], calm(), 8);
    world.run_until(1.9);
    assert_eq!(world.check_agreement(), [1, 2]);
    // Two of four are gone for five epochs.
    let memories: Vec<Vec<u8>> = (0..2).map(|node| world.nodes[node].memory()).collect();
    (world.down[0], world.down[1]) = (true, true);
    world.run_until(7.2);
    assert_eq!(world.check_agreement(), [1, 2]);
    for (node, memory) in memories.iter().enumerate() {
        world.restart(node, Memory::Kept(memory));
    }
    world.run_until(10.0);
    let epochs = world.check_agreement();
    assert_eq!(epochs[..2], [1, 2]);
    assert!(epochs[2] >= 7, "not one of the epochs that passed: {epochs:?}");
    assert!(epochs.len() >= 4);
}

#[test]
fn a_voter_that_comes_back_votes_as_before_or_not_at_all() {
    for kept in [true, false] {
        let mut world = World::new(&[Honest; 4], calm(), 9);
        // In the middle of the first round.
        world.run_until(3.0 / 8.0 + 0.02);
        let memory = world.nodes[2].memory();
        world.restart(2, if kept { Memory::Kept(&memory) } else { Memory::Lost });
        world.run_until(3.0);
        assert_eq!(world.check_agreement(), [1, 2, 3]);
        assert!(world.convicted.iter().all(Vec::is_empty), "it says nothing twice");
        assert_eq!(world.documents[2].len(), 3);
    }
}

#[test]
fn a_node_without_a_vote_follows() {
    let mut world = World::new(&[Honest; 4], calm(), 10);
    let chain = Chain::from_genesis(world.genesis.clone());
    world.nodes[3] = Voting::new(chain, None, Memory::Fresh, world.now).unwrap();
    world.run_until(3.0);
    assert_eq!(world.check_agreement(), [1, 2, 3]);
    assert_eq!(world.documents[3].len(), 3);
}

#[test]
fn voters_join_and_leave_when_more_than_two_thirds_say_so() {
    let mut world = World::new(&[Honest; 5], calm(), 11);
    // Voter 4 is to go and 77 to come; one of the five disagrees.
    for node in 0..5u64 {
        let mut view = ballot(0..20, node);
        if node != 1 {
            view.wanted = Some(set([77]));
            view.unwanted = vec![SignerId(key(4).public())];
        }
        world.nodes[usize::try_from(node).unwrap()].set_ballot(view);
    }
    world.run_until(0.9);
    world.check_agreement();
    // One change at a time in a set this small.
    let after = |world: &World| world.nodes[0].chain().head().voters.clone();
    assert_eq!(after(&world), set(0..4));
    world.run_until(1.9);
    assert_eq!(after(&world), set([0, 1, 2, 3, 77]));
    for node in 0..5u64 {
        world.nodes[usize::try_from(node).unwrap()].set_ballot(ballot(0..20, node));
    }
    world.run_until(4.0);
    assert_eq!(world.check_agreement(), [1, 2, 3, 4]);
    assert_eq!(after(&world), set([0, 1, 2, 3, 77]), "four of five go on without the fifth");
}

/// The genesis voters see no relay yet: the network begins all the same.
#[test]
fn an_empty_network_begins() {
    let mut world = World::new(&[Honest; 4], calm(), 12);
    for node in &mut world.nodes {
        node.set_ballot(Ballot::default());
    }
    world.run_until(0.9);
    assert_eq!(world.check_agreement(), [1]);
    assert!(world.documents[0][0].relays().is_empty());
    for (node, voting) in world.nodes.iter_mut().enumerate() {
        voting.set_ballot(ballot(0..3, node as u64));
    }
    world.run_until(1.9);
    assert_eq!(world.documents[0][1].relays().len(), 3);
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![Just(Silent), Just(Double), Just(Liar), Just(Whisperer)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Up to two of seven are faulty in any manner; clocks differ, messages are late, lost and out of order.
    #[test]
    fn agreement_and_progress(
        seed: u64,
        faulty in prop::collection::btree_map(0..7usize, manner(), 0..=2),
        slow in 20..300u64,
        lost in 0..200u64,
        skew in 0..150u64,
    ) {
        let mut manners = [Honest; 7];
        for (place, manner) in &faulty {
            manners[*place] = *manner;
        }
        let mut world = World::new(&manners, Conditions { delay: 1..=slow, lost, skew }, seed);
        world.run_until(5.0);
        let epochs = world.check_agreement();
        prop_assert!(epochs.len() >= 3, "{:?} with {:?}", epochs, manners);
        for node in world.honest() {
            let heads: Vec<HeaderHash> = world.documents[node].iter().map(|document| document.hash()).collect();
            prop_assert!(heads.len() + 1 >= epochs.len(), "node {} has {} of {}", node, heads.len(), epochs.len());
            for convicted in &world.convicted[node] {
                let place = (0..7).find(|seed| key(*seed).public() == convicted.0).unwrap();
                prop_assert_eq!(manners[usize::try_from(place).unwrap()], Double);
            }
        }
    }
}

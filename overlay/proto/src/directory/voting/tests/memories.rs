//! A voter that does not know what it voted says nothing that it may have said otherwise.

use super::world::{Conditions, Manner, World, ballot, key};
use crate::directory::Chain;
use crate::directory::voting::{Memory, Voting};
use crate::wire::control::Topic;
use crate::wire::control::vote::VoteKind;

fn world(seed: u64) -> World {
    World::new(&[Manner::Honest; 4], Conditions { delay: 1..=5, lost: 0, skew: 0 }, seed)
}

/// A node that starts from the genesis although documents exist.
fn from_genesis(world: &World, memory: Memory<'_>) -> Voting {
    let mut voting = Voting::new(Chain::from_genesis(world.genesis.clone()), Some(key(2)), memory, world.now).unwrap();
    voting.set_ballot(ballot(0..20, 2));
    voting
}

/// Gives a node the headers of all documents that there are.
fn catch_up(world: &mut World) {
    let headers: Vec<_> = world.documents[0].iter().map(|document| document.signed().encode()).collect();
    for header in headers {
        world.nodes[2].handle_message(Topic::Snapshots, &header, world.now);
    }
}

#[test]
fn memory_of_a_later_document_waits_for_it() {
    let mut world = world(41);
    // In the first round of the second instance.
    world.run_until(1.0 + 3.0 / 8.0 + 0.02);
    assert_eq!(world.check_agreement(), [1]);
    let memory = world.nodes[2].memory();
    world.nodes[2] = from_genesis(&world, Memory::Kept(&memory));
    assert!(world.nodes[2].sits_out());
    world.nodes[2].handle_time(world.now);
    assert!(world.nodes[2].poll_transmit().is_none(), "it says nothing of an instance that is over");
    assert_eq!(world.nodes[2].memory(), memory, "what is stored stays");
    catch_up(&mut world);
    assert!(!world.nodes[2].sits_out());
    let instance = &world.nodes[2].instance;
    let place = instance.place(&crate::wire::document::SignerId(key(2).public())).unwrap();
    for kind in [VoteKind::Commitment, VoteKind::Reveal, VoteKind::Ballot] {
        assert!(instance.vote_of(place, kind, 0).is_some(), "{kind:?} is known");
    }
    world.run_until(3.0);
    assert_eq!(world.check_agreement(), [1, 2, 3]);
    assert!(world.convicted.iter().all(Vec::is_empty), "it says nothing twice");
}

#[test]
fn an_old_header_ends_no_silence() {
    let mut world = world(42);
    world.run_until(1.0 + 3.0 / 8.0 + 0.02);
    world.nodes[2] = from_genesis(&world, Memory::Lost);
    catch_up(&mut world);
    assert_eq!(world.nodes[2].chain().head().epoch, 1);
    assert!(world.nodes[2].sits_out(), "it voted on the second document before");
    // So does one that wrote down that it does not know.
    let unknown = world.nodes[2].memory();
    assert!(from_genesis(&world, Memory::Kept(&unknown)).sits_out());
    world.run_until(3.3);
    assert_eq!(world.check_agreement(), [1, 2, 3]);
    assert!(!world.nodes[2].sits_out(), "nobody can have voted on what follows a document of epoch 3 back then");
    world.run_until(4.9);
    assert_eq!(world.check_agreement(), [1, 2, 3, 4, 5]);
    assert!(world.convicted.iter().all(Vec::is_empty));
}

#[test]
fn memory_of_an_earlier_document_is_over() {
    let mut world = world(43);
    world.run_until(0.2);
    let memory = world.nodes[2].memory();
    world.run_until(1.9);
    world.restart(2, Memory::Kept(&memory));
    assert!(!world.nodes[2].sits_out());
}

/// The disk failed before the votes of a moment were sent.
#[test]
fn what_cannot_be_kept_is_said_to_nobody() {
    let mut world = world(44);
    world.run_until(0.01);
    let now = world.now + 2_000;
    let node = &mut world.nodes[2];
    let place = node.instance.place(&crate::wire::document::SignerId(key(2).public())).unwrap();
    node.handle_time(now);
    assert!(node.instance.vote_of(place, VoteKind::Ballot, 0).is_some());
    node.fall_silent(now);
    assert!(node.sits_out());
    assert!(node.poll_transmit().is_none());
    let nothing = Voting::new(Chain::from_genesis(world.genesis.clone()), None, Memory::Fresh, now).unwrap().have();
    for transmit in world.nodes[2].answer(&nothing).unwrap() {
        assert_ne!(
            crate::wire::control::vote::VoteMessage::decode(&transmit.bytes).unwrap().voter().0,
            key(2).public()
        );
    }
    world.run_until(3.9);
    assert_eq!(world.check_agreement(), [1, 2, 3, 4]);
    assert!(!world.nodes[2].sits_out());
    assert!(world.convicted.iter().all(Vec::is_empty));
}

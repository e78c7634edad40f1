//! What one voter tries, message by message, and what the others make of it.

use super::world::{Conditions, Manner, World, ballot, key};
use crate::directory::voting::value::{Check, Said};
use crate::directory::voting::{fair, lottery};
use crate::keys::VRF_PROOF_LEN;
use crate::wire::control::vote::{Proposal, Scope, Vote, VoteMessage};
use crate::wire::control::{HeaderHash, Reason, Topic, Verdict};
use crate::wire::document::SignerId;
use Manner::{Extender, Honest, Resigner, Silent};

fn calm() -> Conditions {
    Conditions { delay: 1..=5, lost: 0, skew: 0 }
}

fn scope(world: &World) -> Scope {
    let head = world.nodes[0].chain().head();
    Scope { network: world.genesis.network_id(), previous_epoch: head.epoch, previous: head.hash }
}

fn place(world: &World, seed: u64) -> u8 {
    world.nodes[0].instance.place(&SignerId(key(seed).public())).unwrap()
}

/// What a voter proposes in round 0 that sees what a node sees, and leaves out the secret of a place.
fn made(world: &World, node: usize, by: u64, epoch: u64, without: Option<u8>) -> Proposal {
    let instance = &world.nodes[node].instance;
    let randomness = &instance.context.head.randomness;
    let (proof, _) = lottery::draw(&key(by), &instance.scope(), randomness, 0);
    let said = Said { epoch, round: 0, proposer: SignerId(key(by).public()), proof };
    let ballots = fair::ballots(&instance.gathered);
    let mut secrets = fair::secrets(&instance.timing, &instance.gathered, 4, false);
    secrets.retain(|(place, _)| Some(*place) != without);
    let (header, _) = instance.context.compose(said, &ballots, &secrets, &instance.gathered).unwrap();
    Proposal { round: 0, locked_round: None, proof, header, ballots, secrets }
}

fn say(world: &mut World, to: usize, by: u64, vote: Vote) -> Verdict {
    let message = VoteMessage::sign(&key(by), scope(world), vote).unwrap();
    let now = world.time_of(to);
    world.nodes[to].handle_message(Topic::Votes, message.as_bytes(), now)
}

fn propose(world: &mut World, to: usize, by: u64, proposal: &Proposal) -> Verdict {
    say(world, to, by, Vote::Proposal(Box::new(proposal.clone())))
}

#[test]
fn a_ballot_signed_twice_or_extended_stops_nobody() {
    for manner in [Resigner, Extender] {
        for faulty in 0..4 {
            let mut manners = [Honest; 4];
            manners[faulty] = manner;
            let mut world = World::new(&manners, calm(), 21);
            world.run_until(2.9);
            assert_eq!(world.check_agreement(), [1, 2, 3], "{manner:?} {faulty}");
            let rounds = world.documents[(faulty + 1) % 4].iter().map(|document| document.signed().header().round());
            assert_eq!(rounds.max(), Some(0));
        }
    }
}

#[test]
fn ballots_are_named_by_what_is_signed() {
    let world = World::new(&[Honest; 4], calm(), 22);
    let first = VoteMessage::sign(&key(1), scope(&world), Vote::Ballot(ballot(0..3, 0))).unwrap();
    let read = |extension: &[u8]| VoteMessage::decode(&super::world::ballot_again(1, &first, extension)).unwrap();
    let (again, extended) = (read(b""), read(b"\x82\x02\x01x"));
    assert_ne!(again.id(), first.id());
    assert_eq!(again.ballot_id(), first.ballot_id());
    assert!(again.says_the_same(&first));
    assert_eq!(extended.vote(), first.vote());
    assert_ne!(extended.ballot_id(), first.ballot_id());
    assert!(!extended.says_the_same(&first));
}

/// All voters restarted in the middle of an epoch: nobody can say what came when.
fn all_came_late(seed: u64) -> World {
    let mut world = World::new(&[Honest; 4], calm(), seed);
    world.down = vec![true; 4];
    world.run_until(0.6);
    for node in 0..4 {
        let memory = world.nodes[node].memory();
        world.restart(node, crate::directory::voting::Memory::Kept(&memory));
        assert!(world.nodes[node].instance.came_late);
    }
    world
}

#[test]
fn a_late_instance_has_its_steps_and_honest_proposers() {
    let mut world = all_came_late(23);
    world.run_until(0.6 + 0.1);
    assert!(world.nodes.iter().all(|node| node.round().is_none()), "commitments, then secrets, then rounds");
    world.run_until(1.2);
    assert_eq!(world.check_agreement(), [1]);
    assert_eq!(world.documents[0][0].signed().header().round(), 0);
    world.run_until(2.9);
    assert_eq!(world.check_agreement(), [1, 2, 3]);
}

#[test]
fn nobody_sets_any_epoch_however_late_others_came() {
    let mut world = all_came_late(24);
    world.run_until(0.6 + 0.3);
    let absurd = made(&world, 3, 3, 1_000_000_000, None);
    assert_eq!(propose(&mut world, 0, 3, &absurd), Verdict::Accept);
    let now = world.time_of(0);
    assert_eq!(world.nodes[0].instance.choose(0, now), None);
    // The same of the epoch that is due would be taken.
    let due = made(&world, 2, 2, 1, None);
    assert_eq!(propose(&mut world, 0, 2, &due), Verdict::Accept);
    assert_eq!(world.nodes[0].instance.choose(0, now), Some(due.header.hash()));
}

#[test]
fn a_voter_has_one_secret() {
    let mut world = World::new(&[Honest, Honest, Honest, Silent], calm(), 25);
    world.run_until(0.3);
    let input = world.nodes[0].instance.context.secret_input();
    let (right, _) = key(3).secret_for(&input);
    let (other, _) = key(3).secret_for(b"of its choice");
    let (foreign, _) = key(2).secret_for(&input);
    for wrong in [*other, *foreign, [0; VRF_PROOF_LEN]] {
        assert_eq!(say(&mut world, 0, 3, Vote::Reveal(wrong)), Verdict::Reject(Reason::AgainstRules));
    }
    // After the others' secrets it can say its own, or not, and nothing else.
    assert_eq!(say(&mut world, 0, 3, Vote::Reveal(*right)), Verdict::Accept);
    let honest = made(&world, 0, 0, 1, None);
    assert_eq!(honest.secrets.len(), 4);
    let instance = &world.nodes[0].instance;
    assert!(matches!(instance.context.check(&honest, &instance.gathered), Check::Sound(_)));
    for wrong in [*other, *foreign, [0; VRF_PROOF_LEN]] {
        let mut ground = honest.clone();
        let at = ground.secrets.iter().position(|(at, _)| *at == place(&world, 3)).unwrap();
        ground.secrets[at].1 = wrong;
        assert!(matches!(instance.context.check(&ground, &instance.gathered), Check::Unsound));
    }
    // What is proven in the proposal needs no message of its voter.
    let instance = &world.nodes[1].instance;
    assert!(matches!(instance.context.check(&honest, &instance.gathered), Check::Sound(_)));
}

/// One commitment to this node, another to that one: neither says anything about the secret.
#[test]
fn two_commitments_divide_nobody() {
    let mut world = World::new(&[Honest, Honest, Honest, Silent], calm(), 26);
    world.run_until(0.01);
    for (to, byte) in [(0, 1), (1, 2), (2, 3)] {
        say(&mut world, to, 3, Vote::Commitment([byte; 32]));
    }
    world.run_until(0.2);
    let input = world.nodes[0].instance.context.secret_input();
    let (proof, _) = key(3).secret_for(&input);
    for to in 0..3 {
        assert_eq!(say(&mut world, to, 3, Vote::Reveal(*proof)), Verdict::Accept);
    }
    world.run_until(0.3);
    let proposal = made(&world, 0, 0, 1, None);
    assert_eq!(proposal.secrets.len(), 4);
    for to in 0..3 {
        propose(&mut world, to, 0, &proposal);
        let now = world.time_of(to);
        assert_eq!(world.nodes[to].instance.choose(0, now), Some(proposal.header.hash()));
    }
}

/// Voter 3 fills the places for its votes at node 2, then prevotes what 0 and 1 prevoted: 0 is locked by that.
#[test]
fn votes_that_lock_others_cannot_be_hidden() {
    let mut world = World::new(&[Honest, Honest, Honest, Silent], calm(), 27);
    world.run_until(0.3);
    let proposal = made(&world, 0, 0, 1, None);
    let header = Some(proposal.header.hash());
    for byte in 1..9 {
        say(&mut world, 2, 3, Vote::Prevote { round: 0, header: Some(HeaderHash([byte; 32])) });
    }
    world.run_until(3.0 / 8.0);
    for by in [0, 1, 3] {
        assert_eq!(say(&mut world, 2, by, Vote::Prevote { round: 0, header }), Verdict::Accept, "{by}");
    }
    // In round 1 voter 0 proposes it again.
    for by in [0, 1] {
        say(&mut world, 2, by, Vote::Prevote { round: 1, header });
    }
    let instance = &world.nodes[2].instance;
    assert_eq!(instance.rounds.round(), 1);
    let (proof, _) = lottery::draw(&key(0), &instance.scope(), &instance.context.head.randomness, 1);
    let again = Proposal { round: 1, locked_round: Some(0), proof, ..proposal };
    assert_eq!(propose(&mut world, 2, 0, &again), Verdict::Accept);
    let now = world.time_of(2);
    assert_eq!(world.nodes[2].instance.choose(1, now), header);
}

/// Voter 3 shows two ballots to node 2, and a third one to the others, who are locked on a document that counts it.
#[test]
fn ballots_that_lock_others_cannot_be_hidden() {
    let mut world = World::new(&[Honest, Honest, Honest, Silent], calm(), 28);
    world.run_until(0.3);
    let vote = |count| Vote::Ballot(ballot(0..count, 3));
    assert_eq!(say(&mut world, 2, 3, vote(5)), Verdict::Accept);
    assert_eq!(say(&mut world, 2, 3, vote(6)), Verdict::Accept);
    assert_eq!(say(&mut world, 0, 3, vote(7)), Verdict::Accept);
    let proposal = made(&world, 0, 0, 1, None);
    assert_eq!(proposal.ballots.len(), 4);
    let hash = proposal.header.hash();
    assert_eq!(propose(&mut world, 2, 0, &proposal), Verdict::Accept);
    assert_eq!(say(&mut world, 2, 3, vote(8)), Verdict::Ignore(Reason::Equivocation), "not for being named");
    let (now, bare) = (world.time_of(2), world.nodes[2].have().len());
    assert!(!world.nodes[2].instance.learn(&hash));
    for by in [0, 1] {
        say(&mut world, 2, by, Vote::Prevote { round: 0, header: Some(hash) });
    }
    // Somebody says that it is made of another ballot: it takes turns, by rounds, and does not hide what it is made of.
    let randomness = world.nodes[2].chain().head().randomness;
    let (proof, _) = lottery::draw(&key(1), &scope(&world), &randomness, 0);
    let mut copy = Proposal { proof, ..proposal.clone() };
    let at = copy.ballots.iter().position(|(at, _)| *at == place(&world, 3)).unwrap();
    copy.ballots[at].1 = [0xee; 32];
    propose(&mut world, 2, 1, &copy);
    let mut asked = std::collections::BTreeSet::new();
    for round in 0..2 {
        world.nodes[2].instance.rounds.restore(round, None, None);
        asked.extend(world.nodes[2].instance.missing_ballots(16));
    }
    assert_eq!(asked.len(), 2);
    let copied = place(&world, 1);
    world.nodes[2].instance.proposals.get_mut(&0).unwrap().remove(&copied);
    world.nodes[2].instance.rounds.restore(0, None, None);
    let have = world.nodes[2].have();
    assert!(have.len() >= bare + 33, "it asks for the ballot by its name");
    let mut answers = 0;
    for transmit in world.nodes[0].answer(&have).unwrap() {
        let _ = world.nodes[2].handle_message(transmit.topic, &transmit.bytes, now);
        answers += 1;
    }
    assert!(answers > 0);
    assert!(world.nodes[2].instance.learn(&hash));
    assert!(world.nodes[2].instance.missing_ballots(16).is_empty());
}

/// Somebody proposes another's header and says that it is made of something else. It comes first where headers are looked up.
#[test]
fn a_false_copy_of_a_proposal_hides_nothing() {
    let mut world = World::new(&[Honest; 4], calm(), 29);
    world.run_until(0.3);
    let by = |at| (0..4).find(|seed| place(&world, *seed) == at).unwrap();
    let (liar, honest) = (by(0), by(3));
    let right = made(&world, 0, honest, 1, None);
    let (proof, _) = lottery::draw(&key(liar), &scope(&world), &world.nodes[0].chain().head().randomness, 0);
    let mut copy = Proposal { proof, ..right.clone() };
    copy.secrets.pop();
    assert_eq!(propose(&mut world, 0, liar, &copy), Verdict::Accept);
    let hash = right.header.hash();
    assert!(!world.nodes[0].instance.learn(&hash));
    assert_eq!(propose(&mut world, 0, honest, &right), Verdict::Accept);
    let now = world.time_of(0);
    assert_eq!(world.nodes[0].instance.choose(0, now), Some(hash));
}

/// An unfair document does not become fair by somebody who says that it is made of more.
#[test]
fn fair_is_what_a_document_is_made_of() {
    let mut world = World::new(&[Honest; 4], calm(), 30);
    world.run_until(0.3);
    for (first, second) in [(0, 1), (1, 0)] {
        let to = 2;
        let unfair = made(&world, to, first, 1, Some(place(&world, 3)));
        let (proof, _) = lottery::draw(&key(second), &scope(&world), &world.nodes[to].chain().head().randomness, 0);
        let washed = Proposal { proof, secrets: made(&world, to, second, 1, None).secrets, ..unfair.clone() };
        let memory = world.nodes[to].memory();
        propose(&mut world, to, first, &unfair);
        propose(&mut world, to, second, &washed);
        let now = world.time_of(to);
        assert!(world.nodes[to].instance.learn(&unfair.header.hash()), "it is sound");
        assert_eq!(world.nodes[to].instance.choose(0, now), None);
        assert_eq!(world.nodes[to].memory(), memory);
        world.nodes[to].instance.proposals.clear();
    }
}

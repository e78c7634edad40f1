//! Cells on circuits: probes, altered cells, lengths on the wire.

use std::cell::Cell as Shared;
use std::rc::Rc;
use std::time::Duration;

use super::world::{Plan, World};
use crate::node::{CloseReason, Event, SendError};

#[test]
fn every_hop_answers_probes_with_its_own_round_trip() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2, 3]);
    for hop in 0..4 {
        let now = world.now;
        world.node(4).ping(now, circuit, hop).unwrap();
        let (from, rtt) = world.wait(4, Duration::from_secs(1), "pong", |event| match event {
            Event::Pong { hop, rtt, .. } => Some((*hop, *rtt)),
            _ => None,
        });
        assert_eq!((from, rtt), (hop, Duration::from_millis(20) * u32::try_from(hop + 1).unwrap()));
    }
    let now = world.now;
    assert_eq!(world.node(4).ping(now, circuit, 4), Err(SendError::NoHop(4)));
    let health = world.members[4].node.health(circuit).unwrap();
    assert!(health.hops().iter().all(|hop| (hop.sent, hop.answered, hop.lost) == (1, 1, 0)));
}

#[test]
fn probes_are_answered_at_a_bounded_rate() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1]);
    for _ in 0..40 {
        let now = world.now;
        world.node(4).ping(now, circuit, 0).unwrap();
    }
    world.run_for(Duration::from_secs(5));
    let metrics = world.members[0].node.metrics();
    assert_eq!((metrics.pings_answered, metrics.pings_refused), (20, 20));
    let origin = world.members[4].node.metrics();
    assert_eq!(origin.own.pings_lost, 20);
}

/// One bit of one cell, at any hop and in both directions: that circuit ends everywhere, another one over the same
/// relays does not notice.
#[test]
fn an_altered_cell_ends_its_circuit_and_no_other() {
    for forward in [true, false] {
        // The member that alters the cell on its way out.
        for culprit in if forward { [4, 0, 1] } else { [2, 1, 0] } {
            for bit in [0, 64, 777, 4031] {
                one_flipped_bit(forward, culprit, bit);
            }
        }
    }
}

fn one_flipped_bit(forward: bool, culprit: usize, bit: usize) {
    let mut world = World::new(&Plan { delay: Duration::from_millis(1), ..Plan::default() });
    let victim = world.build(4, &[0, 1, 2]);
    let bystander = world.build(4, &[0, 1, 2]);
    let local = world.deliver(4, victim, 2, b"before");
    let other = world.deliver(4, bystander, 2, b"before");
    let armed = Rc::new(Shared::new(true));
    let trigger = Rc::clone(&armed);
    world.before_flush = Some(Box::new(move |index, node| {
        if index == culprit && trigger.get() {
            node.core.neighbours.waiting_cells(|cell| {
                if trigger.replace(false) {
                    cell.body[bit / 8] ^= 1 << (bit % 8);
                }
            });
        }
    }));
    let now = world.now;
    if forward {
        world.node(4).send(now, victim, b"altered").unwrap();
    } else {
        world.node(2).reply(now, local, b"altered").unwrap();
    }
    let reason = world.wait(4, Duration::from_secs(2), "the circuit ends", |event| match event {
        Event::CircuitClosed { circuit, reason } if *circuit == victim => Some(*reason),
        Event::Message { message, .. } => panic!("{message:?}"),
        _ => None,
    });
    assert_eq!(reason, CloseReason::Damaged);
    assert!(!armed.get());
    world.run_for(Duration::from_millis(50));
    for (relay, member) in world.members.iter().enumerate().take(3) {
        assert_eq!(member.node.metrics().circuits.open, 1, "relay {relay}");
    }
    let leaked = world.members[2].events.iter().any(|event| matches!(event, Event::LocalMessage { .. }));
    assert!(!leaked, "an altered cell carries nothing");
    assert_eq!(world.deliver(4, bystander, 2, b"unharmed"), other);
    world.deliver_back(2, other, 4, b"unharmed");
}

#[test]
fn every_datagram_has_one_of_two_lengths() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2]);
    for n in 0..100usize {
        let now = world.now;
        world.node(4).send(now, circuit, &vec![1; 1 + n * 14]).unwrap();
        world.run_for(Duration::from_millis(7));
    }
    world.run_for(Duration::from_secs(60));
    let lengths: Vec<usize> = world.lengths.keys().copied().filter(|len| *len < 1200).collect();
    assert!(world.lengths.contains_key(&576) && world.lengths.contains_key(&1200));
    // Whatever else there is belongs to handshakes.
    assert!(world.lengths.iter().all(|(len, count)| [576, 1200].contains(len) || *count < 20), "{lengths:?}");
}

#[test]
fn a_lone_call_makes_short_datagrams_and_a_download_long_ones() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2]);
    let local = world.deliver(4, circuit, 2, b"hello");
    let long = |world: &World| world.lengths.get(&1200).copied().unwrap_or(0);
    let short = |world: &World| world.lengths.get(&576).copied().unwrap_or(0);
    let (before_long, before_short) = (long(&world), short(&world));
    for _ in 0..100 {
        let now = world.now;
        world.node(4).send(now, circuit, &[7; 160]).unwrap();
        world.node(2).reply(now, local, &[7; 160]).unwrap();
        world.run_for(Duration::from_millis(20));
    }
    assert!(long(&world) - before_long <= 2, "{} long", long(&world) - before_long);
    assert!(short(&world) - before_short >= 300);
    let (before_long, _) = (long(&world), ());
    for _ in 0..50 {
        let now = world.now;
        for _ in 0..4 {
            world.node(2).reply(now, local, &[7; 1400]).unwrap();
        }
        world.run_for(Duration::from_millis(20));
    }
    assert!(long(&world) - before_long >= 50 * 5 * 3, "{} long", long(&world) - before_long);
}

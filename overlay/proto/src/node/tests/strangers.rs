//! What links of strangers may take from everybody else: little.

use std::time::Duration;

use super::world::{Plan, World};
use crate::node::{BuildFailure, CircuitId, Event, Meet, MeetingOutcome};

/// Tries to build a circuit; says how it went.
fn try_build(world: &mut World, origin: usize, path: &[usize]) -> Result<CircuitId, BuildFailure> {
    let (now, path) = (world.now, world.path(path));
    let circuit = world.node(origin).build(now, &path).unwrap();
    world.wait(origin, Duration::from_secs(20), "an answer", |event| match event {
        Event::CircuitReady { circuit: id, .. } if *id == circuit => Some(Ok(*id)),
        Event::CircuitFailed { circuit: id, reason } if *id == circuit => Some(Err(*reason)),
        _ => None,
    })
}

/// Circuits that were closed at an origin.
fn lost(world: &World, origin: usize) -> usize {
    world.members[origin].events.iter().filter(|event| matches!(event, Event::CircuitClosed { .. })).count()
}

fn close_links(world: &mut World, origin: usize) {
    let now = world.now;
    let link = world.node(origin).origin.any_link().unwrap();
    world.node(origin).core.links.close(now, link);
    world.node(origin).flush(now);
}

#[test]
fn a_stranger_opens_fewer_circuits_than_a_relay() {
    let mut world = World::new(&Plan {
        origins: 3,
        delay: Duration::from_millis(1),
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.max_circuits_per_stranger = 8;
            }
        },
        ..Plan::default()
    });
    for _ in 0..8 {
        world.build(4, &[0, 1]);
        world.build(5, &[0, 1]);
    }
    assert_eq!(try_build(&mut world, 4, &[0, 1]), Err(BuildFailure::Busy));
    assert_eq!(world.members[0].node.metrics().circuits.refused_full, 1);
    // The relay's own link carries the circuits of all its origins, and one more.
    world.build(6, &[0, 1]);
    assert_eq!(world.members[1].node.metrics().circuits.open, 17);

    // A relay that leaves the document becomes a stranger: what is open stays, nothing more is taken.
    let other = World::new(&Plan { seed: 99, ..Plan::default() });
    world.node(1).set_network(std::sync::Arc::clone(&other.network));
    assert_eq!(try_build(&mut world, 6, &[0, 1]), Err(BuildFailure::Busy));
    assert_eq!(world.members[1].node.metrics().circuits.open, 17);
    let network = std::sync::Arc::clone(&world.network);
    world.node(1).set_network(network);
    world.build(6, &[0, 1]);
}

#[test]
fn a_closed_link_leaves_no_circuit_behind_at_the_next_relay() {
    let mut world = World::new(&Plan {
        origins: 2,
        delay: Duration::from_millis(1),
        tune: |_, config| config.link.max_queued_control = 8,
        ..Plan::default()
    });
    for _ in 0..100 {
        world.build(4, &[0, 1]);
    }
    let kept = world.build(5, &[0, 1]);
    close_links(&mut world, 4);
    world.run_for(Duration::from_secs(2));
    for relay in 0..2 {
        assert_eq!(world.members[relay].node.metrics().circuits.open, 1, "relay {relay}");
    }
    assert_eq!(world.members[0].node.core.entries(), 2);
    world.deliver(5, kept, 1, b"still here");
}

#[test]
fn many_thin_links_push_out_each_other_and_no_relays_circuits() {
    let mut world = World::new(&Plan {
        origins: 41,
        delay: Duration::from_millis(1),
        tune: |index, config| {
            if let (1, Some(relay)) = (index, &mut config.relay) {
                relay.max_circuits = 40;
            }
        },
        ..Plan::default()
    });
    // Twenty honest circuits over relay 0, then twice as many links of strangers as there is room.
    let honest: Vec<_> = (0..20).map(|_| world.build(4, &[0, 1])).collect();
    for stranger in 5..45 {
        world.build(stranger, &[1]);
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(lost(&world, 4), 0);
    let metrics = world.members[1].node.metrics();
    assert_eq!((metrics.circuits.open, metrics.circuits.evicted), (40, 20));
    let gone: usize = (5..45).map(|stranger| lost(&world, stranger)).sum();
    assert_eq!(gone, 20);
    for circuit in &honest {
        world.deliver(4, *circuit, 1, b"works");
    }

    // Relays may fill what strangers leave, and then pay for themselves: the other way round it would be no better.
    for _ in 0..5 {
        world.build(4, &[0, 1]);
    }
    world.run_for(Duration::from_millis(100));
    let left = |world: &World, origin: usize| world.members[origin].node.metrics().own.open;
    assert_eq!(left(&world, 4), 20);
    assert_eq!((5..45).map(|stranger| left(&world, stranger)).sum::<u64>(), 20);
}

#[test]
fn among_strangers_the_greedy_one_pays() {
    let mut world = World::new(&Plan {
        origins: 12,
        delay: Duration::from_millis(1),
        tune: |index, config| {
            if let (0, Some(relay)) = (index, &mut config.relay) {
                relay.max_circuits = 20;
            }
        },
        ..Plan::default()
    });
    for _ in 0..15 {
        world.build(4, &[0]);
    }
    for modest in 5..16 {
        world.build(modest, &[0]);
    }
    world.run_for(Duration::from_millis(100));
    assert_eq!(lost(&world, 4), 6);
    assert_eq!((5..16).map(|modest| lost(&world, modest)).sum::<usize>(), 0);
}

#[test]
fn the_end_of_a_link_touches_its_own_circuits_only() {
    let mut world = World::new(&Plan { origins: 3, delay: Duration::from_millis(1), ..Plan::default() });
    for _ in 0..20 {
        world.build(4, &[0, 1, 2]);
    }
    let direct = world.build(5, &[0]);
    let through = world.build(6, &[0, 1, 2]);
    close_links(&mut world, 4);
    let link = world.members[0].node.core.links.len();
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.members[0].node.core.links.len() + 1, link);
    assert_eq!(world.members[0].node.metrics().circuits.open, 2);
    world.deliver(5, direct, 0, b"works");
    world.deliver(6, through, 2, b"works");
    // The next relay dies: the circuits through it end, the others stay.
    world.members[1].dead = true;
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.members[0].node.metrics().circuits.open, 1);
    world.deliver(5, direct, 0, b"works on");
}

#[test]
fn set_ups_of_many_thin_links_leave_a_relay_its_turns() {
    let mut world = World::new(&Plan {
        origins: 42,
        delay: Duration::from_millis(1),
        tune: |index, config| {
            if let (1, Some(relay)) = (index, &mut config.relay) {
                relay.setups_waiting = 40;
                relay.work_percent = 1;
            }
        },
        ..Plan::default()
    });
    for origin in 4..46 {
        world.build(origin, if origin == 4 { &[0, 1] } else { &[1] });
    }
    // Junk, for which public-key work is needed, on 41 links: ever one packet on each. 10 ms of work in a second are
    // some 180 packets; a turn for each link would leave the relay four.
    let mut packet = [1; zmesh_sphinx::PACKET_LEN];
    packet[..32].copy_from_slice(&super::flood::BASE_POINT);
    for _ in 0..10 {
        let (now, path) = (world.now, world.path(&[0, 1]));
        world.node(4).build(now, &path).unwrap();
    }
    for _ in 0..400 {
        for origin in 5..46 {
            let now = world.now;
            world.node(origin).send_setup(now, packet);
        }
        world.run_for(Duration::from_millis(2));
    }
    let ready = |event: &&Event| matches!(event, Event::CircuitReady { .. });
    assert_eq!(world.members[4].events.iter().filter(ready).count(), 10);
}

#[test]
fn one_link_cannot_take_every_meeting_place() {
    let mut world = World::new(&Plan {
        origins: 3,
        delay: Duration::from_millis(1),
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.max_meetings = 8;
                relay.max_meetings_per_link = 6;
            }
        },
        ..Plan::default()
    });
    let mut wait = |origin: usize, path: &[usize], cookie: u8| {
        let circuit = world.build(origin, path);
        let now = world.now;
        world.node(origin).meet(now, circuit, Meet::Wait([cookie; 16])).unwrap();
        world.wait(origin, Duration::from_secs(5), "an answer", |event| match event {
            Event::Meeting { circuit: id, outcome } if *id == circuit => Some(*outcome),
            _ => None,
        })
    };
    for cookie in 0..8 {
        let expected = if cookie < 4 { MeetingOutcome::Waiting } else { MeetingOutcome::Refused };
        assert_eq!(wait(4, &[1], cookie), expected);
    }
    for cookie in 10..14 {
        assert_eq!(wait(5, &[0, 1], cookie), MeetingOutcome::Waiting);
    }
    assert_eq!(wait(6, &[0, 1], 20), MeetingOutcome::Refused, "the table is full");
}

#[test]
fn a_slot_cannot_be_filled_before_it_begins() {
    let mut world = World::new(&Plan {
        origins: 2,
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.replay_capacity = 9;
            }
        },
        ..Plan::default()
    });
    let slot = zmesh_sphinx::SLOT_SECONDS;
    let now = world.now;
    world.node(4).set_clock(now, (super::world::UNIX + slot) * 1_000_000_000);
    let ahead = (0..9).filter(|_| try_build(&mut world, 4, &[0]).is_ok()).count();
    assert_eq!(ahead, 3);
    world.build(5, &[0]);
    world.run_for(Duration::from_secs(slot));
    for _ in 0..6 {
        world.build(5, &[0]);
    }
    assert_eq!(try_build(&mut world, 5, &[0]), Err(BuildFailure::Busy));
}

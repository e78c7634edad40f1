//! Building, replay, teardown, and what a relay knows.

use std::time::Duration;

use super::world::{Plan, World};
use crate::node::{BuildError, BuildFailure, Event, ReplayStart, SendError};

#[test]
fn circuits_of_one_to_four_hops_carry_messages_both_ways() {
    let mut world = World::new(&Plan::default());
    for hops in 1..=4usize {
        let path: Vec<usize> = (0..hops).collect();
        let circuit = world.build(4, &path);
        for len in [1, 482, 483, 1446] {
            let message: Vec<u8> = (0..=u8::MAX).cycle().skip(hops).take(len).collect();
            let local = world.deliver(4, circuit, hops - 1, &message);
            assert_eq!(world.deliver_back(hops - 1, local, 4, &message), circuit);
        }
    }
    let now = world.now;
    let circuit = world.build(4, &[3]);
    assert_eq!(world.node(4).send(now, circuit, &[0; 1447]), Err(SendError::TooLong(1447)));
    assert_eq!(world.node(4).send(now, circuit, &[]), Err(SendError::Empty));
}

#[test]
fn three_hops_build_in_one_round_trip_of_the_path() {
    let mut world = World::new(&Plan { delay: Duration::from_millis(50), ..Plan::default() });
    world.build(4, &[0, 1, 2]);
    let (now, path) = (world.now, world.path(&[0, 1, 2]));
    let circuit = world.node(4).build(now, &path).unwrap();
    let took = world.wait(4, Duration::from_secs(5), "ready", |event| match event {
        Event::CircuitReady { circuit: id, took } if *id == circuit => Some(*took),
        _ => None,
    });
    assert_eq!(took, Duration::from_millis(300));
}

#[test]
fn circuits_build_and_carry_messages_although_datagrams_are_lost() {
    let mut world = World::new(&Plan { delay: Duration::from_millis(5), ..Plan::default() });
    world.loss = 10;
    let mut arrived = 0;
    for _ in 0..10 {
        let circuit = world.build(4, &[0, 1, 2]);
        for n in 0..20u8 {
            let now = world.now;
            world.node(4).send(now, circuit, &[n; 100]).unwrap();
            world.run_for(Duration::from_millis(20));
        }
        world.run_for(Duration::from_millis(100));
        arrived +=
            world.members[2].events.drain(..).filter(|event| matches!(event, Event::LocalMessage { .. })).count();
    }
    // Without repair about 146 (0.9³) would come; the first are lost before the links know that they lose any.
    assert!((175..=200).contains(&arrived), "three links of 10 % loss: {arrived} of 200");
}

#[test]
fn paths_that_cannot_be_tried_are_refused_at_once() {
    let mut world = World::new(&Plan::default());
    let now = world.now;
    let ids = world.ids.clone();
    let unknown = zmesh_sphinx::RelayId([9; 16]);
    let origin = world.node(4);
    assert_eq!(origin.build(now, &[]), Err(BuildError::PathLength(0)));
    assert_eq!(origin.build(now, &[ids[0], ids[1], ids[0]]), Err(BuildError::PathRepeats));
    assert_eq!(origin.build(now, &[ids[0], unknown]), Err(BuildError::UnknownRelay(1)));
    let relay = world.node(0);
    // A relay's own place in its path would be one stranger fewer, wherever it stands.
    for path in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        assert_eq!(relay.build(now, &path.map(|at| ids[at])), Err(BuildError::PathRepeats));
    }
    for path in [&[0][..], &[0, 1]] {
        let path: Vec<_> = path.iter().map(|at| ids[*at]).collect();
        assert_eq!(relay.build(now, &path), Err(BuildError::PathRepeats));
    }
}

/// How a relay measures another one.
#[test]
fn a_circuit_leads_by_way_of_another_relay_back_to_the_one_that_built_it() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(0, &[1, 0]);
    let local = world.deliver(0, circuit, 0, b"to itself");
    assert_eq!(world.deliver_back(0, local, 0, b"and back"), circuit);
}

#[test]
fn a_relay_is_an_origin_too() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(0, &[1, 2, 3]);
    let local = world.deliver(0, circuit, 3, b"from a relay");
    world.deliver_back(3, local, 0, b"to a relay");
}

#[test]
fn teardown_leaves_nothing_behind() {
    let mut world = World::new(&Plan::default());
    let first = world.build(4, &[0, 1, 2]);
    let second = world.build(4, &[0, 1, 3]);
    let local = world.deliver(4, first, 2, b"hello");
    world.deliver(4, second, 3, b"hello");
    let now = world.now;
    world.node(4).close(now, first);
    world.wait(2, Duration::from_secs(1), "the exit hears of it", |event| match event {
        Event::LocalClosed { local: id } if *id == local => Some(()),
        _ => None,
    });
    let now = world.now;
    assert_eq!(world.node(4).send(now, first, b"x"), Err(SendError::NoCircuit));
    assert_eq!(world.node(2).reply(now, local, b"x"), Err(SendError::NoCircuit));
    let local = world.deliver(4, second, 3, b"still here");
    let now = world.now;
    world.node(3).close_local(now, local);
    world.wait(4, Duration::from_secs(1), "the origin hears of it", |event| match event {
        Event::CircuitClosed { circuit, .. } if *circuit == second => Some(()),
        _ => None,
    });
    world.run_for(Duration::from_millis(200));
    assert!(world.no_circuits());
}

#[test]
fn closing_a_half_built_circuit_leaves_nothing_behind() {
    let mut world = World::new(&Plan::default());
    world.build(4, &[0, 1, 2]);
    let (now, path) = (world.now, world.path(&[0, 1, 3]));
    for ms in [0, 5, 15, 25, 35, 45, 55] {
        let circuit = world.node(4).build(now, &path).unwrap();
        world.run_for(Duration::from_millis(ms));
        let now = world.now;
        world.node(4).close(now, circuit);
    }
    world.run_for(Duration::from_millis(300));
    for relay in 0..4 {
        let open = world.members[relay].node.metrics().circuits.open;
        assert_eq!(open, u64::from(relay < 3), "relay {relay}");
    }
}

#[test]
fn idle_circuits_are_closed_and_kept_ones_are_not() {
    let mut world = World::new(&Plan {
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.idle_timeout = Duration::from_secs(100);
            }
            config.origin.keepalive = Duration::from_secs(60);
        },
        ..Plan::default()
    });
    let circuit = world.build(4, &[0, 1, 2]);
    world.run_for(Duration::from_secs(400));
    world.deliver(4, circuit, 2, b"kept alive by probes");
    // An origin that vanishes leaves its circuit to the guard's own link; the guard ends it for all.
    world.members[4].dead = true;
    world.run_for(Duration::from_secs(120));
    assert!(world.no_circuits());
}

#[test]
fn a_replayed_setup_packet_is_refused_also_after_a_restart() {
    let mut world = World::new(&Plan { origins: 2, ..Plan::default() });
    let (now, path) = (world.now, world.path(&[0, 1]));
    let circuit = world.node(4).build(now, &path).unwrap();
    let mut packet = None;
    world.run_until(Duration::from_secs(5), "set-up packet", |world| {
        packet = packet.or_else(|| world.members[4].node.origin.setup_packet(circuit));
        world.members[4].events.pop_front().is_some()
    });
    let packet = packet.expect("the packet waited for the link");

    // Another origin sends the same packet over its own link.
    world.build(5, &[0]);
    let replay = |world: &mut World| {
        let now = world.now;
        world.node(5).send_setup(now, packet);
        world.run_for(Duration::from_millis(200));
    };
    replay(&mut world);
    let metrics = world.members[0].node.metrics();
    assert_eq!((metrics.circuits.refused_replay, metrics.circuits.open), (1, 2));

    // The relay restarts with the state that it saved.
    let state = world.members[0].node.replay_state();
    let mut config = world.config(0);
    config.relay.as_mut().unwrap().replay = ReplayStart::Saved(state);
    world.members[0] = world.member(config);
    world.run_for(Duration::from_secs(20));
    world.build(5, &[0]);
    replay(&mut world);
    assert_eq!(world.members[0].node.metrics().circuits.refused_replay, 1);

    // And once more with its state lost: everything of the present slots is refused.
    let mut config = world.config(0);
    config.relay.as_mut().unwrap().replay = ReplayStart::Lost;
    world.members[0] = world.member(config);
    world.run_for(Duration::from_secs(20));
    let (now, path) = (world.now, world.path(&[0]));
    world.node(5).build(now, &path).unwrap();
    let failure = world.wait(5, Duration::from_secs(15), "refusal", |event| match event {
        Event::CircuitFailed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(failure, BuildFailure::Refused);
}

#[test]
fn clocks_may_differ_by_a_slot_and_not_by_three() {
    for (skew, works) in [(0i64, true), (290, true), (-290, true), (900, false), (-900, false)] {
        let mut world = World::new(&Plan::default());
        let now = world.now;
        let unix = super::world::UNIX.checked_add_signed(skew).unwrap();
        world.node(4).set_clock(now, unix * 1_000_000_000);
        let path = world.path(&[0, 1, 2]);
        world.node(4).build(now, &path).unwrap();
        let ready = world.wait(4, Duration::from_secs(15), "an answer", |event| match event {
            Event::CircuitReady { .. } => Some(true),
            Event::CircuitFailed { reason, .. } => {
                assert_eq!(*reason, BuildFailure::Refused);
                Some(false)
            }
            _ => None,
        });
        assert_eq!(ready, works, "skew {skew}");
    }
}

#[test]
fn setups_work_across_the_change_of_onion_keys() {
    let mut world = World::new(&Plan::default());
    let epoch = crate::keys::EPOCH_SECONDS;
    let border = (super::world::UNIX / epoch + 1) * epoch;
    for (offset, skew) in [(-10i64, 20i64), (10, -20), (-10, 0), (10, 0), (-200, 290), (200, -290)] {
        let now = world.now;
        let unix = border.checked_add_signed(offset).unwrap();
        for relay in 0..4 {
            let keys = crate::node::OnionKey::around(world.keys[relay].onion(), unix);
            world.node(relay).set_clock(now, unix * 1_000_000_000);
            world.node(relay).set_onion_keys(keys);
        }
        let origin = unix.checked_add_signed(skew).unwrap();
        world.node(4).set_clock(now, origin * 1_000_000_000);
        world.build(4, &[0, 1, 2]);
    }
}

#[test]
fn no_relay_names_more_than_its_neighbours() {
    let mut world = World::new(&Plan::default());
    world.build(4, &[0, 1, 2]);
    for relay in 0..3 {
        let relay_node = &world.members[relay].node;
        let named = relay_node.relay.as_ref().unwrap().named_links();
        assert_eq!(named.len(), 1);
        let expected = if relay == 2 { 1 } else { 2 };
        assert_eq!(named[0].len(), expected, "relay {relay}");
        assert_eq!(relay_node.core.entries(), expected);
    }
    assert!(world.members[3].node.relay.as_ref().unwrap().named_links().is_empty());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(&Plan { seed: 7, ..Plan::default() });
        world.loss = 5;
        let circuit = world.build(4, &[0, 1, 2]);
        for n in 0..50u8 {
            let now = world.now;
            world.node(4).send(now, circuit, &[n; 700]).unwrap();
            world.run_for(Duration::from_millis(3));
        }
        world.run_for(Duration::from_secs(1));
        (world.lengths.clone(), world.members[2].events.iter().map(|event| format!("{event:?}")).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_draining_relay_keeps_its_circuits_and_takes_no_new_ones() {
    let mut world = World::new(&Plan::default());
    let stands = world.build(4, &[0, 1, 2]);
    world.node(1).set_draining(true);
    let (now, path) = (world.now, world.path(&[0, 1, 2]));
    let refused = world.node(4).build(now, &path).unwrap();
    let reason = world.wait(4, Duration::from_secs(5), "refused", |event| match event {
        Event::CircuitFailed { circuit, reason } if *circuit == refused => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, BuildFailure::Busy);
    assert_eq!(world.node(1).metrics().circuits.refused_draining, 1);
    world.deliver(4, stands, 2, b"still here");
    world.node(1).set_draining(false);
    world.build(4, &[0, 1, 2]);
}

//! Relays that die, and circuits that notice.

use std::time::Duration;

use super::world::{Plan, World};
use crate::node::{BuildFailure, CloseReason, Event};

fn closed(world: &mut World, limit: u64) -> CloseReason {
    world.wait(4, Duration::from_secs(limit), "the circuit ends", |event| match event {
        Event::CircuitClosed { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_dead_relay_is_noticed_within_seconds_while_the_circuit_is_used() {
    for dead in 0..3 {
        let mut world = World::new(&Plan::default());
        let circuit = world.build(4, &[0, 1, 2]);
        let local = world.deliver(4, circuit, 2, b"hello");
        world.members[dead].dead = true;
        let began = world.now;
        let mut reason = None;
        while reason.is_none() {
            assert!(world.now - began < Duration::from_secs(5), "relay {dead}");
            let now = world.now;
            let _ = world.node(4).send(now, circuit, b"anybody there?");
            let _ = world.node(2).reply(now, local, b"anybody there?");
            world.run_for(Duration::from_millis(20));
            let events = world.members[4].events.drain(..);
            reason = reason.or(events.into_iter().find_map(|event| match event {
                Event::CircuitClosed { reason, .. } => Some(reason),
                _ => None,
            }));
        }
        // What is left on the living relays goes with their links.
        world.run_for(Duration::from_secs(60));
        assert!(world.no_circuits(), "relay {dead}");
    }
}

#[test]
fn a_dead_relay_is_noticed_on_an_idle_circuit_too() {
    for dead in 0..3 {
        let mut world = World::new(&Plan::default());
        world.build(4, &[0, 1, 2]);
        world.members[dead].dead = true;
        let reason = closed(&mut world, 90);
        assert_ne!(reason, CloseReason::Other);
    }
}

#[test]
fn one_way_traffic_with_a_silent_far_end_is_no_reason_to_end() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2]);
    world.loss = 5;
    for _ in 0..300 {
        let now = world.now;
        world.node(4).send(now, circuit, b"nobody answers").unwrap();
        world.run_for(Duration::from_millis(100));
    }
    assert!(!world.members[4].events.iter().any(|event| matches!(event, Event::CircuitClosed { .. })));
}

/// Over far links the answers to probes come late: 250 ms each way and link, so 1.5 s for a round trip. What the wires lose for 1.5 s must not end
/// a circuit whose next probes come through; a relay that is dead still does, before long.
#[test]
fn a_slow_circuit_bears_a_longer_silence() {
    let plan = Plan { delay: Duration::from_millis(250), ..Plan::default() };
    let mut world = World::new(&plan);
    let circuit = world.build(4, &[0, 1, 2]);
    world.deliver(4, circuit, 2, b"hello");
    world.run_for(Duration::from_secs(3));
    let now = world.now;
    world.loss = 100;
    world.node(4).ping(now, circuit, 2).unwrap();
    world.run_for(Duration::from_millis(1500));
    world.loss = 0;
    world.run_for(Duration::from_secs(6));
    assert!(!world.members[4].events.iter().any(|event| matches!(event, Event::CircuitClosed { .. })));
    world.deliver(4, circuit, 2, b"still there");
    world.members[2].dead = true;
    let began = world.now;
    let now = world.now;
    let _ = world.node(4).ping(now, circuit, 2);
    closed(&mut world, 90);
    assert!(world.now - began <= Duration::from_millis(5_100), "{:?}", world.now - began);
}

#[test]
fn builds_through_dead_relays_fail_with_a_reason() {
    for (dead, expected) in
        [(0, BuildFailure::GuardUnreachable), (1, BuildFailure::Unreachable), (2, BuildFailure::Unreachable)]
    {
        let mut world = World::new(&Plan::default());
        world.members[dead].dead = true;
        let (now, path) = (world.now, world.path(&[0, 1, 2]));
        world.node(4).build(now, &path).unwrap();
        let reason = world.wait(4, Duration::from_secs(11), "the build fails", |event| match event {
            Event::CircuitFailed { reason, .. } => Some(*reason),
            _ => None,
        });
        assert!(reason == expected || reason == BuildFailure::Timeout, "{reason:?}");
        world.run_for(Duration::from_secs(30));
        assert!(world.no_circuits());
    }
}

#[test]
fn a_watched_circuit_is_suspect_long_before_it_is_given_up() {
    for dead in 0..3 {
        let mut world = World::new(&Plan::default());
        let circuit = world.build(4, &[0, 1, 2]);
        world.deliver(4, circuit, 2, b"hello");
        world.run_for(Duration::from_millis(100));
        let now = world.now;
        world.node(4).watch(now, circuit, Some(Duration::from_millis(50)));
        world.members[dead].dead = true;
        let began = world.now;
        world.node(4).send(began, circuit, b"anybody there?").unwrap();
        world.wait(4, Duration::from_secs(2), "suspicion", |event| {
            matches!(event, Event::CircuitSuspect { .. }).then_some(())
        });
        let took = world.now - began;
        assert!((Duration::from_millis(400)..Duration::from_millis(450)).contains(&took), "relay {dead}: {took:?}");
    }
}

#[test]
fn a_watched_circuit_that_answers_is_not_suspect() {
    let mut world = World::new(&Plan::default());
    let circuit = world.build(4, &[0, 1, 2]);
    let now = world.now;
    world.node(4).watch(now, circuit, Some(Duration::from_millis(50)));
    // Nobody at the far end says anything: only probes are answered, and one cell in twenty is lost.
    world.loss = 5;
    for _ in 0..300 {
        let now = world.now;
        world.node(4).send(now, circuit, b"nobody answers").unwrap();
        world.run_for(Duration::from_millis(100));
    }
    assert!(!world.members[4].events.iter().any(|event| matches!(event, Event::CircuitSuspect { .. })));
}

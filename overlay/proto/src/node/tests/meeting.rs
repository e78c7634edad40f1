//! Two circuits that meet at a relay.

use std::time::Duration;

use super::world::{Plan, World};
use crate::node::{CircuitId, CloseReason, Event, Meet, MeetingOutcome, SendError};

fn outcome(world: &mut World, member: usize, circuit: CircuitId) -> MeetingOutcome {
    world.wait(member, Duration::from_secs(15), "an answer to the meeting", |event| match event {
        Event::Meeting { circuit: id, outcome } if *id == circuit => Some(*outcome),
        _ => None,
    })
}

fn expect_message(world: &mut World, member: usize, message: &[u8]) {
    world.wait(member, Duration::from_secs(5), "message", |event| match event {
        Event::Message { message: got, .. } if got == message => Some(()),
        _ => None,
    });
}

fn meet(world: &mut World, member: usize, circuit: CircuitId, role: Meet) -> MeetingOutcome {
    let now = world.now;
    world.node(member).meet(now, circuit, role).unwrap();
    outcome(world, member, circuit)
}

fn two_origins() -> (World, CircuitId, CircuitId) {
    let mut world = World::new(&Plan { relays: 6, origins: 3, ..Plan::default() });
    let waiter = world.build(6, &[0, 1, 2]);
    let joiner = world.build(7, &[3, 4, 5, 2]);
    (world, waiter, joiner)
}

#[test]
fn both_sides_speak_through_the_meeting_relay_and_end_together() {
    let (mut world, waiter, joiner) = two_origins();
    assert_eq!(meet(&mut world, 6, waiter, Meet::Wait([1; 16])), MeetingOutcome::Waiting);
    assert_eq!(meet(&mut world, 7, joiner, Meet::Join([1; 16])), MeetingOutcome::Joined);
    assert_eq!(outcome(&mut world, 6, waiter), MeetingOutcome::Joined);
    for len in [1, 400, 1446] {
        let now = world.now;
        world.node(6).send(now, waiter, &vec![3; len]).unwrap();
        world.node(7).send(now, joiner, &vec![4; len]).unwrap();
        expect_message(&mut world, 7, &vec![3; len]);
        expect_message(&mut world, 6, &vec![4; len]);
    }
    assert!(world.members[2].events.is_empty(), "nothing is delivered at the meeting relay");
    assert_eq!(world.members[2].node.metrics().meetings_joined, 1);
    let now = world.now;
    assert_eq!(world.node(7).meet(now, joiner, Meet::Join([1; 16])), Err(SendError::AlreadyMeeting));
    world.node(7).close(now, joiner);
    let reason = world.wait(6, Duration::from_secs(2), "the other side ends", |event| match event {
        Event::CircuitClosed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, CloseReason::Remote);
    world.run_for(Duration::from_secs(1));
    assert!(world.no_circuits());
}

#[test]
fn a_cookie_serves_one_meeting() {
    let (mut world, waiter, joiner) = two_origins();
    let third = world.build(8, &[1, 0, 2]);
    assert_eq!(meet(&mut world, 8, third, Meet::Join([1; 16])), MeetingOutcome::UnknownCookie);
    assert_eq!(meet(&mut world, 6, waiter, Meet::Wait([1; 16])), MeetingOutcome::Waiting);
    assert_eq!(meet(&mut world, 8, third, Meet::Wait([1; 16])), MeetingOutcome::Refused);
    assert_eq!(meet(&mut world, 7, joiner, Meet::Join([1; 16])), MeetingOutcome::Joined);
    assert_eq!(meet(&mut world, 8, third, Meet::Join([1; 16])), MeetingOutcome::UnknownCookie);
    assert_eq!(world.members[2].node.metrics().meetings_refused, 3);
}

#[test]
fn meetings_come_about_although_cells_are_lost() {
    let (mut world, waiter, joiner) = two_origins();
    world.loss = 8;
    assert_eq!(meet(&mut world, 6, waiter, Meet::Wait([9; 16])), MeetingOutcome::Waiting);
    world.run_for(Duration::from_secs(150));
    assert_eq!(meet(&mut world, 7, joiner, Meet::Join([9; 16])), MeetingOutcome::Joined);
    assert_eq!(outcome(&mut world, 6, waiter), MeetingOutcome::Joined);
}

#[test]
fn a_circuit_that_ends_leaves_no_cookie_behind() {
    let (mut world, waiter, joiner) = two_origins();
    assert_eq!(meet(&mut world, 6, waiter, Meet::Wait([1; 16])), MeetingOutcome::Waiting);
    assert_eq!(world.members[2].node.metrics().meetings_waiting, 1);
    let now = world.now;
    world.node(6).close(now, waiter);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.members[2].node.metrics().meetings_waiting, 0);
    assert_eq!(meet(&mut world, 7, joiner, Meet::Join([1; 16])), MeetingOutcome::UnknownCookie);
}

#[test]
fn relays_that_take_no_meetings_say_so() {
    let mut world = World::new(&Plan {
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.allow_meeting = false;
                relay.allow_local = false;
            }
        },
        ..Plan::default()
    });
    let circuit = world.build(4, &[0, 1, 2]);
    assert_eq!(meet(&mut world, 4, circuit, Meet::Wait([1; 16])), MeetingOutcome::Refused);
    let now = world.now;
    world.node(4).send(now, circuit, b"no exit here").unwrap();
    world.run_for(Duration::from_secs(1));
    assert!(world.members[2].events.is_empty());
    assert_eq!(world.members[2].node.metrics().drops.not_served, 1);
}

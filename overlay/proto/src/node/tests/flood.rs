//! Set-up floods: the flooding link pays, memory and work stay bounded.

use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::world::{Plan, World};
use crate::node::Event;

#[test]
fn a_flood_of_setups_on_one_link_leaves_honest_builds_working() {
    let mut world = World::new(&Plan { origins: 2, delay: Duration::from_millis(5), ..Plan::default() });
    world.build(4, &[0, 1, 2]);
    world.build(5, &[0]);
    let mut rng = ChaCha12Rng::seed_from_u64(5);
    let mut sent = 0u64;
    for _ in 0..10 {
        let (now, path) = (world.now, world.path(&[0, 1, 2]));
        let circuit = world.node(4).build(now, &path).unwrap();
        let mut ready = false;
        for _ in 0..100 {
            // About ten times of what the budget allows: half of it junk, half of it real packets for nobody.
            for _ in 0..20 {
                let mut packet = [0; zmesh_sphinx::PACKET_LEN];
                rng.fill_bytes(&mut packet);
                packet[..32].copy_from_slice(&BASE_POINT);
                let now = world.now;
                world.node(5).send_setup(now, packet);
                sent += 1;
            }
            world.run_for(Duration::from_millis(1));
            let metrics = world.members[0].node.metrics();
            assert!(metrics.work.waiting <= 512);
            assert!(metrics.circuits.open <= 600);
            let events = world.members[4].events.drain(..);
            ready |= events.into_iter().any(|event| match event {
                Event::CircuitReady { circuit: id, .. } => id == circuit,
                Event::CircuitFailed { reason, .. } => panic!("{reason:?}"),
                _ => false,
            });
        }
        assert!(ready, "an honest build while another link floods");
    }
    let metrics = world.members[0].node.metrics();
    let elapsed = world.elapsed();
    assert!(metrics.work.cost <= elapsed / 4 + Duration::from_millis(60), "{:?} in {elapsed:?}", metrics.work.cost);
    assert!(metrics.circuits.refused_packet > 100, "{metrics:?}");
    assert!(sent > 10_000);
    world.run_for(Duration::from_secs(20));
    assert!(world.members[0].node.metrics().circuits.open <= 12);
}

/// The canonical encoding of the base point: a packet that begins with it costs a multiplication before it is refused.
pub(super) const BASE_POINT: [u8; 32] = [
    0xe2, 0xf2, 0xae, 0x0a, 0x6a, 0xbc, 0x4e, 0x71, 0xa8, 0x84, 0xa9, 0x61, 0xc5, 0x00, 0x51, 0x5f, 0x58, 0xe3, 0x0b,
    0x6a, 0xa5, 0x82, 0xdd, 0x8d, 0xb6, 0xa6, 0x59, 0x45, 0xe0, 0x8d, 0x2d, 0x76,
];

#[test]
fn circuits_of_one_link_are_bounded() {
    let mut world = World::new(&Plan {
        origins: 2,
        delay: Duration::from_millis(1),
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.max_circuits_per_stranger = 5;
            }
        },
        ..Plan::default()
    });
    for _ in 0..5 {
        world.build(4, &[0, 1]);
    }
    let (now, path) = (world.now, world.path(&[0, 1]));
    world.node(4).build(now, &path).unwrap();
    world.wait(4, Duration::from_secs(1), "refusal", |event| match event {
        Event::CircuitFailed { reason: crate::node::BuildFailure::Busy, .. } => Some(()),
        _ => None,
    });
    assert_eq!(world.members[0].node.metrics().circuits.refused_full, 1);
    world.build(5, &[0]);
}

#[test]
fn a_full_relay_takes_from_the_link_that_has_the_most() {
    let mut world = World::new(&Plan {
        origins: 2,
        delay: Duration::from_millis(1),
        tune: |_, config| {
            if let Some(relay) = &mut config.relay {
                relay.max_circuits = 6;
            }
        },
        ..Plan::default()
    });
    let greedy: Vec<_> = (0..6).map(|_| world.build(4, &[0])).collect();
    for circuit in &greedy[1..] {
        world.deliver(4, *circuit, 0, b"in use");
    }
    for _ in 0..3 {
        world.build(5, &[0]);
    }
    world.run_for(Duration::from_millis(100));
    let closed: Vec<_> = world.members[4]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::CircuitClosed { circuit, reason } => Some((*circuit, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(closed.len(), 3);
    assert_eq!(closed[0], (greedy[0], crate::node::CloseReason::Resources));
    let metrics = world.members[0].node.metrics();
    assert_eq!((metrics.circuits.open, metrics.circuits.evicted), (6, 3));
}

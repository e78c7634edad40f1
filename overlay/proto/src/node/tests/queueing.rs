//! A call beside a saturating download, at a relay whose rate is limited.

use std::time::{Duration, Instant};

use super::world::{Plan, World};
use crate::node::Event;

/// Waits of the sparse circuit's messages and the number of bulk messages that arrived.
fn call_beside_bulk(bulk: bool) -> (Vec<Duration>, usize, World) {
    let mut world = World::new(&Plan {
        origins: 2,
        delay: Duration::from_millis(5),
        tune: |index, config| {
            if index == 1 {
                config.link.rate_limit = Some(1_500_000);
            }
        },
        ..Plan::default()
    });
    let download = world.build(4, &[0, 1, 2]);
    let call = world.build(5, &[0, 1, 3]);
    let from_exit = world.deliver(4, download, 2, b"get");
    let other = world.deliver(5, call, 3, b"call");
    let mut waits = Vec::new();
    let mut arrived = 0;
    let mut sent: Vec<Instant> = Vec::new();
    for tick in 0..1500u32 {
        let now = world.now;
        if bulk {
            // Twice of what the relay may send.
            for _ in 0..6 {
                world.node(2).reply(now, from_exit, &[1; 1440]).unwrap();
            }
        }
        if tick % 10 == 0 {
            world.node(3).reply(now, other, &u32::try_from(sent.len()).unwrap().to_be_bytes()).unwrap();
            sent.push(now);
        }
        world.run_for(Duration::from_millis(2));
        arrived += world.members[4].events.drain(..).filter(|event| matches!(event, Event::Message { .. })).count();
        for event in world.members[5].events.drain(..) {
            if let Event::Message { message, .. } = event {
                let index = u32::from_be_bytes(message.try_into().unwrap()) as usize;
                waits.push(world.now - sent[index]);
            }
        }
    }
    waits.sort_unstable();
    (waits, arrived, world)
}

#[test]
fn a_call_stays_quick_beside_a_saturating_download() {
    let (idle, _, _) = call_beside_bulk(false);
    let (busy, bulk, world) = call_beside_bulk(true);
    assert_eq!(idle.len(), 150);
    assert!(busy.len() >= 145, "{} of 150", busy.len());
    let p99 = |waits: &[Duration]| waits[waits.len() * 99 / 100];
    let added = p99(&busy).saturating_sub(p99(&idle));
    assert!(added <= Duration::from_millis(5), "{added:?}");
    assert!(bulk > 1000, "{bulk}");
    let drops: u64 = (1..3)
        .map(|relay| {
            let drops = world.members[relay].node.metrics().drops;
            drops.codel + drops.circuit_bound + drops.link_bound + drops.node_bound
        })
        .sum();
    assert!(drops > 0, "the queue stands where it is seen");
}

#[test]
fn queues_are_bounded_in_the_node_and_give_memory_back() {
    let mut world = World::new(&Plan {
        relays: 2,
        tune: |_, config| {
            config.queue.node_bytes = 1 << 20;
            config.link.rate_limit = Some(200_000);
        },
        ..Plan::default()
    });
    let circuits: Vec<_> = (0..10).map(|_| world.build(2, &[0, 1])).collect();
    for _ in 0..200 {
        let now = world.now;
        for circuit in &circuits {
            world.node(2).send(now, *circuit, &[1; 1446]).unwrap();
        }
        let metrics = world.members[2].node.metrics();
        assert!(metrics.queue.cells * 528 <= 1 << 20);
        assert!(metrics.queue.memory <= 3 << 20, "{}", metrics.queue.memory);
    }
    assert!(world.members[2].node.metrics().drops.node_bound > 0);
    world.run_for(Duration::from_secs(40));
    let metrics = world.members[2].node.metrics();
    assert_eq!(metrics.queue.cells, 0);
    assert!(metrics.queue.memory < 100_000, "{}", metrics.queue.memory);
}

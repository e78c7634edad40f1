//! A call beside a saturating download, at a relay whose rate is limited.

use std::time::{Duration, Instant};

use super::world::{Plan, World};
use crate::node::Event;
use crate::wire::cell::{BODY_LEN, Cell};

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
    // It does not slow down, so at the end its circuit's queue is full: a megabyte of about two has not arrived.
    assert!(bulk > 400, "{bulk}");
    let drops: u64 = (1..3)
        .map(|relay| {
            let drops = world.members[relay].node.metrics().drops;
            drops.codel + drops.circuit_bound + drops.link_bound + drops.node_bound
        })
        .sum();
    assert!(drops > 0, "the queue stands where it is seen");
}

/// Messages of one link that arrive, of a hundred, while the queue of another never runs empty.
fn beside_a_backlog(rate: u64) -> usize {
    let mut world = World::new(&Plan { relays: 2, origins: 2, delay: Duration::from_millis(5), ..Plan::default() });
    let (start, narrow) = (world.now, world.node(0));
    narrow.set_rate_limit(start, Some(rate));
    let (download, call) = (world.build(2, &[0]), world.build(3, &[0]));
    let backlog = world.deliver(2, download, 0, b"get");
    let other = world.deliver(3, call, 0, b"call");
    let mut arrived = 0;
    for tick in 0..500 {
        let now = world.now;
        for _ in 0..rate / 30_000 {
            world.node(0).reply(now, backlog, &[1; 1440]).unwrap();
        }
        if tick % 5 == 0 {
            world.node(0).reply(now, other, b"a frame").unwrap();
        }
        world.run_for(Duration::from_millis(20));
        arrived += world.members[3].events.drain(..).filter(|event| matches!(event, Event::Message { .. })).count();
    }
    arrived
}

#[test]
fn links_take_turns_where_the_node_may_send_little() {
    for rate in [100_000, 150_000, 1_000_000] {
        let arrived = beside_a_backlog(rate);
        assert!(arrived >= 95, "{arrived} of 100 at {rate} bytes in a second");
    }
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

#[test]
fn links_that_cannot_send_do_not_hold_the_queues() {
    const SILENT: usize = 20;
    let mut world = World::new(&Plan {
        relays: 1 + SILENT,
        delay: Duration::from_millis(1),
        tune: |_, config| config.queue.node_bytes = 1000 * 528,
        ..Plan::default()
    });
    let origin = SILENT + 1;
    let circuit = world.build(origin, &[0]);
    let honest = world.deliver(origin, circuit, 0, b"hello");
    // Links that do not come up take cells and let none go, as those do whose peers answer probes and report nothing.
    let mut ends = Vec::new();
    for relay in 1..=SILENT {
        world.members[relay].dead = true;
        let (now, id) = (world.now, world.ids[relay]);
        let core = &mut world.node(0).core;
        let link = core.connect(now, &id).unwrap().unwrap();
        ends.push(core.neighbours.attach(link, 1).unwrap());
    }
    let fill = |world: &mut World| {
        let now = world.now;
        for _ in 0..100 {
            for end in &ends {
                world.node(0).core.push(now, *end, &Cell { circuit: 0, number: 0, body: [0; BODY_LEN] });
            }
        }
        world.run_for(Duration::from_millis(1));
        world.members[0].node.metrics().queue.cells
    };
    let held = fill(&mut world);
    assert!(held > 900, "{held}");
    world.run_for(Duration::from_millis(2500));

    // What is old goes before anything of a link that works.
    let now = world.now;
    for _ in 0..400 {
        world.node(0).reply(now, honest, &[0; 400]).unwrap();
    }
    assert!(world.members[0].node.metrics().queue.cells > 400);
    world.run_for(Duration::from_millis(300));
    let arrived = world.members[origin].events.len();
    assert!(arrived > 350, "{arrived} of 400");

    // What is pushed to silent links from now on takes the place of their own cells, beyond a quarter of the node's.
    let before = world.members[0].node.metrics().queue.cells;
    let held = fill(&mut world);
    assert!(held <= before.max(270), "{before} {held}");
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.members[0].node.metrics().queue.cells, 0);
}

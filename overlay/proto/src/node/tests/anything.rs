//! Any sequence of commands, losses and deaths: nothing panics, bounds hold, and in the end nothing is left.

use std::time::Duration;

use proptest::prelude::*;

use super::world::{Plan, World};
use crate::node::{CircuitId, Event, LocalId, Meet};

#[derive(Clone, Debug)]
enum Step {
    Build { origin: usize, path: Vec<usize> },
    Send { circuit: usize, len: usize, count: u8 },
    Reply { local: usize, len: usize },
    Ping { circuit: usize, hop: usize },
    Meet { circuit: usize, wait: bool, cookie: u8 },
    Close { circuit: usize },
    CloseLocal { local: usize },
    Loss(u32),
    Spoil,
    Restart(usize),
    Junk { to: usize, bytes: Vec<u8> },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let path = Just((0..5usize).collect::<Vec<_>>()).prop_shuffle();
    prop_oneof![
        4 => (5..7usize, path, 1..5usize).prop_map(|(origin, mut path, hops)| {
            path.truncate(hops);
            Step::Build { origin, path }
        }),
        6 => (0..9usize, 1..1447usize, 1..40u8).prop_map(|(circuit, len, count)| Step::Send { circuit, len, count }),
        4 => (0..9usize, 1..1447usize).prop_map(|(local, len)| Step::Reply { local, len }),
        2 => (0..9usize, 0..4usize).prop_map(|(circuit, hop)| Step::Ping { circuit, hop }),
        3 => (0..9usize, any::<bool>(), 0..2u8).prop_map(|(circuit, wait, cookie)| Step::Meet { circuit, wait, cookie }),
        2 => (0..9usize).prop_map(|circuit| Step::Close { circuit }),
        1 => (0..9usize).prop_map(|local| Step::CloseLocal { local }),
        1 => (0..20u32).prop_map(Step::Loss),
        1 => Just(Step::Spoil),
        1 => (0..5usize).prop_map(Step::Restart),
        1 => (0..7usize, prop::collection::vec(any::<u8>(), 0..1300)).prop_map(|(to, bytes)| Step::Junk { to, bytes }),
        8 => (1..400u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn nothing_breaks_and_nothing_is_left(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new(&Plan { relays: 5, origins: 2, seed, delay: Duration::from_millis(7), ..Plan::default() });
        let mut circuits: Vec<(usize, CircuitId)> = Vec::new();
        let mut locals: Vec<(usize, LocalId)> = Vec::new();
        for step in steps {
            take(&mut world, step, &mut circuits, &mut locals);
            for (index, member) in world.members.iter_mut().enumerate() {
                for event in member.events.drain(..) {
                    if let Event::LocalMessage { local, .. } = event {
                        locals.push((index, local));
                    }
                }
                let metrics = member.node.metrics();
                prop_assert!(metrics.queue.cells * 528 <= 16 << 20);
                prop_assert_eq!(metrics.work.running, 0);
            }
        }
        world.loss = 0;
        world.before_flush = None;
        for (origin, circuit) in circuits {
            let now = world.now;
            world.node(origin).close(now, circuit);
        }
        world.run_for(Duration::from_secs(90));
        prop_assert!(world.no_circuits());
    }
}

fn take(world: &mut World, step: Step, circuits: &mut Vec<(usize, CircuitId)>, locals: &mut [(usize, LocalId)]) {
    let now = world.now;
    let own = |at: usize| circuits.get(at % circuits.len().max(1)).copied();
    let local = |at: usize| locals.get(at % locals.len().max(1)).copied();
    // Whether a command succeeds depends on what happened before; here it must only not break anything.
    match step {
        Step::Build { origin, path } => {
            let path = world.path(&path);
            circuits.extend(world.node(origin).build(now, &path).ok().map(|circuit| (origin, circuit)));
        }
        Step::Send { circuit, len, count } => {
            if let Some((origin, circuit)) = own(circuit) {
                for _ in 0..count {
                    let _ = world.node(origin).send(now, circuit, &vec![1; len]);
                }
            }
        }
        Step::Reply { local: at, len } => {
            if let Some((relay, local)) = local(at) {
                let _ = world.node(relay).reply(now, local, &vec![2; len]);
            }
        }
        Step::Ping { circuit, hop } => {
            if let Some((origin, circuit)) = own(circuit) {
                let _ = world.node(origin).ping(now, circuit, hop);
            }
        }
        Step::Meet { circuit, wait, cookie } => {
            if let Some((origin, circuit)) = own(circuit) {
                let cookie = [cookie; 16];
                let role = if wait { Meet::Wait(cookie) } else { Meet::Join(cookie) };
                let _ = world.node(origin).meet(now, circuit, role);
            }
        }
        Step::Close { circuit } => {
            if let Some((origin, circuit)) = own(circuit) {
                world.node(origin).close(now, circuit);
            }
        }
        Step::CloseLocal { local: at } => {
            if let Some((relay, local)) = local(at) {
                world.node(relay).close_local(now, local);
            }
        }
        Step::Loss(percent) => world.loss = percent,
        Step::Spoil => {
            let mut left = 3;
            world.before_flush = Some(Box::new(move |_, node| {
                node.core.neighbours.waiting_cells(|cell| {
                    if left > 0 {
                        left -= 1;
                        cell.body[left * 100] ^= 4;
                    }
                });
            }));
        }
        Step::Restart(relay) => {
            let config = world.config(relay);
            world.members[relay] = world.member(config);
        }
        Step::Junk { to, mut bytes } => {
            let from = super::world::address(to);
            world.node(to).handle_datagram(now, from, &mut bytes);
        }
        Step::Wait(ms) => world.run_for(Duration::from_millis(ms)),
    }
}

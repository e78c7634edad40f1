//! Building, losing and repeating.

use std::time::{Duration, Instant};

use zmesh_proto::node::{CircuitId, Event, Node};
use zmesh_tests::sim::app::{Call, Echo, Reflector, Role};
use zmesh_tests::sim::node::{App, NodeHost};
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::{Tune, World};

use super::{in_ms, ms, no_app, reflecting, secs, world_with};

/// Notes every circuit that becomes ready.
#[derive(Default)]
struct Builds {
    ready: Vec<(CircuitId, Duration)>,
    failed: usize,
}

impl App for Builds {
    fn turn(&mut self, _: Instant, _: &mut Node) {}

    fn event(&mut self, _: Instant, _: &mut Node, event: Event) {
        match event {
            Event::CircuitReady { circuit, took } => self.ready.push((circuit, took)),
            Event::CircuitFailed { .. } => self.failed += 1,
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }
}

#[test]
fn three_hops_build_in_one_path_round_trip() {
    let mut world = world_with(1, 4, Path::delay(ms(50)), |_| no_app());
    let origin = world.add_origin(Builds::default());
    let path = world.path(&[0, 1, 2]);
    // The first circuit also brings the links up; the second shows what a circuit by itself takes.
    for _ in 0..2 {
        let now = world.sim.now();
        let host = world.sim.host::<NodeHost>(origin);
        host.command().build(now, &path).expect("a path of known relays");
        world.sim.poke(origin);
        world.run_for(secs(3));
    }
    let builds = world.app::<Builds>(origin);
    assert_eq!((builds.ready.len(), builds.failed), (2, 0));
    let (cold, warm) = (builds.ready[0].1, builds.ready[1].1);
    println!("3 hops, 50 ms links: {cold:?} with new links, {warm:?} over links that are up");
    // Three links there and three back, and the processor time of the public-key work.
    assert!((ms(300)..ms(305)).contains(&warm), "{warm:?}");
    // New links add one round trip for each of the three handshakes at most.
    assert!(cold <= ms(300 + 3 * 100 + 10), "{cold:?}");
}

#[test]
fn the_same_seed_replays_a_run() {
    let run = |seed: u64| {
        let path = Path::delay(ms(10)).jitter(ms(4)).loss(0.02);
        let mut world = reflecting(seed, 6, path);
        let epoch = world.sim.now();
        let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
        let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
        let echo = Echo::new(world.path(&[1, 3, 5]), ms(5), 1000, epoch);
        world.add_origin(callee);
        world.add_origin(caller);
        world.add_origin(echo);
        world.run_for(secs(5));
        world.sim.trace().clone()
    };
    let (first, again, other) = (run(11), run(11), run(12));
    assert!(first.datagrams() > 3_000, "{first:?}");
    assert_eq!(first.times(), again.times());
    assert_eq!(first.contents(), again.contents());
    assert_ne!(first.times(), other.times());
}

#[test]
fn a_relay_killed_in_a_call_is_noticed_in_five_seconds() {
    for victim in [0, 1, 2, 4] {
        let mut world = world_with(21, 6, Path::delay(ms(20)), |_| no_app());
        let epoch = world.sim.now();
        let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
        let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
        let callee = world.add_origin(callee);
        let caller = world.add_origin(caller);
        world.run_for(secs(5));
        assert!(
            world.app::<Call>(caller).report.joined.is_some(),
            "no call: {:?}",
            world.app::<Call>(caller).report.meeting
        );
        let killed = world.sim.now();
        world.sim.kill(world.relays[victim]);
        world.run_for(secs(8));
        for (side, host) in [("caller", caller), ("callee", callee)] {
            let (at, reason) = world
                .app::<Call>(host)
                .report
                .closed
                .unwrap_or_else(|| panic!("relay {victim} killed: the {side} hangs"));
            let took = at - killed;
            println!("relay {victim} killed: {side} knew after {took:?} ({reason})");
            assert!(took <= secs(5), "relay {victim}, {side}: {took:?}");
        }
    }
}

/// What a stream over a lossy link and one beside it see: answers to 1,000 questions of each, and their p99.
fn beside_a_lossy_link(repair: bool) -> [(usize, Duration); 2] {
    let tune: Tune = if repair { |_, _| {} } else { |_, config| config.link.repair = false };
    let mut world = World::new(31, 6, Path::delay(ms(10)), tune, |_| Box::<Reflector>::default());
    let epoch = world.sim.now();
    let lossy = Echo::new(world.path(&[0, 1, 2]), ms(20), 400, epoch);
    let clean = Echo::new(world.path(&[0, 3, 2]), ms(20), 400, epoch);
    let (lossy, clean) = (world.add_origin(lossy), world.add_origin(clean));
    world.run_for(secs(2));
    let (one, other) = (world.relays[0], world.relays[1]);
    world.sim.set_paths(one, other, Path::delay(ms(10)).loss(0.05));
    let from = world.sim.now();
    world.run_for(secs(20));
    let figures = [lossy, clean].map(|stream| {
        let trips = world.app::<Echo>(stream).round_trips(from);
        (trips.len(), trips.p99().expect("answers"))
    });
    let [(lossy, lossy_p99), (clean, clean_p99)] = figures;
    println!(
        "5 % loss on one link, repair {repair}: {lossy} of 1000 came back, p99 {:.2} ms; beside it {clean}, p99 {:.2} ms",
        in_ms(Some(lossy_p99)),
        in_ms(Some(clean_p99))
    );
    figures
}

/// Without repair: what is lost on a link is lost, and nothing else waits for it.
#[test]
fn loss_on_one_link_holds_nothing_up() {
    let [(lossy, lossy_p99), (clean, clean_p99)] = beside_a_lossy_link(false);
    // Lost there or back: 1 − 0.95².
    assert!((860..=940).contains(&lossy), "{lossy}");
    assert!(clean >= 995, "{clean}");
    // What is not lost is not late.
    assert!(lossy_p99 <= clean_p99 + ms(1));
}

/// With it: what is lost is mended within a cell's time each way, and the stream beside it pays nothing.
#[test]
fn loss_on_one_link_is_mended_there() {
    let [(lossy, lossy_p99), (clean, clean_p99)] = beside_a_lossy_link(true);
    assert!(lossy >= 985, "{lossy}");
    assert!(lossy_p99 <= clean_p99 + ms(40), "{lossy_p99:?}");
    let [_, (alone, alone_p99)] = beside_a_lossy_link(false);
    assert!(clean >= alone && clean_p99 <= alone_p99 + ms(1), "{clean_p99:?} {alone_p99:?}");
}

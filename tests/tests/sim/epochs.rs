//! Documents follow each other under what runs: circuits and calls live on, relays come and go.

use std::time::Instant;

use zmesh_proto::node::BuildError;
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{Echo, LegCall, LegPaths, Reflector};
use zmesh_tests::sim::node::{NoApp, NodeHost};
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::{Knowledge, World};
use zmesh_voice::call::Role;
use zmesh_voice::legs::{LegEvent, Mode};

use super::{ms, reflecting, secs};

/// As long as in a network of `zmesh testnet`, in seconds.
const EPOCH: u32 = 12;
/// Relays for two legs of both sides.
const RELAYS: usize = 10;

fn world(knowledge: Knowledge, seed: u64) -> World {
    World::knowing(knowledge, seed, RELAYS, Path::delay(ms(10)), |_, _| {}, |_| Box::<Reflector>::default())
}

/// The two sides of a call; leg k takes the five relays from 5 k on, the third of which is where they meet.
fn call(world: &mut World) -> [HostId; 2] {
    let paths = |numbers: [usize; 2]| LegPaths {
        own: (0..2).map(|leg| world.path(&numbers.map(|at| leg * 5 + at))).collect(),
        meeting: (0..2).map(|leg| world.id(leg * 5 + 2)).collect(),
    };
    let (caller, answerer) = (paths([0, 1]), paths([4, 3]));
    let answerer = world.add_origin(LegCall::new(Role::Answerer, Mode::Standby, answerer));
    [world.add_origin(LegCall::new(Role::Caller, Mode::Standby, caller)), answerer]
}

fn echo(world: &mut World, path: &[usize]) -> HostId {
    let epoch: Instant = world.sim.now();
    let path = world.path(path);
    world.add_origin(Echo::new(path, ms(20), 200, epoch))
}

/// That none of what was sent is missing but what is still under way, and nothing ended.
fn is_whole(world: &mut World, stream: HostId) {
    let echo = world.app::<Echo>(stream);
    assert_eq!((echo.failed, echo.closed), (None, None));
    let (sent, back) = (echo.sent, echo.received.len() as u64);
    assert!(back + 5 >= sent && back > 100, "{back} of {sent}");
}

#[test]
fn a_call_and_a_circuit_live_on_over_epochs() {
    let mut world = world(Knowledge::Agreed(EPOCH), 41);
    let sides = call(&mut world);
    let stream = echo(&mut world, &[5, 8, 7]);
    world.run_for(secs(4));
    let nodes: Vec<HostId> = world.relays.iter().copied().chain(sides).chain([stream]).collect();
    assert!(nodes.iter().all(|node| world.epoch_of(*node) == Some(1)));
    let from = world.sim.now();
    world.run_for(secs(56));
    // A minute is five epochs. A client has the document of the one before until a moment of its own.
    for node in nodes {
        let epoch = world.epoch_of(node).expect("agreed");
        assert!((5..=7).contains(&epoch), "{node:?}: {epoch}");
    }
    assert!(world.network().epoch() >= Some(6));
    is_whole(&mut world, stream);
    let until = world.sim.now();
    for side in sides {
        let report = &world.app::<LegCall>(side).report;
        assert!(report.joined.is_some() && report.ended.is_none());
        assert_eq!(report.lost(), [0; 0]);
        assert!(report.longest_silence(from, until) <= ms(60), "{:?}", report.longest_silence(from, until));
        assert!(!report.events.iter().any(|(_, event)| matches!(event, LegEvent::Moved { .. })), "{:?}", report.events);
    }
}

#[test]
fn a_relay_that_leaves_the_document_carries_on_and_one_that_joins_carries() {
    let mut world = world(Knowledge::Agreed(EPOCH), 42);
    let stream = echo(&mut world, &[5, 6, 7]);
    world.run_for(secs(1));
    let (gone, fresh) = (world.id(6), world.add_relay(Box::<Reflector>::default()));
    world.lose_sight_of(6);
    let other = world.add_origin(NoApp);
    let build = |world: &mut World, path: &[usize]| {
        let (path, now) = (world.path(path), world.sim.now());
        world.sim.host::<NodeHost>(other).command().build(now, &path).map(drop)
    };
    assert_eq!(build(&mut world, &[5, fresh, 7]), Err(BuildError::UnknownRelay(1)), "no document says so yet");
    assert_eq!(build(&mut world, &[5, 6, 7]), Ok(()));
    // The next document comes half an epoch from now; clients have it before the epoch after that.
    world.run_for(secs(2 * u64::from(EPOCH)));
    assert!(world.network().relay(&gone).is_none() && world.network().relay(&world.id(fresh)).is_some());
    assert_eq!(build(&mut world, &[5, 6, 7]), Err(BuildError::UnknownRelay(1)), "it is in no document");
    // What went through it before goes on, and the newcomer carries as others do.
    let late = echo(&mut world, &[5, fresh, 7]);
    world.run_for(secs(20));
    is_whole(&mut world, stream);
    is_whole(&mut world, late);
}

#[test]
fn epochs_replay_from_a_seed_too() {
    let run = |seed| {
        let mut world = world(Knowledge::Agreed(EPOCH), seed);
        let stream = echo(&mut world, &[0, 1, 2]);
        world.run_for(secs(20));
        let epochs = (world.network().epoch(), world.epoch_of(stream));
        (world.sim.trace().times(), world.sim.trace().contents(), world.network().header_hash(), epochs)
    };
    let (first, again, other) = (run(43), run(43), run(44));
    assert_eq!(first, again);
    assert_ne!(first.2, other.2);
}

#[test]
fn worlds_agree_on_what_nodes_know_and_a_network_file_does_as_well() {
    let mut agreed = reflecting(45, RELAYS, Path::delay(ms(10)));
    assert_eq!(agreed.network().epoch(), Some(1));
    assert_eq!(agreed.network().signers().len(), 4);
    let mut offline = world(Knowledge::Offline, 45);
    assert_eq!((offline.network().epoch(), offline.network().relays().len()), (None, RELAYS));
    for world in [&mut agreed, &mut offline] {
        let sides = call(world);
        let stream = echo(world, &[0, 1, 2]);
        world.run_for(secs(6));
        is_whole(world, stream);
        assert!(sides.iter().all(|side| world.app::<LegCall>(*side).report.joined.is_some()));
    }
}

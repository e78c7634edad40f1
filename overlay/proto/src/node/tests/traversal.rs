//! Nodes that cannot link to each other directly, and those that help them.

use std::time::Duration;

use super::world::{Plan, World, address};
use crate::link::route;
use crate::nat::punch::Method;
use crate::nat::{NatConfig, Reachability, WayKind};
use crate::node::NodeConfig;

const RELAYS: usize = 12;
const ORIGIN: usize = RELAYS;
/// The relay that is hard to reach.
const HOME: usize = 1;

fn tune(index: usize, config: &mut NodeConfig) {
    config.nat = Some(NatConfig { keep_introducers: index < RELAYS, ..NatConfig::default() });
}

fn world() -> World {
    World::new(&Plan { relays: RELAYS, origins: 1, tune, ..Plan::default() })
}

#[test]
fn a_relay_that_no_datagram_reaches_directly_is_reached_through_another() {
    let mut world = world();
    world.cut.insert((HOME, ORIGIN));
    world.run_for(Duration::from_secs(3));
    let circuit = world.build(ORIGIN, &[HOME, 2]);
    let way = world.members[ORIGIN].node.way_to(&world.ids[HOME]).expect("a link");
    assert_eq!((way.kind, way.direct_after), (WayKind::Relayed, None));
    let local = world.deliver(ORIGIN, circuit, 2, &[7; 1000]);
    world.deliver_back(2, local, ORIGIN, &[8; 1000]);
    // It stays, as any other link: keys are renewed and silence is noticed by the same rules.
    world.run_for(Duration::from_secs(400));
    world.deliver(ORIGIN, circuit, 2, &[9; 100]);
}

#[test]
fn a_relay_behind_a_strict_translator_is_reached_directly_after_probes() {
    let mut world = world();
    world.closed.insert(HOME);
    world.closed.insert(ORIGIN);
    world.run_for(Duration::from_secs(3));
    let circuit = world.build(ORIGIN, &[HOME, 2]);
    world.run_until(Duration::from_secs(3), "a direct way", |world| {
        let way = world.members[ORIGIN].node.way_to(&world.ids[HOME]).expect("a link");
        way.direct_after.is_some()
    });
    let way = world.members[ORIGIN].node.way_to(&world.ids[HOME]).expect("a link");
    assert!(way.up_after.expect("up") < Duration::from_secs(1), "{way:?}");
    assert!(matches!(way.kind, WayKind::Punched(Method::Named(_)) | WayKind::Advertised), "{way:?}");
    // The circuit that was built through another node goes on over the direct way.
    world.cut.extend((0..RELAYS).filter(|relay| *relay != HOME).map(|relay| (relay, ORIGIN)));
    world.deliver(ORIGIN, circuit, 2, &[7; 1000]);
}

#[test]
fn a_relay_says_within_ten_seconds_whether_it_can_be_reached() {
    let mut world = world();
    world.closed.insert(HOME);
    let own = |index| vec![address(index)];
    for index in 0..RELAYS {
        world.node(index).set_local_addresses(own(index));
    }
    world.run_for(Duration::from_secs(10));
    let at = |index: usize| world.members[index].node.nat_report().reachability;
    assert_eq!(at(HOME), Reachability::Closed { address: address(HOME), port: address(HOME).port() });
    let open = (2..RELAYS).filter(|index| matches!(at(*index), Reachability::Open { confirmed_by: 2.., .. })).count();
    assert_eq!(open, RELAYS - 2);
}

#[test]
fn the_relay_between_forgets_a_flow_with_its_link() {
    let mut world = world();
    world.cut.insert((HOME, ORIGIN));
    world.run_for(Duration::from_secs(3));
    world.build(ORIGIN, &[HOME]);
    let link = world.members[ORIGIN].node.guard_link_address(&world.ids[HOME]);
    assert!(link.is_some_and(route::is_relayed), "{link:?}");
    // Whoever passes it on goes down: the link ends, and the next one goes through somebody else.
    let carriers: Vec<usize> = (0..RELAYS).filter(|relay| world.members[*relay].node.flows_passed_on() > 0).collect();
    assert_eq!(carriers.len(), 1);
    world.members[carriers[0]].dead = true;
    world.run_for(Duration::from_secs(40));
    world.build(ORIGIN, &[HOME]);
    let carriers: Vec<usize> = carriers.into_iter().filter(|relay| !world.members[*relay].dead).collect();
    assert!(carriers.is_empty());
    assert!((0..RELAYS).any(|relay| !world.members[relay].dead && world.members[relay].node.flows_passed_on() > 0));
}

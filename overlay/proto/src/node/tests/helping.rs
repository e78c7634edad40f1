//! What a node does for others that want to reach somebody, when they want too much or something else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;

use super::world::{Plan, World, address, network};
use crate::link::LinkId;
use crate::nat::{COMPUTED, NatConfig, ROUTE_IDLE, ROUTES_OF_LINK, WayKind};
use crate::node::NodeConfig;
use crate::wire::frame::signal::{Signal, SignalKind};

const RELAYS: usize = 12;
const ORIGIN: usize = RELAYS;
/// The relay that is asked for.
const HOME: usize = 1;
/// The relay between, hostile where one is needed.
const BETWEEN: usize = 0;

fn keeping(index: usize, config: &mut NodeConfig) {
    config.nat = Some(NatConfig { keep_introducers: index < RELAYS, ..NatConfig::default() });
}

/// Relays that open no links by themselves.
fn quiet(_: usize, config: &mut NodeConfig) {
    config.nat = Some(NatConfig { keep_introducers: false, ..NatConfig::default() });
}

fn world(tune: fn(usize, &mut NodeConfig)) -> World {
    World::new(&Plan { relays: RELAYS, origins: 1, tune, ..Plan::default() })
}

/// Has `from` open a link to the relay `to`; the link at either end.
fn link(world: &mut World, from: usize, to: usize) -> (LinkId, LinkId) {
    let (now, id) = (world.now, world.ids[to]);
    world.node(from).open_link(now, &id).expect("a relay of the document");
    let at = |world: &World, here: usize, there: usize| {
        let links = &world.members[here].node.core.links;
        links
            .peers()
            .map(|(link, _)| link)
            .find(|link| links.is_up(*link) && links.address(*link) == Some(address(there)))
    };
    world.run_until(Duration::from_secs(5), "a link", |world| {
        at(world, from, to).is_some() && at(world, to, from).is_some()
    });
    (at(world, from, to).expect("up"), at(world, to, from).expect("up"))
}

/// A node gets a signal over a link.
fn tell(world: &mut World, node: usize, link: LinkId, signal: &Signal) {
    let now = world.now;
    world.node(node).handle_signal(now, link, &signal.to_bytes());
}

fn offered(number: u32, from: [u8; 4]) -> Signal {
    let mut ticket = [7; 16];
    ticket[..4].copy_from_slice(&number.to_be_bytes());
    Signal { address: Some((from, 9).into()), ..Signal::new(SignalKind::Offered, ticket, number) }
}

fn routes(world: &World, node: usize) -> usize {
    world.members[node].node.nat.as_ref().expect("it traverses").routes()
}

fn answered(world: &World, node: usize) -> Vec<Option<SocketAddr>> {
    world.members[node].node.nat.as_ref().expect("it traverses").answered_at()
}

#[test]
fn answers_that_nobody_waits_for_begin_no_flow() {
    let mut world = world(quiet);
    let (link, _) = link(&mut world, ORIGIN, BETWEEN);
    for number in 1..=256u32 {
        let mut peer = [0; 16];
        peer[..4].copy_from_slice(&(number * 7919).to_be_bytes());
        tell(&mut world, ORIGIN, link, &Signal::new(SignalKind::Answered, peer, number));
    }
    assert_eq!(routes(&world, ORIGIN), 0);
}

#[test]
fn offers_of_one_relay_between_take_their_share_and_no_more() {
    let mut world = world(quiet);
    let (_, link) = link(&mut world, BETWEEN, HOME);
    for second in 0..10u8 {
        for number in 1..=100 {
            // Each from somewhere else.
            let from = [5, second, 0, u8::try_from(number).expect("small")];
            tell(&mut world, HOME, link, &offered(u32::from(second) << 16 | number, from));
        }
        assert!(answered(&world, HOME).len() <= 8, "{} attempts", answered(&world, HOME).len());
        assert!(routes(&world, HOME) <= ROUTES_OF_LINK);
        // The work shows that the bodies are nonsense: the attempts end, and with them their flows.
        world.run_for(Duration::from_secs(1));
        assert_eq!((answered(&world, HOME).len(), routes(&world, HOME)), (0, 0));
    }
}

#[test]
fn one_address_does_not_push_others_out() {
    let mut world = world(quiet);
    let (_, link) = link(&mut world, BETWEEN, HOME);
    let (quiet, busy) = ([5, 0, 0, 1], [5, 0, 0, 2]);
    tell(&mut world, HOME, link, &offered(1, quiet));
    for number in 2..9 {
        tell(&mut world, HOME, link, &offered(number, busy));
    }
    let seen =
        |world: &World, ip: [u8; 4]| answered(world, HOME).iter().filter(|at| **at == Some((ip, 9).into())).count();
    assert_eq!((seen(&world, quiet), seen(&world, busy)), (1, 4));
    // Also when all places are taken, whoever shows the most of them gives way.
    world.now += Duration::from_secs(2);
    for (number, from) in (10..).zip([[5, 0, 0, 3], [5, 0, 0, 3], [5, 0, 0, 3], [5, 0, 0, 4], [5, 0, 0, 5]]) {
        tell(&mut world, HOME, link, &offered(number, from));
    }
    assert_eq!((seen(&world, quiet), answered(&world, HOME).len()), (1, 8));
}

#[test]
fn a_flow_that_is_not_needed_ends_everywhere() {
    let mut world = world(keeping);
    world.closed.extend([HOME, ORIGIN]);
    world.run_for(Duration::from_secs(3));
    world.build(ORIGIN, &[HOME, 2]);
    assert_eq!((routes(&world, ORIGIN), routes(&world, HOME)), (1, 1));
    world.run_until(Duration::from_secs(3), "a direct way", |world| {
        world.members[ORIGIN].node.way_to(&world.ids[HOME]).is_some_and(|way| way.direct_after.is_some())
    });
    // The attempts end after ten seconds, and no link goes by the flow.
    world.run_for(Duration::from_secs(11));
    assert_eq!((routes(&world, ORIGIN), routes(&world, HOME)), (0, 0));
    world.run_for(ROUTE_IDLE * 2);
    assert!((0..RELAYS).all(|relay| world.members[relay].node.flows_passed_on() == 0));
}

#[test]
fn a_flow_that_a_link_goes_by_stays_and_ends_with_the_link() {
    let mut world = world(keeping);
    world.cut.insert((HOME, ORIGIN));
    world.run_for(Duration::from_secs(3));
    world.build(ORIGIN, &[HOME, 2]);
    world.run_for(ROUTE_IDLE * 3);
    assert_eq!((routes(&world, ORIGIN), routes(&world, HOME)), (1, 1));
    assert_eq!(world.members[ORIGIN].node.way_to(&world.ids[HOME]).map(|way| way.kind), Some(WayKind::Relayed));
    // The origin goes away without a word.
    world.members[ORIGIN].dead = true;
    world.run_for(ROUTE_IDLE * 3);
    assert_eq!(routes(&world, HOME), 0);
}

#[test]
fn strangers_do_not_have_a_relay_open_links_to_all() {
    let mut world = world(quiet);
    let (_, asker) = link(&mut world, ORIGIN, BETWEEN);
    let links = |world: &World| world.members[BETWEEN].node.core.links.peers().count();
    let ask = |world: &mut World| {
        for relay in 1..RELAYS {
            let offer = Signal::new(SignalKind::Offer, world.ids[relay].0, u32::try_from(relay).expect("small"));
            tell(world, BETWEEN, asker, &offer);
        }
    };
    ask(&mut world);
    assert_eq!(links(&world), 2, "one for all strangers");
    // Later it opens another one; the link to the first is there.
    world.run_for(Duration::from_secs(3));
    ask(&mut world);
    assert_eq!(links(&world), 3, "and one more then");
    let (_, relay) = link(&mut world, 9, BETWEEN);
    let before = links(&world);
    for wanted in [5, 6, 7] {
        let offer = Signal::new(SignalKind::Offer, world.ids[wanted].0, 1);
        tell(&mut world, BETWEEN, relay, &offer);
    }
    assert_eq!(links(&world), before + 3, "relays of the document have their own rate");
}

#[test]
fn a_relay_probes_public_addresses_only() {
    let mut world = world(quiet);
    let (_, from) = link(&mut world, 2, BETWEEN);
    let public = |index: usize| SocketAddr::from(([5, 44, 0, u8::try_from(index + 1).expect("small")], 4000));
    let document = network(&world.keys, &mut ChaCha12Rng::seed_from_u64(9), false, public);
    world.node(BETWEEN).set_network(Arc::new(document));
    for (to, allowed) in [
        ("127.0.0.1:53", false),
        ("192.168.1.1:53", false),
        ("10.0.0.1:53", false),
        ("169.254.169.254:80", false),
        ("224.0.0.251:5353", false),
        ("[fe80::1]:53", false),
        ("[fd00::1]:53", false),
        ("5.45.0.1:53", true),
    ] {
        let to: SocketAddr = to.parse().expect("an address");
        let signal = Signal { address: Some(to), ..Signal::new(SignalKind::Probe, world.ids[2].0, 0) };
        tell(&mut world, BETWEEN, from, &signal);
        let now = world.now;
        let node = world.node(BETWEEN);
        node.flush(now);
        assert_eq!(node.transmits().any(|transmit| transmit.to == to), allowed, "{to}");
        node.clear_transmits();
    }
}

#[test]
fn introducers_are_looked_for_once_in_an_attempt() {
    let mut world = world(quiet);
    (0..RELAYS).for_each(|relay| world.members[relay].dead = true);
    let (now, home) = (world.now, world.ids[HOME]);
    let before = COMPUTED.get();
    world.node(ORIGIN).open_link(now, &home).expect("a relay of the document");
    // Four seconds of looking for one that is linked, each 20 ms.
    world.run_for(Duration::from_secs(5));
    let computed = COMPUTED.get() - before;
    assert!((1..=2).contains(&computed), "{computed} times");
}

#[test]
fn how_it_is_seen_is_looked_at_when_that_is_due() {
    let mut world = world(keeping);
    world.run_for(Duration::from_secs(20));
    let now = world.now;
    let node = world.node(BETWEEN);
    let nat = node.nat.as_mut().expect("it traverses");
    let before = nat.looks;
    assert!(before > 0);
    for _ in 0..1000 {
        nat.handle_timeout(&mut node.core, now);
    }
    assert!(nat.looks <= before + 1, "{} times", nat.looks - before);
}

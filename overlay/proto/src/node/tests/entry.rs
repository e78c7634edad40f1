//! A relay's descriptor over a link: with loss, by liars, and asked for in floods.

use std::time::Duration;

use super::world::{Plan, UNIX, World, address};
use crate::link::LinkPeer;
use crate::node::{DescriptorFailure, Event, FetchError, FetchId};
use crate::wire::datagram::L_LEN;
use crate::wire::descriptor::Descriptor;
use crate::wire::frame::{DocParts, Frame};

/// A world whose origin knows no network; relay 0 gives its descriptor.
fn world(loss: u32) -> (World, LinkPeer, Descriptor) {
    let mut world = World::new(&Plan::default());
    world.loss = loss;
    let descriptor = world.network.relay(&world.ids[0]).unwrap().descriptor().clone();
    world.node(0).set_descriptor(&descriptor);
    let config = world.config(4);
    world.members[4].node = crate::node::Node::new(config, world.now);
    let peer =
        LinkPeer { identity: descriptor.identity(), link_key: descriptor.link_key(), addresses: vec![address(0)] };
    (world, peer, descriptor)
}

fn begin(world: &mut World, peer: &LinkPeer) -> FetchId {
    let now = world.now;
    world.node(4).fetch_descriptor(now, peer).unwrap()
}

fn outcome(world: &mut World, wanted: FetchId) -> Result<Vec<u8>, DescriptorFailure> {
    world.wait(4, Duration::from_secs(30), "an end of the fetch", |event| match event {
        Event::Descriptor { fetch, descriptor } if *fetch == wanted => Some(Ok(descriptor.clone())),
        Event::DescriptorFailed { fetch, reason } if *fetch == wanted => Some(Err(*reason)),
        _ => None,
    })
}

#[test]
fn an_origin_that_knows_no_network_gets_a_relays_descriptor() {
    let (mut world, peer, descriptor) = world(0);
    let fetch = begin(&mut world, &peer);
    let got = outcome(&mut world, fetch).unwrap();
    assert_eq!(Descriptor::decode(&got).unwrap(), descriptor);
    assert!(got.len() > 1_024, "more than one part");
    // Over the link that is there it takes the two rounds and no handshake.
    let began = world.now;
    let fetch = begin(&mut world, &peer);
    outcome(&mut world, fetch).unwrap();
    assert!(world.now - began <= 4 * world.delay + Duration::from_millis(1), "{:?}", world.now - began);
    let given = world.members[0].node.metrics().descriptors;
    assert_eq!((given.parts_given, given.parts_refused), (2 * got.len().div_ceil(1_024) as u64, 0));
}

#[test]
fn lost_parts_are_asked_for_again() {
    for seed in 0..5 {
        let (mut world, peer, descriptor) = world(30);
        world.run_for(Duration::from_millis(seed));
        let fetch = begin(&mut world, &peer);
        assert_eq!(outcome(&mut world, fetch).as_deref(), Ok(descriptor.as_bytes()));
    }
}

#[test]
fn a_relay_without_one_says_so_and_one_that_is_not_there_says_nothing() {
    let (mut world, peer, _) = world(0);
    world.node(0).giver_mut().clear();
    let fetch = begin(&mut world, &peer);
    assert_eq!(outcome(&mut world, fetch), Err(DescriptorFailure::None));
    let nobody = LinkPeer { addresses: vec![address(99)], identity: [9; 32], ..peer };
    let fetch = begin(&mut world, &nobody);
    assert_eq!(outcome(&mut world, fetch), Err(DescriptorFailure::Unreachable));
    assert!(world.node(4).next_timeout().is_none_or(|at| at > world.now), "nothing is left to do");
}

#[test]
fn a_relay_that_stops_answering_is_given_up() {
    let (mut world, peer, _) = world(0);
    let fetch = begin(&mut world, &peer);
    outcome(&mut world, fetch).unwrap();
    let fetch = begin(&mut world, &peer);
    world.members[0].dead = true;
    let end = outcome(&mut world, fetch);
    assert!(matches!(end, Err(DescriptorFailure::NoAnswer | DescriptorFailure::Unreachable)), "{end:?}");
}

#[test]
fn parts_of_two_descriptors_never_mix() {
    let (mut world, peer, first) = world(0);
    let keys = &world.keys[0];
    let terms = crate::wire::descriptor::Terms { revision: UNIX + 1, ..first.terms() };
    let second = Descriptor::create(keys, first.info(), terms).unwrap();
    assert_eq!(first.as_bytes().len(), second.as_bytes().len());
    let fetch = begin(&mut world, &peer);
    // It changes after the first part has left.
    world.run_until(Duration::from_secs(1), "the first part", |world| {
        world.members[0].node.metrics().descriptors.parts_given == 1
    });
    world.node(0).set_descriptor(&second);
    assert_eq!(outcome(&mut world, fetch).as_deref(), Ok(second.as_bytes()));
}

#[test]
fn a_relay_that_changes_its_mind_for_ever_is_given_up() {
    let (mut world, peer, first) = world(0);
    let fetch = begin(&mut world, &peer);
    let end = world.now + Duration::from_secs(20);
    let mut tag = 0;
    let mut failed = None;
    let mut given = 0;
    while world.now < end && failed.is_none() {
        // Another one after each part that leaves, so that no two parts belong together.
        let now_given = world.node(0).metrics().descriptors.parts_given;
        if now_given != given {
            given = now_given;
            tag += 1;
            world.node(0).giver_mut().set_parts(DocParts::cut(first.as_bytes(), tag));
        }
        world.run_for(Duration::from_millis(1));
        failed = world.members[4].events.drain(..).find_map(|event| match event {
            Event::DescriptorFailed { fetch: id, reason } if id == fetch => Some(reason),
            _ => None,
        });
    }
    assert_eq!(failed, Some(DescriptorFailure::Unreadable));
}

#[test]
fn a_flood_of_requests_is_answered_within_bounds_and_never_amplified() {
    let (mut world, peer, _) = world(0);
    let fetch = begin(&mut world, &peer);
    outcome(&mut world, fetch).unwrap();
    world.lengths.clear();
    let mut asked = 0u64;
    for _ in 0..2_000 {
        let now = world.now;
        let core = &mut world.node(4).core;
        let link = core.links.connect(now, &peer).unwrap();
        asked += u64::from(core.links.send_document(now, link, &Frame::DocGet { part: 0 }));
        world.run_for(Duration::from_millis(2));
    }
    let metrics = world.members[0].node.metrics().descriptors;
    assert!(asked > 500, "{asked}");
    assert!(metrics.parts_given <= 24 + 5, "{metrics:?}");
    assert!(metrics.parts_refused >= asked - 40, "{metrics:?}");
    assert!(world.members[4].node.metrics().descriptors.parts_unasked > 0);
    assert!(world.lengths[&L_LEN] >= asked);
    // Another peer is served as ever.
    let other = world.config(5);
    let other = world.member(other);
    world.members.push(other);
    let now = world.now;
    let fetch = world.members[5].node.fetch_descriptor(now, &peer).unwrap();
    world.wait(5, Duration::from_secs(5), "a descriptor", |event| match event {
        Event::Descriptor { fetch: id, .. } if *id == fetch => Some(()),
        _ => None,
    });
}

#[test]
fn what_nobody_asked_for_and_asking_an_origin_change_nothing() {
    let (mut world, peer, descriptor) = world(0);
    let fetch = begin(&mut world, &peer);
    outcome(&mut world, fetch).unwrap();
    let now = world.now;
    let parts = DocParts::cut(descriptor.as_bytes(), 1);
    let link = world.node(0).giver_mut().any_link();
    let core = &mut world.node(0).core;
    assert!(core.links.send_document(now, link, &Frame::DocPart(parts.part(1).unwrap())));
    assert!(core.links.send_document(now, link, &Frame::DocGet { part: 0 }));
    world.run_for(Duration::from_secs(1));
    let metrics = world.members[4].node.metrics().descriptors;
    assert_eq!((metrics.parts_unasked, metrics.parts_refused, metrics.parts_given), (1, 1, 0));
}

#[test]
fn only_a_few_fetches_go_on_at_once() {
    let (mut world, peer, _) = world(0);
    let fetches: Vec<_> = (0..8).map(|_| begin(&mut world, &peer)).collect();
    let now = world.now;
    assert_eq!(world.node(4).fetch_descriptor(now, &peer), Err(FetchError::TooMany));
    for fetch in fetches {
        // The others' events come too.
        let ended = world.members[4]
            .events
            .iter()
            .any(|event| matches!(event, Event::Descriptor { fetch: id, .. } if *id == fetch));
        if !ended {
            world.run_for(Duration::from_secs(3));
        }
    }
    let ended = world.members[4].events.iter().filter(|event| matches!(event, Event::Descriptor { .. })).count();
    assert_eq!(ended, 8);
    begin(&mut world, &peer);
}

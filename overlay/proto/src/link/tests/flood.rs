//! Floods by authentic peers: places for links, half-open handshakes, reports that never come.

use std::net::SocketAddr;
use std::time::Duration;

use super::network::{self, peer_of, relay_config, seeded};
use super::*;

/// Gives an origin a datagram, or has it begin; returns what it sends.
fn step(origin: &mut Links, net: &Net, input: Option<&[u8]>) -> Vec<Vec<u8>> {
    match input {
        None => drop(origin.connect(net.now, &Net::peer_b()).expect("room")),
        Some(datagram) => {
            origin.handle_datagram(net.now, network::address(2), &mut datagram.to_vec(), &mut Vec::new());
        }
    }
    while let Some(job) = origin.poll_job() {
        origin.handle_job(net.now, job.run());
    }
    origin.finish_batch(net.now);
    let out = origin.transmits().flat_map(|run| run.data.chunks(run.segment).map(<[u8]>::to_vec)).collect();
    origin.clear_transmits();
    out
}

/// Gives B a datagram; returns what it sends there.
fn to_b(net: &mut Net, from: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
    net.deliver(Side::B, from, &mut datagram.to_vec());
    while let Some(job) = net.b.links.poll_job() {
        net.b.links.handle_job(net.now, job.run());
    }
    net.b.links.finish_batch(net.now);
    let to = |run: &Transmit<'_>| run.to == from;
    let out = net.b.links.transmits().filter(to).flat_map(|run| run.data.chunks(run.segment).map(<[u8]>::to_vec));
    let out = out.collect();
    net.b.links.clear_transmits();
    while let Some(event) = net.b.links.poll_event() {
        net.b.events.push(event);
    }
    out
}

/// A node at `from` that completes a link to B, or is refused.
fn squat(net: &mut Net, config: LinkConfig, seed: u8, from: SocketAddr) -> bool {
    let before = net.b.links.len();
    let mut origin = Links::new(config, seeded(seed), net.now, network::UNIX);
    let init = step(&mut origin, net, None).remove(0);
    if let Some(response) = to_b(net, from, &init).first() {
        let ping = step(&mut origin, net, Some(response)).remove(0);
        to_b(net, from, &ping);
    }
    net.b.links.len() > before
}

fn anonymous() -> LinkConfig {
    LinkConfig::new(LocalIdentity::Anonymous)
}

fn crowded(max_links: usize) -> Net {
    let mut config = relay_config(2);
    config.max_links = max_links;
    let mut net = Net::new(relay_config(1), config);
    net.keep_log = false;
    net
}

fn other_relay() -> LinkPeer {
    peer_of(&relay_config(9), network::address(9))
}

#[test]
fn one_address_gets_its_share_of_the_links_and_no_more() {
    let mut net = crowded(64);
    let taken = (0..64).filter(|n| squat(&mut net, anonymous(), *n, ([203, 0, 113, 5], 1000 + u16::from(*n)).into()));
    assert_eq!(taken.count(), 32);
    // A /64 gets as many, a /48 four times that.
    let mut net = crowded(4096);
    let from = |site: u16, host: u16| SocketAddr::from(([0x2001, 0xdb8, 0, site, 0, 0, 0, host], 9));
    for site in 0..5u8 {
        let hosts = site * 40..site * 40 + 40;
        let taken = hosts.filter(|n| squat(&mut net, anonymous(), *n, from(site.into(), (*n).into()))).count();
        assert_eq!(taken, if site < 4 { 32 } else { 0 });
    }
    // Programs on this machine are no strangers' network.
    let taken = (200..240).filter(|n| squat(&mut net, anonymous(), *n, ([127, 0, 0, 1], 2000 + u16::from(*n)).into()));
    assert_eq!(taken.count(), 40);
}

#[test]
fn strangers_leave_places_for_relays_and_relays_for_own_links() {
    let mut net = crowded(64);
    let from = |number: u8| SocketAddr::from(([10, 1, 0, number], 1));
    assert_eq!((0..64).filter(|n| squat(&mut net, anonymous(), *n, from(*n))).count(), 48);
    let relays = (100..164).filter(|n| squat(&mut net, relay_config(*n), *n, from(*n))).count();
    assert_eq!(relays, 12, "links that anybody opened take fifteen sixteenths");
    net.b.links.connect(net.now, &other_relay()).expect("a place for own links");
}

#[test]
fn an_idle_link_gives_way_and_one_in_use_does_not() {
    let mut net = crowded(4);
    let from = |number: u8| SocketAddr::from(([10, 1, 0, number], 1));
    for number in 0..3 {
        assert!(squat(&mut net, anonymous(), number, from(number)));
    }
    let ups = net.b.events.iter().map(|event| match event {
        LinkEvent::Up(id, _) | LinkEvent::Down(id, _) => *id,
    });
    let ups: Vec<_> = ups.collect();
    net.b.links.set_in_use(ups[0], true);
    net.b.links.set_in_use(ups[1], false);
    assert!(!squat(&mut net, anonymous(), 3, from(3)), "no link is idle yet");
    // Time passes for the table only: nobody answers for the squatters.
    net.now += Duration::from_secs(11);
    let before = net.b.links.counters().evicted;
    squat(&mut net, anonymous(), 4, from(4));
    assert_eq!(net.b.links.counters().evicted, before + 1);
    assert!(net.b.links.is_up(ups[0]) && !net.b.links.is_up(ups[1]) && net.b.links.is_up(ups[2]));
    squat(&mut net, anonymous(), 5, from(5));
    assert!(net.b.links.is_up(ups[2]), "nothing was said of it, and it is young");
    net.now += Duration::from_secs(50);
    squat(&mut net, anonymous(), 6, from(6));
    assert!(net.b.links.is_up(ups[0]) && !net.b.links.is_up(ups[2]));
    assert!(net.b.events.contains(&LinkEvent::Down(ups[2], LinkError::Evicted)));
}

#[test]
fn a_link_that_moves_counts_where_it_is_and_makes_no_room() {
    let mut config = relay_config(2);
    config.max_links_per_source = 1;
    let mut net = Net::new(anonymous(), config);
    net.keep_log = false;
    let (mut net, a, _) = net.linked();
    let (old, new) = (network::address(1), network::address(7));
    assert!(!squat(&mut net, anonymous(), 1, old));
    net.a.address = new;
    net.a.links.send_cells(net.now, a, &cell(1, 1), None);
    net.run(Duration::from_secs(2));
    assert!(!squat(&mut net, anonymous(), 2, new), "the place at the new address is taken");
    assert!(squat(&mut net, anonymous(), 3, old), "and the old one free");
}

#[test]
fn half_open_squatters_do_not_keep_a_link_from_renewing() {
    let mut config = relay_config(2);
    config.max_half_open = 32;
    config.max_queued_handshakes = 16;
    config.cookie_threshold = 4;
    let mut net = Net::new(relay_config(1), config);
    net.keep_log = false;
    let (mut net, ..) = net.linked();
    net.run(Duration::from_secs(80));
    let config = anonymous();
    for number in 0..60 * 100u32 {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let rng = <rand_chacha::ChaCha12Rng as rand_core::SeedableRng>::from_seed(seed);
        let mut origin = Links::new(config.clone(), rng, net.now, network::UNIX);
        let site = u16::try_from(number % 32).expect("below 32");
        let from = SocketAddr::from(([0x2001, 0xdb8, 0, site, 0, 0, 0, 1], 9));
        let init = step(&mut origin, &net, None).remove(0);
        let answer = to_b(&mut net, from, &init);
        if let Some(cookie) = answer.first().filter(|answer| answer.len() == 80) {
            for again in step(&mut origin, &net, Some(cookie)) {
                to_b(&mut net, from, &again);
            }
        }
        net.run(Duration::from_micros(16_667));
    }
    assert_eq!((net.a.down(), net.b.down()), (None, None), "{:?}", net.b.links.counters());
    assert_eq!(net.b.links.counters().rekeys, 2);
}

#[test]
fn a_peer_that_never_reports_is_given_up() {
    let (mut net, a, b) = Net::origin().linked();
    net.keep_log = false;
    net.b.backlog.extend((0..4000).map(|number| (b, number)));
    net.a.alive = false;
    for second in 0..40 {
        let mut frame = [0; 8];
        crate::wire::frame::FrameWriter::new(&mut frame).push(&crate::wire::frame::Frame::Ping(second));
        net.a.links.forge(net.now, a, &frame);
        net.run(Duration::from_secs(1));
    }
    assert_eq!(net.b.down(), Some(LinkError::Dead));
}

#[test]
fn cookies_do_not_take_the_rate_from_cells() {
    let mut config = relay_config(2);
    config.rate_limit = Some(1_250_000);
    config.cookie_threshold = 0;
    let mut net = Net::new(anonymous(), config);
    net.keep_log = false;
    let (mut net, _, b) = net.linked();
    let key = crate::link::cookie::mac1_key(&[2; 32]);
    for index in 0..16_000u32 {
        let mut junk = [0; crate::wire::datagram::L_LEN];
        let header =
            crate::wire::datagram::Header { kind: crate::wire::datagram::Kind::Init, suite: 0x11, index, counter: 0 };
        junk[..crate::wire::datagram::HEADER_LEN].copy_from_slice(&header.to_bytes());
        crate::link::cookie::stamp(&mut junk, &key, None);
        net.deliver(Side::B, SocketAddr::from((index.to_be_bytes(), 1)), &mut junk);
    }
    assert!(net.b.links.can_send(net.now, b));
    assert!(net.b.links.counters().sent_cookie <= 300, "{:?}", net.b.links.counters());
}

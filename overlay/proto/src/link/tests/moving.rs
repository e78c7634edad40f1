//! A peer that moves, and those who only say that it did.

use std::time::Duration;

use super::network::{address, relay_config};
use super::*;
use crate::wire::datagram::{Kind, S_LEN};
use crate::wire::frame::{Feedback, Frame, FrameWriter};

/// What A would send now, kept from the network.
fn captured(net: &mut Net, send: impl FnOnce(&mut Links, std::time::Instant)) -> Vec<Vec<u8>> {
    net.a.links.clear_transmits();
    send(&mut net.a.links, net.now);
    let sent = net.a.links.transmits();
    let sent = sent.flat_map(|transmit| transmit.data.chunks(transmit.segment).map(<[u8]>::to_vec)).collect();
    net.a.links.clear_transmits();
    sent
}

#[test]
fn a_peer_that_moves_is_followed_at_full_rate() {
    for moved in [address(9), std::net::SocketAddr::from(([10, 0, 0, 1], 4000))] {
        let mut config = relay_config(2);
        config.rate_limit = Some(2_000_000);
        let (mut net, _, b) = Net::new(relay_config(1), config).linked();
        net.keep_log = false;
        net.b.backlog = (0..20_000).map(|number| (b, number)).collect();
        net.run(Duration::from_secs(1));
        net.a.address = moved;
        // The peer's reports show the way; one round trip later it is taken.
        net.run(Duration::from_millis(200));
        let stats = net.b.links.stats(b).expect("up");
        assert_eq!(stats.address, moved);
        assert!((19..22).contains(&stats.rtt.expect("measured").as_millis()), "{stats:?}");
        let before = net.sent_to[&moved];
        net.run(Duration::from_secs(1));
        let rate = net.sent_to[&moved] - before;
        assert!(rate > 1_800_000, "{rate} bytes in a second");
    }
}

#[test]
fn the_ping_to_a_new_address_is_repeated_within_the_bound() {
    let (mut net, a, b) = Net::relays().linked();
    net.loss = 1000;
    net.a.address = address(9);
    let datagram = captured(&mut net, |links, now| links.send_cells(now, a, &cell(1, 1), None)).remove(0);
    net.inject(Side::B, address(9), datagram, net.now);
    net.run(Duration::from_secs(2));
    assert_eq!(net.sent_to[&address(9)], 3 * S_LEN, "three times what came");
    assert_eq!(net.b.links.stats(b).expect("up").address, address(1));
    net.loss = 0;
    net.a.links.send_cells(net.now, a, &cell(1, 2), None);
    net.run(Duration::from_secs(1));
    assert_eq!(net.b.links.stats(b).expect("up").address, address(9));
}

#[test]
fn a_spoofed_move_floods_nobody() {
    let (mut net, a, b) = Net::origin().linked();
    net.keep_log = false;
    let victim = address(66);
    net.b.backlog = (0..20_000).map(|number| (b, number)).collect();
    net.run(Duration::from_millis(500));
    let mut highest = u32::try_from(net.b.links.stats(b).expect("up").datagrams_sent).expect("few");
    let (mut spoofed, mut absurd) = (0, 0);
    for round in 0..500u32 {
        // The peer says that all of it arrived there, and answers PINGs that it does not see.
        let mut frames = [0; 40];
        let mut writer = FrameWriter::new(&mut frames);
        let arrived = round * 2000;
        writer.push(&Frame::Feedback(Feedback { highest, arrived, bitmap: u128::MAX >> 8, ..Feedback::default() }));
        writer.push(&Frame::Pong(round % 8));
        for datagram in captured(&mut net, |links, now| links.forge(now, a, &frames)) {
            spoofed += datagram.len();
            net.inject(Side::B, victim, datagram, net.now);
        }
        net.a.alive = false;
        net.run(Duration::from_millis(2));
        highest = highest.wrapping_add(8);
        absurd = net.b.links.counters().feedback_absurd;
    }
    let flooded = net.sent_to.get(&victim).copied().unwrap_or_default();
    assert!(flooded > 0 && flooded <= 3 * spoofed, "{flooded} bytes for {spoofed}, {absurd} absurd");
    assert!(flooded < spoofed / 4, "only a PING in a while: {flooded} bytes for {spoofed}");
    assert!(net.b.links.stats(b).is_none_or(|stats| stats.address == address(1)));
}

#[test]
fn who_copies_datagrams_and_is_faster_diverts_nothing() {
    let (mut net, a, b) = Net::relays().linked();
    for number in 0..50 {
        let datagram = captured(&mut net, |links, now| links.send_cells(now, a, &cell(1, number), None)).remove(0);
        net.inject(Side::B, address(66), datagram.clone(), net.now);
        net.inject(Side::B, address(1), datagram, net.now + Duration::from_millis(1));
        net.b.links.send_cells(net.now, b, &cell(1, number), None);
        net.run(Duration::from_millis(20));
    }
    assert_eq!(net.b.links.stats(b).expect("up").address, address(1));
    assert_eq!(net.a.numbers(), (0..50).collect::<Vec<_>>(), "everything went where the peer is");
    let diverted = net.sent_to[&address(66)];
    assert!(diverted <= 50 * S_LEN, "{diverted}");
}

#[test]
fn a_link_begins_where_the_handshake_was_answered() {
    let mut net = Net::relays();
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    net.run(Duration::from_millis(15));
    let response = net.last(Side::B, Kind::Response);
    let confirm = captured(&mut net, |links, now| {
        links.handle_datagram(now, address(2), &mut response.clone(), &mut Vec::new());
        while let Some(job) = links.poll_job() {
            links.handle_job(now, job.run());
        }
        links.finish_batch(now);
    });
    net.a.alive = false;
    net.inject(Side::B, address(66), confirm[0].clone(), net.now);
    net.run(Duration::from_millis(5));
    let b = net.b.up().expect("confirmed");
    net.b.backlog = (0..1000).map(|number| (b, number)).collect();
    net.run(Duration::from_secs(1));
    assert_eq!(net.b.links.stats(b).expect("up").address, address(1));
    assert!(net.sent_to[&address(66)] <= 3 * S_LEN);
}

#[test]
fn made_up_reports_end_the_link() {
    let (mut net, a, b) = Net::relays().linked();
    let mut frames = [0; 40];
    FrameWriter::new(&mut frames).push(&Frame::Feedback(Feedback { highest: 1 << 20, ..Feedback::default() }));
    for _ in 0..16 {
        net.a.links.forge(net.now, a, &frames);
    }
    net.run(Duration::from_millis(50));
    assert_eq!(net.b.down(), Some(LinkError::Misbehaved));
    assert!(net.b.links.stats(b).is_none());
}

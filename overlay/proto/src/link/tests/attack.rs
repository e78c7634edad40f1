//! Forgery, replay and floods.

use std::time::Duration;

use rand_core::Rng;

use super::network::{address, peer_of, relay_config, seeded};
use super::*;
use crate::link::cookie::{mac1_key, stamp};
use crate::wire::datagram::{HEADER_LEN, Header, Kind, L_LEN, S_LEN};

/// A net whose A has sent message 1, which is in the log and not delivered.
fn begun(a: LinkConfig) -> (Net, Vec<u8>) {
    let mut net = Net::new(a, relay_config(2));
    net.loss = 1000;
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    net.run(Duration::from_millis(1));
    let init = net.last(Side::A, Kind::Init);
    net.loss = 0;
    (net, init)
}

#[test]
fn a_wrong_link_key_or_identity_gets_no_link() {
    for wrong in [0, 1] {
        let mut net = Net::relays();
        let mut peer = Net::peer_b();
        if wrong == 0 {
            peer.link_key = LinkSecret::generate(&mut seeded(50)).public();
        } else {
            peer.identity = [99; 32];
        }
        net.a.links.connect(net.now, &peer).expect("room");
        net.run(Duration::from_secs(11));
        assert_eq!(net.a.down(), Some(LinkError::HandshakeTimeout));
        assert!(net.b.events.is_empty() && net.b.links.is_empty());
        let counters = net.b.links.counters();
        let refused = if wrong == 0 { counters.refused_bad_tag } else { counters.refused_junk };
        assert!(refused > 0, "{counters:?}");
    }
}

#[test]
fn a_low_order_key_is_refused() {
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let mut net = Net::relays();
        let mut peer = Net::peer_b();
        peer.link_key = point;
        net.a.links.connect(net.now, &peer).expect("room");
        net.run(Duration::from_secs(11));
        assert_eq!(net.a.down(), Some(LinkError::HandshakeTimeout));
        assert!(net.log.is_empty(), "no message is written to such a key");
    }
}

#[test]
fn a_first_message_altered_anywhere_is_refused() {
    let (mut net, init) = begun(relay_config(1));
    let key = mac1_key(&[2; 32]);
    for at in [0, 1, 2, 8, 16, 40, 60, 100, 500, 1167, 1168, 1183] {
        // With the old mac1 the message is junk; with a fitting one the work on it fails.
        for fix in [false, true] {
            let mut altered = init.clone();
            altered[at] ^= if at == 1 { 3 } else { 0x41 };
            if fix {
                let message: &mut [u8; L_LEN] = altered.as_mut_slice().try_into().expect("long");
                stamp(message, &key, None);
            }
            let unchanged = altered == init;
            net.inject(Side::B, address(1), altered, net.now);
            net.run(Duration::from_millis(1));
            assert!(net.b.links.counters().sent_handshake == 0 || unchanged, "byte {at}");
        }
        if net.b.links.counters().sent_handshake > 0 {
            return assert!(at >= 1168, "only mac1 itself can be put right");
        }
    }
}

#[test]
fn the_suite_is_bound() {
    let (mut net, init) = begun(relay_config(1));
    for suite in [0x12, 0x21, 0x22, 0x13, 0x00, 0xff] {
        let mut altered = init.clone();
        altered[1] = suite;
        let message: &mut [u8; L_LEN] = altered.as_mut_slice().try_into().expect("long");
        stamp(message, &mac1_key(&[2; 32]), None);
        net.inject(Side::B, address(1), altered, net.now);
    }
    net.run(Duration::from_millis(400));
    assert_eq!(net.b.links.counters().sent_handshake, 0);
    assert!(net.b.links.counters().refused_bad_tag >= 3);
}

#[test]
fn a_replayed_first_message_does_nothing() {
    let (mut net, a, _) = Net::relays().linked();
    let init = net.last(Side::A, Kind::Init);
    net.inject(Side::B, address(66), init.clone(), net.now);
    net.run(Duration::from_secs(1));
    assert_eq!(net.b.links.counters().sent_handshake, 1);
    assert_eq!(net.b.links.counters().refused_replay, 1, "known by its mac1");
    // Once that memory has passed, by its timestamp.
    for number in 0..1100u32 {
        let mut junk = [0; L_LEN];
        junk[..HEADER_LEN]
            .copy_from_slice(&Header { kind: Kind::Init, suite: 0x11, index: number, counter: 0 }.to_bytes());
        stamp(&mut junk, &mac1_key(&[2; 32]), None);
        net.inject(Side::B, address(66), junk.to_vec(), net.now);
        net.run(Duration::from_millis(1));
    }
    net.inject(Side::B, address(66), init, net.now);
    net.run(Duration::from_millis(50));
    assert_eq!(net.b.links.counters().sent_handshake, 1);
    assert_eq!(net.b.links.counters().refused_replay, 2);
    assert!(net.a.links.is_up(a));
}

#[test]
fn a_replayed_first_message_of_an_origin_takes_nothing_over() {
    let (mut net, a, b) = Net::origin().linked();
    let init = net.last(Side::A, Kind::Init);
    // A relay that lost its memory answers it, and nothing comes of that.
    net.b.links = Links::new(relay_config(2), seeded(8), net.now, network::UNIX);
    net.inject(Side::B, address(66), init, net.now);
    net.run(Duration::from_millis(500));
    assert_eq!((net.b.links.len(), net.b.links.counters().sent_handshake), (0, 1));
    assert!(net.a.links.is_up(a) && net.b.links.stats(b).is_none());
}

#[test]
fn a_replayed_or_altered_second_message_does_nothing() {
    let mut net = Net::relays();
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    net.run(Duration::from_millis(15));
    let response = net.last(Side::B, Kind::Response);
    // Forged ones arrive first.
    for at in [16, 70, 600, 1167, 1199] {
        let mut altered = response.clone();
        altered[at] ^= 1;
        if at < 1168 {
            let message: &mut [u8; L_LEN] = altered.as_mut_slice().try_into().expect("long");
            stamp(message, &mac1_key(&[2; 32]), None);
        }
        net.inject(Side::A, address(2), altered, net.now);
        net.run(Duration::from_micros(500));
    }
    net.run(Duration::from_secs(1));
    assert!(net.a.up().is_some(), "forgeries do not end the handshake");
    assert_eq!(net.a.links.counters().refused_bad_tag, 4, "{:?}", net.a.links.counters());
    net.inject(Side::A, address(2), response, net.now);
    net.run(Duration::from_secs(1));
    assert_eq!(net.a.links.counters().handshakes, 1);
    assert_eq!(net.a.links.counters().refused_unknown_index, 1, "a session's index takes no handshake message");
}

#[test]
fn a_replayed_altered_or_cut_datagram_is_dropped_and_counted() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.links.send_cells(net.now, a, &cell(1, 1), None);
    net.run(Duration::from_millis(100));
    let sent = net.last(Side::A, Kind::Data);
    let good =
        net.log.iter().rev().find(|(side, _, data)| *side == Side::A && data.len() == S_LEN).expect("sent").2.clone();
    let before = *net.b.links.counters();
    net.deliver(Side::B, address(1), &mut good.clone());
    assert_eq!(net.b.links.counters().refused_replay, before.refused_replay + 1);
    for at in 0..S_LEN {
        let mut altered = sent.clone();
        // A counter that was not used yet, so that replay is not what refuses it.
        altered[HEADER_LEN - 1] ^= 0x80;
        if at != HEADER_LEN - 1 {
            altered[at] ^= 0x10;
        }
        net.deliver(Side::B, address(1), &mut altered);
    }
    for len in [0, 1, 15, 16, 32, S_LEN - 1, S_LEN + 1, L_LEN - 1] {
        let mut cut = sent.clone();
        cut.resize(len, 0);
        net.deliver(Side::B, address(1), &mut cut);
    }
    let after = net.b.links.counters();
    assert_eq!(net.b.numbers(), vec![1]);
    assert_eq!(after.received_data, before.received_data);
    let refused = after.refused_bad_tag + after.refused_junk + after.refused_unknown_index + after.refused_replay;
    let earlier = before.refused_bad_tag + before.refused_junk + before.refused_unknown_index + before.refused_replay;
    assert_eq!(refused - earlier, 1 + S_LEN as u64 + 8);
    assert!(after.refused_bad_tag > before.refused_bad_tag + 500);
}

#[test]
fn under_a_flood_cookies_let_honest_initiators_in() {
    let mut config = relay_config(2);
    config.max_half_open = 64;
    let mut net = Net::new(relay_config(1), config);
    net.keep_log = false;
    // First messages with a right mac1 and junk inside, from made-up addresses: 10 for each that the work can handle.
    let mut rng = seeded(3);
    let mut junk = [0; L_LEN];
    let mut flood = |net: &mut Net, count: u32| {
        for _ in 0..count {
            let header = Header { kind: Kind::Init, suite: 0x11, index: rng.next_u32(), counter: 0 };
            junk[..HEADER_LEN].copy_from_slice(&header.to_bytes());
            rng.fill_bytes(&mut junk[HEADER_LEN..]);
            stamp(&mut junk, &mac1_key(&[2; 32]), None);
            let from = std::net::SocketAddr::from((rng.next_u32().to_be_bytes(), 1));
            let waiting = |net: &Net| net.b.links.transmits().map(|transmit| transmit.data.len()).sum::<usize>();
            let before = waiting(net);
            net.deliver(Side::B, from, &mut junk);
            assert!(waiting(net) <= before + L_LEN, "an answer is never longer than its question");
        }
    };
    net.hold_jobs = true;
    flood(&mut net, 1000);
    assert!(net.b.links.counters().sent_cookie >= 900, "{:?}", net.b.links.counters());
    assert!(net.b.links.counters().received_handshake <= 40);
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    for _ in 0..200 {
        // One job in each millisecond at B, ten first messages; A is not loaded.
        let now = net.now;
        while let Some(job) = net.a.links.poll_job() {
            net.a.links.handle_job(now, job.run());
        }
        if let Some(job) = net.b.links.poll_job() {
            net.b.links.handle_job(now, job.run());
        }
        flood(&mut net, 10);
        net.run(Duration::from_millis(1));
    }
    assert!(net.a.links.counters().received_cookie >= 1);
    assert!(net.a.up().is_some() && net.b.up().is_some(), "{:?}", net.b.links.counters());
}

/// What an origin sends when it is given `datagram`, or when it begins.
fn answers(origin: &mut Links, net: &Net, datagram: Option<&[u8]>) -> Vec<u8> {
    origin.clear_transmits();
    match datagram {
        None => drop(origin.connect(net.now, &Net::peer_b()).expect("room")),
        Some(datagram) => {
            origin.handle_datagram(net.now, address(2), &mut datagram.to_vec(), &mut Vec::new());
        }
    }
    while let Some(job) = origin.poll_job() {
        origin.handle_job(net.now, job.run());
    }
    origin.transmits().next().map(|transmit| transmit.data.to_vec()).unwrap_or_default()
}

#[test]
fn half_open_handshakes_are_bounded_in_number_and_time() {
    let mut config = relay_config(2);
    config.max_half_open = 32;
    let mut net = Net::new(relay_config(1), config);
    net.keep_log = false;
    // Two hundred honest-looking origins that prove their addresses and never use their sessions.
    for number in 0..200u8 {
        let config = LinkConfig::new(LocalIdentity::Anonymous);
        let mut origin = Links::new(config, seeded(number), net.now, network::UNIX);
        let from = std::net::SocketAddr::from(([10, 1, 0, number], 1));
        let mut init = answers(&mut origin, &net, None);
        net.deliver(Side::B, from, &mut init);
        let cookie =
            net.b.links.transmits().find(|transmit| transmit.to == from).map(|transmit| transmit.data.to_vec());
        if let Some(cookie) = cookie {
            let mut again = answers(&mut origin, &net, Some(&cookie));
            net.deliver(Side::B, from, &mut again);
        }
        net.run(Duration::from_micros(100));
    }
    let counters = net.b.links.counters();
    assert_eq!(counters.sent_handshake, 32, "{counters:?}");
    assert_eq!(counters.sent_cookie, 192, "a quarter of the places is free, the rest is for proven addresses");
    assert_eq!(counters.refused_over_limit, 168);
    assert!(net.b.links.is_empty());
    // When their time is over, honest nodes get in.
    net.run(Duration::from_secs(6));
    let (net, ..) = net.linked();
    assert_eq!(net.b.links.len(), 1);
}

#[test]
fn an_authentic_peer_that_talks_nonsense_is_cut_off() {
    let (mut net, a, b) = Net::relays().linked();
    net.a.links.forge(net.now, a, &[0xee; 8]);
    net.run(Duration::from_millis(50));
    assert_eq!(net.b.down(), Some(LinkError::Misbehaved));
    assert!(net.b.links.stats(b).is_none());
    assert_eq!(net.b.links.counters().refused_malformed, 1);
}

#[test]
fn feedback_about_what_was_never_sent_is_ignored() {
    use crate::wire::frame::{Feedback, Frame, FrameWriter};
    let (mut net, a, b) = Net::relays().linked();
    let window = net.b.links.stats(b).expect("up").window;
    for highest in [50_000, u32::MAX, 1 << 31] {
        let mut frame = [0; 40];
        let feedback = Feedback { highest, bitmap: u128::MAX >> 8, ..Feedback::default() };
        FrameWriter::new(&mut frame).push(&Frame::Feedback(feedback));
        net.a.links.forge(net.now, a, &frame);
    }
    net.run(Duration::from_millis(50));
    assert_eq!(net.b.links.counters().feedback_absurd, 3);
    assert_eq!(net.b.links.stats(b).expect("up").window, window);
}

#[test]
fn a_rekey_needs_the_token() {
    // Another relay with the same link key but without the token (a thief of the key) does not get into the link.
    let (mut net, a, b) = Net::relays().linked();
    net.a.links.spoil_token(a);
    net.run(Duration::from_secs(113));
    assert_eq!(net.a.down(), Some(LinkError::Forgotten));
    assert_eq!(net.b.links.stats(b).map(|stats| stats.rekeys), Some(0));
}

#[test]
fn relays_that_claim_an_identity_are_known_by_their_key() {
    let (mut net, _, b) = Net::relays().linked();
    let info = net.b.links.peer(b).expect("up");
    assert_eq!(info.link_key, Some(peer_of(&relay_config(1), address(1)).link_key));
    // A claim with another key does not stand in for the real relay.
    let mut real = peer_of(&relay_config(1), address(1));
    real.link_key = [7; 32];
    assert_ne!(net.b.links.connect(net.now, &real), Ok(b));
}

//! Cells and control frames over good and bad networks.

use std::collections::BTreeSet;
use std::time::Duration;

use super::network::relay_config;
use super::*;

fn harsh(mut net: Net) -> Net {
    net.loss = 100;
    net.duplicates = 50;
    net.jitter = Duration::from_millis(8);
    net
}

#[test]
fn relays_and_origins_open_links_with_either_cipher() {
    for prefer_aes in [true, false] {
        for local in [relay_config(1).local, LocalIdentity::Anonymous] {
            let mut config = LinkConfig::new(local.clone());
            config.prefer_aes = prefer_aes;
            let (mut net, a, b) = Net::new(config, relay_config(2)).linked();
            net.a.links.send_cells(net.now, a, &cell(1, 1), None);
            net.b.links.send_cells(net.now, b, &cell(2, 2), Some(&cell(3, 3)));
            net.run(Duration::from_secs(1));
            assert_eq!((net.b.numbers(), net.a.numbers()), (vec![1], vec![2, 3]));
            net.check_lengths();
            let info = net.b.links.peer(b).expect("up");
            let known = matches!(local, LocalIdentity::Relay { .. });
            assert_eq!(info.identity, known.then_some([1; 32]));
            assert_eq!(info.link_key.is_some(), known, "an origin shows no key");
            assert!(!info.initiator && net.a.links.peer(a).expect("up").initiator);
        }
    }
}

#[test]
fn bulk_arrives_whole_and_in_order_on_a_good_network() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.backlog = (0..4001).map(|number| (a, number)).collect();
    net.run(Duration::from_secs(5));
    assert_eq!(net.b.numbers(), (0..4001).collect::<Vec<_>>());
    net.check_lengths();
    let stats = net.a.links.stats(a).expect("up");
    assert!(stats.rtt.expect("measured") < Duration::from_millis(30) && stats.loss < 0.01, "{stats:?}");
    assert_eq!(stats.in_flight, 0);
}

#[test]
fn over_loss_duplication_and_reordering_cells_come_at_most_once_and_control_exactly_once() {
    let (net, a, b) = harsh(Net::relays()).linked();
    let mut net = net;
    net.a.backlog = (0..6000).map(|number| (a, number)).collect();
    for circuit in 0..200u32 {
        net.a.links.send_control(net.now, a, Control::Setup { circuit, packet: [1; 480] }).expect("room");
        net.a.links.send_control(net.now, a, Control::Destroy { circuit, reason: 3 }).expect("room");
        net.b.links.send_control(net.now, b, Control::SetupReply { circuit, reply: [2; 192] }).expect("room");
    }
    net.run(Duration::from_secs(30));
    let numbers = net.b.numbers();
    let distinct: BTreeSet<_> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), numbers.len(), "no cell twice");
    assert!(numbers.len() > 5000, "{}", numbers.len());
    assert_eq!((net.b.controls.len(), net.a.controls.len()), (400, 200));
    for circuit in 0..200 {
        let frames: Vec<_> = net.b.controls.iter().filter(|control| control.circuit() == circuit).collect();
        assert!(matches!(frames[..], [Control::Setup { .. }, Control::Destroy { reason: 3, .. }]));
    }
    net.check_lengths();
    assert!(net.a.links.counters().retransmits > 0 && net.b.links.counters().refused_replay > 0);
    let loss = net.a.links.stats(a).expect("up").loss;
    assert!((0.02..0.25).contains(&loss), "{loss}");
}

#[test]
fn control_frames_queued_before_the_link_is_up_are_sent_then_and_are_bounded() {
    let mut net = Net::relays();
    let id = net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    assert_eq!(net.a.links.connect(net.now, &Net::peer_b()), Ok(id), "one link for one peer");
    let setup = |circuit| Control::Setup { circuit, packet: [9; 480] };
    for circuit in 0..512 {
        net.a.links.send_control(net.now, id, setup(circuit)).expect("room");
    }
    assert_eq!(net.a.links.send_control(net.now, id, setup(600)), Err(Error::ControlQueueFull));
    assert!(!net.a.links.can_send(net.now, id));
    net.a.links.send_cells(net.now, id, &cell(1, 1), None);
    net.run(Duration::from_secs(5));
    assert_eq!(net.b.controls.len(), 512);
    assert_eq!(net.b.cells.len(), 0);
}

#[test]
fn a_busy_link_is_reported_on_inside_its_own_datagrams() {
    // Both sides send 50 cells a second, as in a call: no datagram carries feedback alone.
    let (mut net, a, b) = Net::relays().linked();
    net.log.clear();
    for number in 0..200 {
        net.a.links.send_cells(net.now, a, &cell(1, number), None);
        net.b.links.send_cells(net.now, b, &cell(1, number), None);
        net.run(Duration::from_millis(20));
    }
    assert!(net.log.len() <= 2 * 200 + 4, "{} datagrams for 400 cells", net.log.len());
    assert!(net.a.links.stats(a).expect("up").in_flight < 4 * 576);
}

#[test]
fn a_node_keeps_its_rate() {
    let mut config = relay_config(1);
    config.rate_limit = Some(500_000);
    let (mut net, a, _) = Net::new(config, relay_config(2)).linked();
    net.log.clear();
    net.a.backlog = (0..20_000).map(|number| (a, number)).collect();
    net.run(Duration::from_secs(4));
    let bytes: usize =
        net.log.iter().filter(|(side, ..)| *side == Side::A).map(|(_, _, datagram)| datagram.len()).sum();
    assert!((1_900_000..2_100_000).contains(&bytes), "{bytes}");
}

#[test]
fn one_seed_gives_one_run() {
    let run = || {
        let (net, a, _) = harsh(Net::relays()).linked();
        let mut net = net;
        net.a.backlog = (0..500).map(|number| (a, number)).collect();
        net.run(Duration::from_secs(3));
        net.log.into_iter().map(|(_, _, datagram)| datagram).collect::<Vec<_>>()
    };
    assert!(run() == run());
}

//! Rekeys, roaming, silence, and the end of links.

use std::time::Duration;

use super::network::{address, relay_config};
use super::*;
use crate::wire::datagram::{Header, Kind};

#[test]
fn a_rekey_loses_nothing_and_keeps_the_link() {
    for (net, loss) in [(Net::relays(), 0), (Net::origin(), 0), (Net::relays(), 100)] {
        let (mut net, a, b) = net.linked();
        net.loss = loss;
        net.keep_log = false;
        let (mut sent, mut per_side) = (0, 0);
        for round in 0..13_000u32 {
            net.a.backlog.push((a, round));
            net.b.backlog.push((b, round));
            sent += 1;
            net.run(Duration::from_millis(20));
        }
        net.run(Duration::from_secs(2));
        per_side += net.b.cells.len();
        for (machine, id) in [(&net.a, a), (&net.b, b)] {
            let stats = machine.links.stats(id).expect("still up");
            assert_eq!(stats.rekeys, 2, "{stats:?}");
            assert_eq!(machine.links.counters().handshakes, 3);
            assert_eq!(machine.events.len(), 1, "{:?}", machine.events);
        }
        if loss == 0 {
            assert_eq!((per_side, net.a.cells.len()), (sent, sent));
            assert!(net.b.numbers().is_sorted());
        }
    }
}

#[test]
fn the_old_session_is_erased_and_its_datagrams_mean_nothing() {
    let (mut net, a, _) = Net::relays().linked();
    net.run(Duration::from_secs(70));
    net.a.links.send_cells(net.now, a, &cell(1, 1), None);
    net.loss = 1000;
    net.run(Duration::from_millis(1));
    net.loss = 0;
    let mut held = net.last(Side::A, Kind::Data);
    let index = Header::read(&held).expect("data").index;
    net.run(Duration::from_secs(60));
    assert_eq!(net.b.links.stats(net.b.up().expect("up")).expect("up").rekeys, 1);
    assert_ne!(Header::read(&net.last(Side::A, Kind::Data)).expect("data").index, index);
    let before = net.b.links.counters().refused_unknown_index;
    net.deliver(Side::B, address(1), &mut held);
    assert_eq!(net.b.links.counters().refused_unknown_index, before + 1);
    assert!(net.b.cells.is_empty());
}

#[test]
fn the_link_follows_the_peer_to_another_address() {
    let (mut net, a, b) = Net::relays().linked();
    let mut stale = {
        net.a.links.send_cells(net.now, a, &cell(1, 1), None);
        net.loss = 1000;
        net.run(Duration::from_millis(1));
        net.loss = 0;
        net.last(Side::A, Kind::Data)
    };
    net.a.address = address(9);
    net.a.links.send_cells(net.now, a, &cell(1, 2), None);
    net.run(Duration::from_millis(50));
    net.b.links.send_cells(net.now, b, &cell(1, 3), None);
    net.run(Duration::from_secs(1));
    assert_eq!((net.b.numbers(), net.a.numbers()), (vec![2], vec![3]));
    assert_eq!(net.b.links.stats(b).expect("up").address, address(9));
    // An older datagram from the old address is taken, and does not lead back.
    net.deliver(Side::B, address(1), &mut stale);
    assert_eq!(net.b.numbers(), vec![2, 1]);
    assert_eq!(net.b.links.stats(b).expect("up").address, address(9));
}

#[test]
fn an_idle_link_stays_up_on_few_datagrams() {
    let (mut net, a, b) = Net::relays().linked();
    net.log.clear();
    net.run(Duration::from_secs(100));
    assert!(net.a.links.is_up(a) && net.b.links.is_up(b));
    assert!((18..=60).contains(&net.log.len()), "{} datagrams in 100 s", net.log.len());
}

#[test]
fn a_dead_peer_is_noticed() {
    // Idle: within keepalive and three answers. Busy: within five seconds.
    for (busy, limit) in [(false, 15), (true, 5)] {
        let (mut net, a, b) = Net::relays().linked();
        net.b.alive = false;
        net.loss = 1000;
        if busy {
            net.a.backlog = (0..1000).map(|number| (a, number)).collect();
        }
        net.run(Duration::from_secs(limit));
        assert_eq!(net.a.down(), Some(LinkError::Dead), "busy: {busy}");
        assert!(net.a.links.stats(a).is_none() && net.a.links.is_empty());
        assert_eq!(
            net.a.links.send_control(net.now, a, Control::Destroy { circuit: 1, reason: 0 }),
            Err(Error::UnknownLink)
        );
        assert!(net.b.links.stats(b).is_some());
    }
}

#[test]
fn an_outage_shorter_than_the_patience_is_survived() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.backlog = (0..60_000).map(|number| (a, number)).collect();
    net.run(Duration::from_millis(300));
    net.loss = 1000;
    net.run(Duration::from_secs(2));
    net.loss = 0;
    net.run(Duration::from_secs(20));
    assert!(net.a.links.is_up(a) && net.a.backlog.is_empty());
    assert_eq!(net.b.numbers().last(), Some(&59_999));
}

#[test]
fn closing_tells_the_peer_and_raises_no_event_here() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.links.close(net.now, a);
    net.run(Duration::from_secs(1));
    assert_eq!((net.a.down(), net.b.down()), (None, Some(LinkError::ClosedByPeer)));
    assert!(net.a.links.is_empty() && net.b.links.is_empty());
    let again = net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    assert_ne!(again, a, "an id is not used twice");
    net.run(Duration::from_secs(1));
    assert!(net.a.links.is_up(again));
}

#[test]
fn nobody_answers() {
    let mut net = Net::relays();
    net.b.alive = false;
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    net.run(Duration::from_secs(11));
    assert_eq!(net.a.down(), Some(LinkError::HandshakeTimeout));
    assert!(net.log.len() <= 8, "{}", net.log.len());
}

#[test]
fn a_peer_that_restarted_is_given_up_and_reached_again() {
    let (mut net, a, _) = Net::relays().linked();
    net.b.links = Links::new(relay_config(2), network::seeded(9), net.now, network::UNIX);
    net.run(Duration::from_secs(16));
    assert_eq!(net.a.down(), Some(LinkError::Dead));
    let again = net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    net.run(Duration::from_secs(1));
    assert!(net.a.links.is_up(again) && again != a);
}

#[test]
fn an_accepted_link_serves_both_ways() {
    let (mut net, _, b) = Net::relays().linked();
    let peer = network::peer_of(&relay_config(1), address(1));
    assert_eq!(net.b.links.connect(net.now, &peer), Ok(b));
    let mut other = peer.clone();
    other.link_key = [5; 32];
    assert_ne!(net.b.links.connect(net.now, &other), Ok(b), "another key is another relay");
}

#[test]
fn what_cannot_be_opened_is_refused() {
    let mut config = relay_config(1);
    config.max_links = 1;
    let mut net = Net::new(config, relay_config(2));
    let own = network::peer_of(&relay_config(1), address(1));
    assert_eq!(net.a.links.connect(net.now, &own), Err(Error::OwnIdentity));
    let mut nowhere = Net::peer_b();
    nowhere.addresses.clear();
    assert_eq!(net.a.links.connect(net.now, &nowhere), Err(Error::NoAddress));
    net.a.links.connect(net.now, &Net::peer_b()).expect("room");
    let third = network::peer_of(&relay_config(3), address(3));
    assert_eq!(net.a.links.connect(net.now, &third), Err(Error::TooManyLinks));
}

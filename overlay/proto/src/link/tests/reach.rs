//! Other ways to a peer, and what it says of where this node is.

use std::time::Duration;

use super::network::address;
use super::*;
use crate::link::route;
use crate::wire::datagram::S_LEN;

#[test]
fn a_peer_says_where_datagrams_come_from() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.links.observe(a);
    net.run(Duration::from_millis(100));
    assert_eq!(net.a.observed, [address(1)]);
    assert!(net.b.observed.is_empty(), "nobody asked for that");
}

#[test]
fn a_link_moves_at_both_ends_to_an_address_that_was_found() {
    let (mut net, a, b) = Net::relays().linked();
    // As if another path had opened, with another outer address at each end, while the old one still stands.
    (net.a.address, net.b.address) = (address(8), address(9));
    net.a.links.reach(net.now, a, address(9));
    net.run(Duration::from_millis(300));
    assert_eq!(net.a.links.stats(a).expect("up").address, address(9));
    assert_eq!(net.b.links.stats(b).expect("up").address, address(8));
    assert_eq!((net.a.down(), net.b.down()), (None, None));
}

#[test]
fn a_way_that_leads_nowhere_changes_nothing() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.links.reach(net.now, a, address(66));
    net.run(Duration::from_secs(5));
    assert_eq!(net.a.links.stats(a).expect("up").address, address(2));
    assert_eq!(net.sent_to[&address(66)], 4 * S_LEN, "four PINGs and nothing else");
}

#[test]
fn a_link_that_is_not_up_begins_anew_at_the_address_that_was_found() {
    let mut net = Net::relays();
    let mut peer = Net::peer_b();
    peer.addresses = vec![address(66)];
    let a = net.a.links.connect(net.now, &peer).expect("room");
    net.run(Duration::from_secs(1));
    assert!(!net.a.links.is_up(a));
    net.a.links.reach(net.now, a, address(2));
    net.run(Duration::from_millis(100));
    assert!(net.a.links.is_up(a));
}

#[test]
fn what_goes_by_a_flow_leaves_in_front_of_the_node_between() {
    let (mut net, a, _) = Net::relays().linked();
    net.a.links.set_route(5, address(7), 0x0102_0304);
    net.a.links.reach(net.now, a, route::relayed(5));
    net.log.clear();
    net.run(Duration::from_millis(50));
    let sent = net.log.iter().find(|(_, _, datagram)| datagram[0] == 6).expect("a relayed PING");
    assert_eq!((sent.2.len(), &sent.2[4..8]), (16 + S_LEN, &[1, 2, 3, 4][..]));
    assert_eq!(net.sent_to[&address(7)], 16 + S_LEN);
    net.a.links.remove_route(5);
    net.run(Duration::from_secs(4));
    assert_eq!(net.a.links.stats(a).expect("up").address, address(2), "the old way goes on");
}

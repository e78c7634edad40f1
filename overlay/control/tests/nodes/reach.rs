//! How nodes find out whether others reach them, and what one does that nobody reaches: AutoNAT v2 and relays of libp2p, between public
//! addresses that a network namespace of the test's own has.
//!
//! Each test runs itself once more in such a namespace. Without the right to make one (root) it is skipped, and says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::raw::Bytes;
use crate::common::{NETWORK, Node, key, until};
use futures::StreamExt as _;
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, SwarmBuilder, identity, noise, relay, tcp, yamux};
use zmesh_control::{Builder, Claims, Control, hello};

/// Set for the test inside.
const INSIDE: &str = "ZMESH_TEST_NAMESPACE";
const PORT: u16 = 9_002;

/// Public addresses, none of them of one network.
fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(5, n, 0, 1)
}

fn works(command: &str) -> bool {
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", command]).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Whether this is the run inside. Outside it runs the test there, after what `setup` says.
fn is_inside(test: &str, setup: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let addresses: String = (1..=4).map(|n| format!(" && ip address add {}/32 dev lo", ip(n))).collect();
    let prepare = format!("ip link set lo up{addresses}{setup}");
    if !works(&prepare) {
        println!("SKIPPED: a network namespace cannot be made here (needs root, and ip and nft)");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", &format!("{prepare} && exec \"$0\" --exact reach::{test} --nocapture")])
        .arg(own)
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "in the namespace");
    false
}

/// A node at a public address of which it does not know whether others reach it.
fn lasting(n: u8) -> Builder {
    Control::builder(NETWORK).identity(&key(n)).listen((ip(n), PORT).into())
}

async fn reachable(node: &Node) -> bool {
    node.with(|control| control.status().reachable).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_confirm_where_a_node_is_reached() {
    if !is_inside("others_confirm_where_a_node_is_reached", "") {
        return;
    }
    let first = Node::start(lasting(1), true).await;
    let second = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    assert!(!reachable(&second).await, "nobody said so yet");
    for node in [&first, &second] {
        until("another one called back and confirmed it", || reachable(node)).await;
    }
}

#[derive(NetworkBehaviour)]
struct Caller {
    relay: relay::client::Behaviour,
    hello: request_response::Behaviour<Bytes>,
}

/// Greets a node through a relay; whether it answered.
async fn greet_through(relay: &Node, node: &Node) -> bool {
    let mut seed = key(9).to_bytes();
    let own = identity::Keypair::ed25519_from_bytes(&mut seed).unwrap();
    let name = StreamProtocol::new("/zmesh/1/0707070707070707/hello");
    let mut swarm = SwarmBuilder::with_existing_identity(own)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, relay| Caller {
            relay,
            hello: request_response::Behaviour::with_codec(
                Bytes,
                [(name, ProtocolSupport::Full)],
                request_response::Config::default(),
            ),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(30)))
        .build();
    let peer = |node: &Node| {
        let key = identity::ed25519::PublicKey::try_from_bytes(&node.identity.0).unwrap();
        identity::PublicKey::from(key).to_peer_id()
    };
    let (SocketAddr::V4(at), between, to) = (relay.address, peer(relay), peer(node)) else { panic!("IPv4") };
    let text = format!("/ip4/{}/tcp/{}/p2p/{between}/p2p-circuit/p2p/{to}", at.ip(), at.port());
    swarm.dial(text.parse::<Multiaddr>().unwrap()).unwrap();
    let greeting = hello::encode(&NETWORK, &Claims::default());
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == to => {
                swarm.behaviour_mut().hello.send_request(&to, greeting.clone());
            }
            SwarmEvent::Behaviour(CallerEvent::Hello(request_response::Event::Message {
                message: request_response::Message::Response { .. },
                ..
            })) => return true,
            SwarmEvent::Behaviour(CallerEvent::Hello(request_response::Event::OutboundFailure { .. }))
            | SwarmEvent::OutgoingConnectionError { .. } => return false,
            _ => {}
        }
    }
}

/// A firewall lets in only what answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_is_met_at_a_relay() {
    let shut = format!(
        " && nft add table inet t && nft add chain inet t i '{{ type filter hook input priority 0; }}' \
         && nft add rule inet t i ip daddr {} ct state new drop",
        ip(4)
    );
    if !is_inside("who_cannot_be_reached_is_met_at_a_relay", &shut) {
        return;
    }
    let relay = Node::start(lasting(1).advertise((ip(1), PORT).into()), true).await;
    let other = Node::start(lasting(2).bootstrap(relay.contact()), true).await;
    let hidden = Node::start(lasting(4).bootstrap(relay.contact()), true).await;
    until("it is connected with both", || async { hidden.peers().await.len() == 2 }).await;
    assert!(!reachable(&hidden).await);
    until("it has a place at a relay", || reachable(&hidden)).await;
    let direct = hidden.seen(|seen| seen.reachable.clone());
    assert!(direct.is_empty(), "nobody confirmed an address of its own: {direct:?}");
    let met = [greet_through(&relay, &hidden).await, greet_through(&other, &hidden).await];
    assert!(met.contains(&true), "one of the two carries a connection to it");
}

//! What a stranger who crawls the control plane can learn.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use crate::common::{Node, lasting, until};
use futures::StreamExt as _;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent, dial_opts::DialOpts};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, kad, noise, tcp, yamux};
use zmesh_control::{Control, PeerIdentity};

#[derive(NetworkBehaviour)]
struct Crawl {
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

/// A node of libp2p that is none of ours.
fn crawler() -> Swarm<Crawl> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| {
            let peer = key.public().to_peer_id();
            let name = StreamProtocol::new("/zmesh/1/0707070707070707/kad");
            Crawl {
                identify: identify::Behaviour::new(identify::Config::new("crawler".to_owned(), key.public())),
                kad: kad::Behaviour::with_config(peer, kad::store::MemoryStore::new(peer), kad::Config::new(name)),
            }
        })
        .unwrap()
        .build()
}

fn multiaddr(address: SocketAddr) -> Multiaddr {
    format!("/ip4/{}/udp/{}/quic-v1", address.ip(), address.port()).parse().unwrap()
}

fn peer_id(identity: PeerIdentity) -> PeerId {
    let key = libp2p::identity::ed25519::PublicKey::try_from_bytes(&identity.0).unwrap();
    libp2p::identity::PublicKey::from(key).to_peer_id()
}

/// What a node says of itself, and all peers and addresses that its Kademlia gives.
async fn crawl(at: SocketAddr) -> (identify::Info, BTreeSet<PeerId>, BTreeSet<String>) {
    let mut swarm = crawler();
    swarm.dial(DialOpts::unknown_peer_id().address(multiaddr(at)).build()).unwrap();
    let (mut said, mut peers, mut addresses) = (None, BTreeSet::new(), BTreeSet::new());
    let work = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(CrawlEvent::Identify(identify::Event::Received { peer_id, info, .. }))
                    if said.is_none() =>
                {
                    swarm.behaviour_mut().kad.add_address(&peer_id, multiaddr(at));
                    swarm.behaviour_mut().kad.get_closest_peers(PeerId::random());
                    said = Some(info);
                }
                SwarmEvent::Behaviour(CrawlEvent::Kad(kad::Event::OutboundQueryProgressed {
                    result: kad::QueryResult::GetClosestPeers(Ok(found)),
                    ..
                })) => {
                    for peer in found.peers {
                        peers.insert(peer.peer_id);
                        addresses.extend(peer.addrs.iter().map(ToString::to_string));
                    }
                    return;
                }
                _ => {}
            }
        }
    };
    // A node that has no routing table to show ends the crawl by saying so, or never.
    let _ = tokio::time::timeout(Duration::from_secs(10), work).await;
    (said.expect("the node says who it is"), peers, addresses)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_its_public_address_and_nothing_of_its_machine() {
    // As outside of a test network, behind a router: it listens at a private address.
    let public: SocketAddr = "9.9.9.9:4001".parse().unwrap();
    let node = Control::builder(crate::common::NETWORK)
        .identity(&crate::common::key(1))
        .listen("127.0.0.1:0".parse().unwrap())
        .advertise(public);
    let node = Node::start(node, true).await;
    let (said, _, _) = crawl(node.address).await;
    assert_eq!(said.agent_version, "zmesh");
    assert_eq!(said.protocol_version, "/zmesh/1/0707070707070707");
    let addresses: BTreeSet<String> = said.listen_addrs.iter().map(ToString::to_string).collect();
    let expected = ["/ip4/9.9.9.9/tcp/4001", "/ip4/9.9.9.9/udp/4001/quic-v1"].map(str::to_owned);
    assert_eq!(addresses, BTreeSet::from(expected));
    assert!(said.signed_peer_record.is_none());
    let unknown: Vec<_> = said
        .protocols
        .iter()
        .map(AsRef::as_ref)
        .filter(|name: &&str| {
            !name.starts_with("/zmesh/1/0707070707070707/")
                && !name.starts_with("/ipfs/id/")
                && !name.starts_with("/ipfs/ping/")
                && !name.starts_with("/libp2p/autonat/2/")
                && !name.starts_with("/libp2p/circuit/relay/")
                && *name != "/libp2p/dcutr"
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_passing_identity_is_not_found() {
    let first = Node::start(lasting(1), true).await;
    let second = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    let visitor = || Control::builder(crate::common::NETWORK).test_network(true).bootstrap(first.contact());
    let passing = Node::start(visitor(), false).await;
    until("the visitor is connected", || async {
        passing.peers().await.contains(&first.identity) && first.peers().await.len() == 2
    })
    .await;
    // The node that it asks, and whom that one knows.
    let lasting = BTreeSet::from([peer_id(first.identity), peer_id(second.identity)]);
    let seen = Mutex::new((BTreeSet::new(), BTreeSet::new()));
    until("the crawler sees the lasting node", || async {
        let (_, peers, addresses) = crawl(first.address).await;
        let enough = peers.is_superset(&lasting);
        *seen.lock().unwrap() = (peers, addresses);
        enough
    })
    .await;
    let (peers, addresses) = seen.into_inner().unwrap();
    let port = second.address.port().to_string();
    assert!(addresses.iter().any(|address| address.contains(&port)), "the lasting one has an address: {addresses:?}");
    assert_eq!(peers, lasting, "the visitor is not among them");
    // What it knows of itself changes with each session.
    let again = Node::start(visitor(), false).await;
    assert_ne!(passing.identity, again.identity);
    assert_eq!(first.with(|control| control.status()).await.known, 1, "only the lasting node is remembered");
}

//! Directory nodes over real connections: descriptors spread, documents are fetched, verified, given on, and kept.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::until;
use zmesh_control::directory::{DirectoryHandle, DirectoryNode};
use zmesh_control::{Contact, Control, Limits, PeerIdentity, Store};
use zmesh_proto::directory::{ByHand, Chain};
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::random::Generator;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, Parameters, Snapshot, Voter, VoterSet};
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::SignerId;

/// How long a descriptor of these tests lives, in seconds.
const LIFE: u64 = 7_200;

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn relay_keys(n: u8) -> RelayKeys {
    RelayKeys::generate(&mut Generator::new(&[n; 32]), unix())
}

fn voters() -> Vec<SignerKey> {
    (1..=4).map(|n| relay_keys(n).signer()).collect()
}

/// A network of four voters with epochs of a minute, of which one has passed.
fn genesis() -> Genesis {
    let voter =
        |(n, key): (usize, &SignerKey)| Voter { key: SignerId(key.public()), operator: format!("operator {n}") };
    let voters = VoterSet::new(voters().iter().enumerate().map(voter).collect(), 1).unwrap();
    Genesis::new(GenesisTerms {
        name: "loopback".to_owned(),
        test_network: true,
        epoch_length: 60,
        epoch_zero: unix() - 90,
        voters_per_operator: 1,
        voters,
        parameters: Parameters::new(),
    })
    .unwrap()
}

fn descriptor(n: u8, now: u64) -> Descriptor {
    let info = DescriptorInfo {
        nickname: format!("relay{n}"),
        operator: format!("operator {n}"),
        family: None,
        country: None,
        addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9_000 + u16::from(n)))],
        exit: None,
        meeting: false,
        cache: false,
        mixer: false,
        directory: true,
        region: None,
        control: Vec::new(),
    };
    Descriptor::create(&relay_keys(n), &info, Terms { published: now, expires: now + LIFE, revision: now }).unwrap()
}

struct Member {
    handle: DirectoryHandle,
    contact: Contact,
}

async fn start(genesis: &Genesis, n: u8, contact: Option<Contact>, store: Option<Arc<Store>>) -> Member {
    let keys = relay_keys(n);
    let mut control = Control::builder(genesis.network_id())
        .identity(keys.identity())
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .limits(Limits::one_machine());
    if let Some(contact) = contact {
        control = control.bootstrap(contact);
    }
    let describe = Box::new(move |now| Some(descriptor(n, now)));
    let mut node = DirectoryNode::new(genesis.clone(), control).describe(describe, Duration::from_secs(60));
    if let Some(store) = store {
        node = node.store(store);
    }
    let handle = node.start().unwrap();
    let mut listening = handle.listening();
    let address = *listening.wait_for(|all| !all.is_empty()).await.unwrap().first().unwrap();
    let contact = Contact { address, identity: Some(PeerIdentity(keys.identity_public())) };
    Member { handle, contact }
}

async fn network(genesis: &Genesis, count: u8) -> Vec<Member> {
    let mut members = vec![start(genesis, 1, None, None).await];
    let first = members[0].contact;
    for n in 2..=count {
        members.push(start(genesis, n, Some(first), None).await);
    }
    members
}

fn sign(chain: &mut Chain, epoch: u64, relays: &[u8]) -> Snapshot {
    let now = unix();
    let hand = ByHand::new(chain, epoch, relays.iter().map(|n| descriptor(*n, now)).collect());
    let snapshot = hand.sign(chain, &voters()).unwrap();
    chain.advance(snapshot.document().signed()).unwrap();
    snapshot
}

async fn all_reach(members: &[Member], epoch: u64, relays: usize) {
    for member in members {
        until("every node holds the document", || async {
            let status = member.handle.status().await.unwrap();
            status.epoch == epoch && status.relays == relays
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_and_documents_reach_everybody_and_newcomers() {
    let genesis = genesis();
    let mut members = network(&genesis, 5).await;
    for member in &members {
        until("every node holds every descriptor", || async { member.handle.status().await.unwrap().descriptors == 5 })
            .await;
    }
    let mut chain = Chain::from_genesis(genesis.clone());
    members[3].handle.publish(sign(&mut chain, 1, &[1, 2, 3, 4, 5])).await;
    all_reach(&members, 1, 5).await;
    members[1].handle.publish(sign(&mut chain, 2, &[1, 2, 4])).await;
    all_reach(&members, 2, 3).await;

    let contact = members[2].contact;
    members.push(start(&genesis, 6, Some(contact), None).await);
    all_reach(&members, 2, 3).await;
    let documents = members[5].handle.documents().borrow().clone().unwrap();
    assert_eq!(documents.held.hash(), chain.head().hash);
    assert_eq!(documents.held.network(unix()).unwrap().relays().len(), 3);
    until("the newcomer holds the others' descriptors", || async {
        members[5].handle.status().await.unwrap().descriptors == 6
    })
    .await;
    for member in members {
        member.handle.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_too_few_voters_goes_nowhere() {
    let genesis = genesis();
    let members = network(&genesis, 3).await;
    for member in &members {
        until("they are connected", || async { member.handle.status().await.unwrap().control.peers == 2 }).await;
    }
    let chain = Chain::from_genesis(genesis.clone());
    let two = ByHand::new(&chain, 1, vec![descriptor(1, unix())]).sign(&chain, &voters()[..2]).unwrap();
    members[0].handle.publish(two).await;
    // What follows on the same connections is there, so the other was not on its way any more.
    let mut chain = chain;
    members[1].handle.publish(sign(&mut chain, 2, &[1, 2])).await;
    all_reach(&members, 2, 2).await;
    for member in &members {
        assert_eq!(member.handle.documents().borrow().as_ref().unwrap().held.hash(), chain.head().hash);
        assert!(member.handle.documents().borrow().as_ref().unwrap().earlier.is_empty(), "the other was never held");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_has_what_it_had() {
    let genesis = genesis();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let first = start(&genesis, 1, None, None).await;
    let store = Arc::new(Store::open(&path).unwrap());
    let second = start(&genesis, 2, Some(first.contact), Some(store)).await;
    let mut chain = Chain::from_genesis(genesis.clone());
    until("they are connected", || async { second.handle.status().await.unwrap().descriptors == 2 }).await;
    first.handle.publish(sign(&mut chain, 1, &[1, 2])).await;
    until("the document is there", || async { second.handle.status().await.unwrap().epoch == 1 }).await;
    second.handle.stop().await;
    first.handle.stop().await;

    // Nobody is left to ask.
    let store = Arc::new(Store::open(&path).unwrap());
    let second = start(&genesis, 2, None, Some(store)).await;
    let status = second.handle.status().await.unwrap();
    assert_eq!((status.epoch, status.relays, status.descriptors), (1, 2, 2));
    assert_eq!(second.handle.documents().borrow().as_ref().unwrap().held.hash(), chain.head().hash);
    second.handle.stop().await;
}

//! A network in which somebody runs a later version: what that one says more is passed on as it came and is no reproach.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use crate::common::directory::{Member, genesis, relay_keys, start, unix};
use crate::common::{Node, until};
use ed25519_dalek::Signer as _;
use prost::Message;
use zmesh_control::directory::{Answer, Question};
use zmesh_control::{Control, Limits, Store, Topic};
use zmesh_proto::directory::Chain;
use zmesh_proto::directory::voting::{Memory, Voting};
use zmesh_proto::wire::control::Genesis;

const EPOCH: u32 = 12;
/// A time before the first epoch, so that the vote of the later version is there in time.
const BEFORE: u64 = 20;

#[derive(Clone, PartialEq, Message)]
struct LaterBody {
    #[prost(bytes = "vec", tag = "1")]
    network: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    previous: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    voter: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    value: Vec<u8>,
    #[prost(string, tag = "40")]
    news: String,
}

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct LaterQuestion {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "40")]
    news: String,
}

/// A commitment of the fourth voter that says more than this version knows.
fn vote(genesis: &Genesis) -> Vec<u8> {
    let (keys, network) = (relay_keys(4), genesis.network_id().0.to_vec());
    let body = LaterBody {
        previous: network.clone(),
        network,
        voter: keys.identity_public().to_vec(),
        value: vec![9; 32],
        news: "of tomorrow".into(),
    }
    .encode_to_vec();
    let signature = keys.identity().sign(&[b"zmesh vote commitment v1\0", body.as_slice()].concat());
    Envelope { kind: 1, body, signature: signature.to_bytes().to_vec() }.encode_to_vec()
}

async fn raw(genesis: &Genesis, n: u8, of: &Member) -> Node {
    let keys = relay_keys(n);
    let builder = Control::builder(genesis.network_id())
        .identity(keys.identity())
        .test_network(true)
        .limits(Limits::one_machine())
        .bootstrap(of.contact);
    let node = Node::start_reader(builder).await;
    until("it is connected", || async { !node.peers().await.is_empty() }).await;
    node
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_version_says_is_passed_on_and_held_against_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(EPOCH, unix() + BEFORE);
    let store = |n: u8| Some(Arc::new(Store::open(&dir.path().join(n.to_string())).unwrap()));
    let mut members = vec![start(&genesis, 1, None, store(1), true).await];
    let contact = members[0].contact;
    for n in 2..=3 {
        members.push(start(&genesis, n, Some(contact), store(n), true).await);
    }
    for member in &members {
        until("they have met", || async { member.handle.status().await.unwrap().control.peers >= 2 }).await;
    }
    let later = raw(&genesis, 4, &members[0]).await;
    let said = vote(&genesis);
    later.publish(Topic::Votes, &said).await;
    for (kind, news) in [(1, "a field"), (99, "a kind")] {
        let question = LaterQuestion { kind, news: news.into() }.encode_to_vec();
        let peer = later.peers().await[0];
        later.with(move |control| control.ask(peer, question)).await.unwrap();
    }
    until("both questions have come to an end", || async { later.seen(|seen| seen.answers.len()) == 2 }).await;
    later.seen(|seen| {
        assert!(seen.answers.iter().any(Result::is_ok), "a question with a new field is answered");
        assert!(seen.answers.iter().any(Result::is_err), "a new kind is refused");
    });

    // Somebody at another node finds the vote there, byte by byte.
    let reader = raw(&genesis, 5, &members[2]).await;
    let nothing = Voting::new(Chain::from_genesis(genesis.clone()), None, Memory::Fresh, 0).unwrap().have();
    until("the vote was passed on as it came", || async {
        let (peer, question) = (reader.peers().await[0], Question::Votes { have: nothing.clone() }.encode());
        // A refused or lost question is asked again.
        let _ = reader.with(move |control| control.ask(peer, question)).await;
        reader.seen(|seen| {
            let answers = seen.answers.iter().filter_map(|answer| Answer::decode(answer.as_ref().ok()?).ok());
            answers.flat_map(|answer| answer.parts).any(|part| part.ends_with(&said))
        })
    })
    .await;

    // And they agree, with a voter among them whom they understand in part.
    for member in &members {
        until("a document", || async { member.handle.status().await.unwrap().epoch > 0 }).await;
        let control = member.handle.status().await.unwrap().control;
        assert_eq!((control.rejected, control.cut, control.banned), (0, 0, 0));
    }
    assert!(!later.peers().await.is_empty(), "it is still welcome");
}

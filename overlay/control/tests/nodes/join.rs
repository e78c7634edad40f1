//! Nodes find each other from one address, and gossip reaches all.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::common::{Node, lasting, until};
use zmesh_control::{AskError, Control, Limits, Topic};
use zmesh_proto::wire::document::NetworkId;

async fn network(count: u8) -> Vec<Node> {
    let mut nodes = vec![Node::start(lasting(1), true).await];
    let first = nodes[0].contact();
    for n in 2..=count {
        nodes.push(Node::start(lasting(n).bootstrap(first), true).await);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_meet_through_one_address() {
    let nodes = network(3).await;
    for node in &nodes {
        until("each knows both others", || async { node.peers().await.len() == 2 }).await;
    }
    for topic in Topic::ALL {
        let message = format!("about {topic}").into_bytes();
        // Meshes take a heartbeat or two.
        until("a message reaches all", || async {
            let again = message.clone();
            let _ = nodes[1].with(move |control| control.publish(topic, again)).await;
            nodes[0].got(&message) + nodes[2].got(&message) == 2
        })
        .await;
        nodes[0].seen(|seen| assert!(seen.messages.contains(&(topic, message.clone())), "under its topic"));
    }
    assert_eq!(nodes[1].got(b"about meta"), 0, "not to its author");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_meet_through_one_address_and_hear_everything_once() {
    let nodes = network(20).await;
    for node in &nodes {
        until("each has enough peers", || async { node.peers().await.len() >= 6 }).await;
    }
    // Not through the first node alone: it ends, and the others go on.
    let mut nodes = nodes;
    nodes.remove(0).kill().await;
    for n in 0..5 {
        let message = [b"message ", &[b'0' + n][..]].concat();
        nodes[usize::from(n)].publish(Topic::Descriptors, &message).await;
        until("a message reaches all", || async {
            nodes.iter().filter(|node| node.got(&message) > 0).count() == nodes.len() - 1
        })
        .await;
        assert!(nodes.iter().all(|node| node.got(&message) <= 1), "nobody is told twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_answered_within_bounds() {
    let nodes = network(2).await;
    let to = nodes[0].identity;
    until("they are connected", || async { nodes[1].peers().await.contains(&to) }).await;
    for (n, question) in [&b"hello"[..], b"much", b"too much", b"refuse"].into_iter().enumerate() {
        let question = question.to_vec();
        nodes[1].with(move |control| control.ask(to, question)).await.unwrap();
        until("an end", || async { nodes[1].seen(|seen| seen.answers.len() > n) }).await;
    }
    nodes[1].seen(|seen| {
        assert_eq!(seen.answers[0].as_deref(), Ok(&b"hello"[..]));
        assert_eq!(seen.answers[1].as_ref().map(Vec::len), Ok(3 << 20));
        assert!(seen.answers[2].is_err() && seen.answers[3].is_err());
    });
    let long = nodes[1].with(move |control| control.ask(to, vec![0; zmesh_control::QUESTION_MAX + 1])).await;
    assert_eq!(long, Err(AskError::TooLong));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_do_not_mix() {
    let ours = network(2).await;
    let of_another = |n: u8| {
        Control::builder(NetworkId([8; 32]))
            .identity(&crate::common::key(n))
            .listen(([127, 0, 0, 1], 0).into())
            .test_network(true)
            .limits(Limits::one_machine())
            .bootstrap(ours[0].contact())
    };
    let other = Node::start(of_another(99), true).await;
    // It calls both, and meets the one that is of its network.
    let friend = Node::start(of_another(98).bootstrap(other.contact()), true).await;
    until("ours meet", || async { ours[1].peers().await.len() == 1 }).await;
    until("the others meet", || async { friend.peers().await.len() == 1 }).await;
    assert_eq!(friend.peers().await, [other.identity]);
    assert_eq!(ours[0].peers().await, [ours[1].identity]);
}

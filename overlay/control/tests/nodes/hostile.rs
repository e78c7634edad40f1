//! Peers that lie, flood, or come in crowds.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr};

use crate::common::{Node, lasting, until};
use zmesh_control::{Claims, Control, Limits, Topic, hello};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_forged_messages_is_banned_and_the_others_go_on() {
    let first = Node::start(lasting(1), true).await;
    let contact = first.contact();
    let second = Node::start(lasting(2).bootstrap(contact), true).await;
    let liar = Node::start(lasting(3).bootstrap(contact), true).await;
    for node in [&first, &second, &liar] {
        until("all are connected", || async { node.peers().await.len() == 2 }).await;
    }
    let bad = liar.identity;
    let mut lies = 0_u32;
    until("the liar is banned by both", || {
        lies += 1;
        let lie = format!("!forged {lies}").into_bytes();
        let nodes = [&first, &second];
        let liar = &liar;
        async move {
            let _ = liar.with(move |control| control.publish(Topic::Votes, lie)).await;
            let mut bans = 0;
            for node in nodes {
                bans += usize::from(node.with(move |control| control.is_banned(&bad)).await);
            }
            bans == 2
        }
    })
    .await;
    until("it is cut off", || async { first.peers().await == [second.identity] }).await;
    assert!(first.with(|control| control.status()).await.rejected >= 2);
    // It stays out, though it calls again and again.
    until("nobody takes its messages", || async {
        liar.with(move |control| control.publish(Topic::Votes, b"!one more".to_vec())).await.is_err()
    })
    .await;
    until("the others still hear each other", || async {
        let _ = second.with(|control| control.publish(Topic::Votes, b"good".to_vec())).await;
        first.got(b"good") == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_merely_old_is_nobodys_fault() {
    let first = Node::start(lasting(1), true).await;
    let second = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    until("they are connected", || async { second.peers().await.len() == 1 }).await;
    for n in 0..20 {
        let old = format!("?{n}").into_bytes();
        until("it is seen", || async {
            let old_again = old.clone();
            let _ = second.with(move |control| control.publish(Topic::Votes, old_again)).await;
            first.got(&old) > 0
        })
        .await;
    }
    let peer = second.identity;
    assert!(!first.with(move |control| control.is_banned(&peer)).await);
    assert_eq!(first.with(|control| control.status()).await.ignored, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_what_is_not_accepted_is_cut() {
    let mut limits = Limits::one_machine();
    limits.messages_per_second = 5;
    let first = Node::start(lasting(1).limits(limits), true).await;
    let flooder = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    until("they are connected", || async { flooder.peers().await.len() == 1 }).await;
    let bad = flooder.identity;
    let mut sent = 0_u32;
    until("the flooder is banned", || {
        let (first, flooder) = (&first, &flooder);
        let from = sent;
        sent += 40;
        async move {
            let _ = flooder
                .with(move |control| {
                    for n in from..from + 40 {
                        let _ = control.publish(Topic::Meta, format!("?{n}").into_bytes());
                    }
                })
                .await;
            first.with(move |control| control.is_banned(&bad)).await
        }
    })
    .await;
    let status = first.with(|control| control.status()).await;
    assert!(status.ignored >= 50, "its share was taken: {status:?}");
    assert!(status.banned == 1 && status.rejected == 0, "{status:?}");
}

/// A share is a share of time, and not of a connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_again_has_no_other_share() {
    let mut limits = Limits::one_machine();
    // One more each ten seconds.
    limits.asks_per_minute = 6;
    let first = Node::start(lasting(1).limits(limits), true).await;
    for round in 0..2 {
        let asker = Node::start(lasting(2).bootstrap(first.contact()), true).await;
        until("they are connected", || async {
            asker.peers().await.len() == 1 && first.peers().await == [asker.identity]
        })
        .await;
        let cut = first.with(|control| control.status()).await.cut;
        assert_eq!(cut, 0, "six are its share");
        let to = first.identity;
        for _ in 0..6 {
            let _ = asker.with(move |control| control.ask(to, b"once more".to_vec())).await;
        }
        if round == 0 {
            until("all are answered", || async { asker.seen(|seen| seen.answers.len()) == 6 }).await;
            asker.kill().await;
            until("it is gone", || async { first.peers().await.is_empty() }).await;
        } else {
            until("it is cut", || async { first.with(|control| control.status()).await.cut == 1 }).await;
        }
    }
}

/// Whoever is fast brings most of what is good: that is what neighbours are for. Were it a fault, a crowd of identities that each say
/// little would have honest nodes ban each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_much_that_is_good_is_no_flooder() {
    let mut limits = Limits::one_machine();
    limits.messages_per_second = 5;
    let first = Node::start(lasting(1).limits(limits.clone()), true).await;
    let second = Node::start(lasting(2).limits(limits).bootstrap(first.contact()), true).await;
    until("they are connected", || async { second.peers().await.len() == 1 }).await;
    let mut sent = 0_u32;
    until("many times its share was taken", || {
        let (first, second) = (&first, &second);
        let from = sent;
        sent += 40;
        async move {
            let _ = second
                .with(move |control| {
                    for n in from..from + 40 {
                        let _ = control.publish(Topic::Meta, n.to_be_bytes().to_vec());
                    }
                })
                .await;
            first.with(|control| control.status()).await.accepted >= 600
        }
    })
    .await;
    let status = first.with(|control| control.status()).await;
    assert!(status.banned == 0 && status.cut == 0, "{status:?}");
    assert_eq!(first.peers().await, [second.identity]);
}

/// One greeting is enough; each has proofs in it that somebody has to look at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_greets_without_end_is_cut() {
    let first = Node::start(lasting(1), true).await;
    let mut rude = crate::common::raw::connect(first.address, 66).await;
    let greeting = hello::encode(&crate::common::NETWORK, &Claims { lasting: true, ..Claims::default() });
    let answered = rude.greet_until_cut(&greeting, 100).await;
    assert!((1..=4).contains(&answered), "{answered} greetings were answered");
    until("it was cut", || async { first.with(|control| control.status()).await.cut >= 1 }).await;
}

/// Sixty identities cost nothing; sixty addresses do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_from_one_address_leaves_room_for_others() {
    let mut limits = Limits::one_machine();
    limits.per_address = 8;
    limits.arrivals_per_minute = 20;
    let first = Node::start(lasting(1).limits(limits), true).await;
    let mut crowd = Vec::new();
    for _ in 0..60 {
        let sybil = Control::builder(crate::common::NETWORK).test_network(true).bootstrap(first.contact());
        crowd.push(Node::start(sybil, false).await);
    }
    until("the crowd was turned away", || async { first.with(|control| control.status()).await.turned_away >= 60 })
        .await;
    let inside = first.peers().await.len();
    assert!((1..=8).contains(&inside), "{inside} of the crowd are in");
    let elsewhere: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), 0).into();
    let honest = Control::builder(crate::common::NETWORK)
        .identity(&crate::common::key(2))
        .listen(elsewhere)
        .test_network(true)
        .limits(Limits::one_machine())
        .bootstrap(first.contact());
    let honest = Node::start(honest, true).await;
    until("somebody from elsewhere gets in", || async { honest.peers().await.contains(&first.identity) }).await;
    let connections = first.with(|control| control.status()).await.connections;
    assert!(connections <= 10, "{connections} connections");
}

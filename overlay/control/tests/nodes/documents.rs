//! Directory nodes over real connections: descriptors spread, documents are fetched, verified, given on, and kept.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use crate::common::directory::{Member, descriptor, relay_keys, start, unix, voters};
use crate::common::{Node, until};
use zmesh_control::directory::Question;
use zmesh_control::{Builder, Contact, Control, Limits, Store, Topic};
use zmesh_proto::directory::{ByHand, Chain, Health};
use zmesh_proto::wire::control::{Genesis, HEARTBEAT_MAX, Heartbeat, Snapshot, Vitals};

/// A network with epochs of a minute, of which one has passed.
fn genesis() -> Genesis {
    crate::common::directory::genesis(60, unix() - 90)
}

async fn network(genesis: &Genesis, count: u8) -> Vec<Member> {
    let mut members = vec![start(genesis, 1, None, None, false).await];
    let first = members[0].contact;
    for n in 2..=count {
        members.push(start(genesis, n, Some(first), None, false).await);
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
    members.push(start(&genesis, 6, Some(contact), None, false).await);
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
    // By somebody who does not keep to the rules: a directory node would not even send it.
    let liar = Node::start(stranger(&genesis, members[0].contact), true).await;
    liar.publish(Topic::Snapshots, &two.document().signed().encode()).await;
    until("it was refused", || async { members[0].handle.status().await.unwrap().control.rejected > 0 }).await;
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
    let first = start(&genesis, 1, None, None, false).await;
    let store = Arc::new(Store::open(&path).unwrap());
    let second = start(&genesis, 2, Some(first.contact), Some(store), false).await;
    let mut chain = Chain::from_genesis(genesis.clone());
    until("they are connected", || async { second.handle.status().await.unwrap().descriptors == 2 }).await;
    first.handle.publish(sign(&mut chain, 1, &[1, 2])).await;
    until("the document is there", || async { second.handle.status().await.unwrap().epoch == 1 }).await;
    second.handle.stop().await;
    first.handle.stop().await;

    // Nobody is left to ask.
    let store = Arc::new(Store::open(&path).unwrap());
    let second = start(&genesis, 2, None, Some(store), false).await;
    let status = second.handle.status().await.unwrap();
    assert_eq!((status.epoch, status.relays, status.descriptors), (1, 2, 2));
    assert_eq!(second.handle.documents().borrow().as_ref().unwrap().held.hash(), chain.head().hash);
    second.handle.stop().await;
}

/// A node of the same network that is no directory node.
fn stranger(genesis: &Genesis, contact: Contact) -> Builder {
    Control::builder(genesis.network_id())
        .identity(&crate::common::key(200))
        .listen(([127, 0, 0, 1], 0).into())
        .test_network(true)
        .limits(Limits::one_machine())
        .bootstrap(contact)
}

/// Identities cost nothing, and each may sign a descriptor of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_descriptors_takes_few_places_and_keeps_nobody_out() {
    let genesis = genesis();
    let member = start(&genesis, 1, None, None, false).await;
    let flooder = Node::start(stranger(&genesis, member.contact), true).await;
    until("they are connected", || async { flooder.peers().await.len() == 1 }).await;
    let now = unix();
    let flood: Vec<_> = (50..250).map(|n| descriptor(n, now).as_bytes().to_vec()).collect();
    for bytes in flood {
        flooder.publish(Topic::Descriptors, &bytes).await;
    }
    until("all were judged", || async {
        let status = member.handle.status().await.unwrap();
        status.control.accepted + status.control.ignored >= 200
    })
    .await;
    let status = member.handle.status().await.unwrap();
    assert!(status.descriptors <= 1 + 40, "{status:?}");
    assert!(status.control.accepted <= 40, "little is passed on: {status:?}");
    // A newcomer comes in person.
    let newcomer = start(&genesis, 2, Some(member.contact), None, false).await;
    until("it is known", || async { newcomer.handle.status().await.unwrap().control.peers >= 1 }).await;
    let before = status.descriptors;
    until("its descriptor has a place", || async { member.handle.status().await.unwrap().descriptors > before }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_gets_one_document_once_in_a_while() {
    let genesis = genesis();
    let member = start(&genesis, 1, None, None, false).await;
    let mut chain = Chain::from_genesis(genesis.clone());
    member.handle.publish(sign(&mut chain, 1, &[1, 2, 3])).await;
    let reader = Node::start(stranger(&genesis, member.contact), true).await;
    let to = member.contact.identity.unwrap();
    until("they are connected", || async { reader.peers().await.contains(&to) }).await;
    let question = || Question::Document { have: None }.encode();
    for n in 0..3 {
        reader.with(move |control| control.ask(to, question())).await.unwrap();
        until("an end", || async { reader.seen(|seen| seen.answers.len() > n) }).await;
    }
    reader.seen(|seen| {
        assert!(seen.answers[0].as_ref().is_ok_and(|answer| answer.len() > 1_000));
        assert!(seen.answers[1].is_err() && seen.answers[2].is_err(), "not again at once");
    });
    // One that is longer than what the question is worth is not read.
    reader.with(move |control| control.ask_within(to, Question::Head.encode(), 100)).await.unwrap();
    reader.with(move |control| control.ask_within(to, Question::Head.encode(), 25 << 10)).await.unwrap();
    until("an end", || async { reader.seen(|seen| seen.answers.len() == 5) }).await;
    reader.seen(|seen| assert_eq!(seen.answers[3..].iter().filter(|answer| answer.is_ok()).count(), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_of_the_document_say_that_they_live_and_nobody_else_does() {
    let genesis = crate::common::directory::genesis(10, unix() - 15);
    let members = network(&genesis, 5).await;
    let mut chain = Chain::from_genesis(genesis.clone());
    // The fifth is there and not listed.
    members[0].handle.publish(sign(&mut chain, 1, &[1, 2, 3, 4])).await;
    for member in &members {
        // Each says it once an epoch; after a whole one its load is known, and it is connected with all.
        let all = |health: Health| (health.alive, health.load, health.peers) == (4, [0, 0, 4, 0, 0], 1);
        until("everybody hears the four", || async { all(member.handle.status().await.unwrap().health) }).await;
        assert_eq!(member.handle.status().await.unwrap().health.typical_load(), Some(2));
    }

    let first = &members[0];
    let liar = Node::start(stranger(&genesis, first.contact), true).await;
    let to = first.contact.identity.unwrap();
    until("they are connected", || async { liar.peers().await.contains(&to) }).await;
    let vitals = Vitals::round((9, 9), 60_000, 0, Some(1_000));
    let say = |n: u8| Heartbeat::sign(genesis.network_id(), genesis.epoch_at(unix()), vitals, &relay_keys(n).signer());
    let before = first.handle.status().await.unwrap().control;
    // Of a relay that no document lists; and of one that has said something for this epoch, as far as it knows itself.
    let idle = vec![say(5), say(200)];
    let mut forged = say(2);
    *forged.last_mut().unwrap() ^= 1;
    let bad = vec![forged, vec![0; HEARTBEAT_MAX + 1]];
    for (messages, what) in [(idle, "ignored"), (bad, "rejected")] {
        let count = messages.len() as u64;
        liar.with(move |control| {
            for bytes in messages {
                let _ = control.publish(Topic::Meta, bytes);
            }
        })
        .await;
        until(what, || async {
            let now = first.handle.status().await.unwrap().control;
            // A forged one for an epoch in which the relay was heard is not even verified.
            now.ignored + now.rejected >= before.ignored + before.rejected + count
                && (what == "ignored" || now.rejected > before.rejected)
        })
        .await;
    }
    for member in members {
        let health = member.handle.status().await.unwrap().health;
        assert_eq!((health.alive, health.load[4], health.peers), (4, 0, 1), "nothing of that is counted");
        member.handle.stop().await;
    }
}

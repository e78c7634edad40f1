//! Four voters agree over real connections although one of them is silent, and go on after one was restarted.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::common::directory::{Member, Says, genesis, relay_keys, start, start_with, unix};
use crate::common::until;
use tokio::sync::watch;
use zmesh_control::{Contact, Store};
use zmesh_proto::directory::{Coordinate, Measure};
use zmesh_proto::wire::control::{Genesis, HeaderHash, Voter};
use zmesh_proto::wire::document::SignerId;
use zmesh_sphinx::RelayId;

/// Short epochs: a document is agreed on within half of one.
const EPOCH: u32 = 12;

fn store(dir: &Path, n: u8) -> Option<Arc<Store>> {
    Some(Arc::new(Store::open(&dir.join(n.to_string())).unwrap()))
}

async fn member(genesis: &Genesis, n: u8, contact: Option<Contact>, dir: &Path) -> Member {
    // The fourth is a relay like the others, whose voter says nothing.
    start(genesis, n, contact, store(dir, n), n != 4).await
}

fn newest(member: &Member) -> Option<(u64, HeaderHash, HeaderHash, usize)> {
    let documents = member.handle.documents().borrow().clone()?;
    let document = documents.held.snapshot().document();
    Some((
        documents.held.epoch(),
        documents.held.hash(),
        document.signed().header().previous(),
        document.relays().len(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_of_four_voters_agree_and_all_follow() {
    let dir = tempfile::tempdir().unwrap();
    // The first epoch begins when they have met.
    let genesis = genesis(EPOCH, unix() + 10);
    let mut members = vec![member(&genesis, 1, None, dir.path()).await];
    let contact = members[0].contact;
    for n in 2..=4 {
        members.push(member(&genesis, n, Some(contact), dir.path()).await);
    }
    // Kept as soon as it is there: a second one may be out before everybody has the first.
    until("a first document", || async { newest(&members[0]).is_some() }).await;
    let first = newest(&members[0]).unwrap();
    for member in &members {
        until("a first document", || async { newest(member).is_some() }).await;
    }
    assert_eq!(first.2, HeaderHash(genesis.network_id().0), "it follows the genesis");
    until("all hold one and the same", || async {
        members
            .iter()
            .all(|member| newest(member).map(|(_, hash, ..)| hash) == newest(&members[0]).map(|(_, hash, ..)| hash))
    })
    .await;
    assert!(first.3 >= 3, "the relays that were up are listed: {}", first.3);

    // A voter is restarted with what it kept, and the others need its vote for the next document.
    let second = members.remove(1);
    second.handle.stop().await;
    members.insert(1, member(&genesis, 2, Some(contact), dir.path()).await);
    let before = newest(&members[0]).unwrap().0;
    for member in &members {
        until("a later document", || async { newest(member).is_some_and(|(epoch, ..)| epoch > before) }).await;
    }
    for member in members {
        member.handle.stop().await;
    }
}

/// Nobody was there when the first epoch began: the machines start at times of their own, and all are late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_begins_late_agrees_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(EPOCH, unix() - 100 * u64::from(EPOCH));
    let mut members = vec![member(&genesis, 1, None, dir.path()).await];
    let contact = members[0].contact;
    for n in 2..=3 {
        members.push(member(&genesis, n, Some(contact), dir.path()).await);
    }
    for member in &members {
        until("a document", || async { newest(member).is_some() }).await;
    }
    assert!(newest(&members[0]).unwrap().0 >= 100, "it is of the present");
    for member in members {
        member.handle.stop().await;
    }
}

/// Whom more than two thirds of the voters name, and saw up, votes; one whom people name and nobody saw does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_name_a_voter_and_it_votes() {
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(EPOCH, unix() + 10);
    let voter = |n: u8| Voter { key: SignerId(relay_keys(n).signer().public()), operator: format!("operator {n}") };
    let mut members: Vec<Member> = Vec::new();
    for n in 1..=5 {
        let contact = members.first().map(|first| first.contact);
        let wanted = vec![voter(5), voter(6)];
        let says = Says { wanted, ..Says::default() };
        members.push(start_with(&genesis, n, contact, store(dir.path(), n), true, says).await);
    }
    assert!(!members[4].handle.status().await.unwrap().votes, "it does not vote yet");
    for member in &members {
        until("there are five voters", || async { member.handle.status().await.unwrap().voters == 5 }).await;
    }
    assert!(members[4].handle.status().await.unwrap().votes);
    // The next document is signed by four of the five at least, and names no sixth one.
    let before = newest(&members[4]).unwrap().0;
    for member in &members {
        until("a later document", || async { newest(member).is_some_and(|(epoch, ..)| epoch > before) }).await;
        assert_eq!(member.handle.status().await.unwrap().voters, 5, "nobody saw the sixth one");
    }
    for member in members {
        member.handle.stop().await;
    }
}

/// What voter `n` found of every relay: figures that differ by some percent, and one voter's a hundred times as high and anywhere.
fn found(n: u8, liar: u8) -> BTreeMap<RelayId, Measure> {
    let near = |n: u8| Measure {
        capacity: 1_000 + 10 * u32::from(n),
        place: Some(Coordinate { x: 200 + i16::from(n), y: -100 - i16::from(n), height: 30 + u16::from(n) }),
    };
    let far = Measure { capacity: 100_000, place: Some(Coordinate { x: -5_000, y: 5_000, height: 2_500 }) };
    (1..=4)
        .filter(|other| *other != n)
        .map(|other| (relay_keys(other).id(), if n == liar { far } else { near(n) }))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_voters_measured_is_in_the_document_and_one_who_lies_moves_nothing() {
    const LIAR: u8 = 2;
    let dir = tempfile::tempdir().unwrap();
    let genesis = genesis(EPOCH, unix() + 10);
    let (mut members, mut contact, mut tell) = (Vec::new(), None, Vec::new());
    for n in 1..=4 {
        let (sender, measures) = watch::channel(Arc::new(found(n, LIAR)));
        let says = Says { measures: Some(measures), ..Says::default() };
        let member = start_with(&genesis, n, contact, store(dir.path(), n), true, says).await;
        contact = contact.or(Some(member.contact));
        members.push(member);
        tell.push(sender);
    }
    let documents = members[0].handle.documents();
    let entries = || {
        let newest = documents.borrow();
        newest.as_ref().map_or(Vec::new(), |newest| newest.held.snapshot().document().relays().to_vec())
    };
    // A document may count three of four ballots, and then there are two figures of a relay, fewer than are needed.
    let mut found = Vec::new();
    until("a document with a figure of everybody", || {
        found = entries();
        let whole = found.iter().filter(|entry| entry.measure.capacity > 0).count() == 4;
        async move { whole }
    })
    .await;
    for entry in found {
        let Measure { capacity, place } = entry.measure;
        assert!((1_010..=1_040).contains(&capacity), "{capacity}");
        let Coordinate { x, y, height } = place.unwrap();
        assert!((201..=204).contains(&x) && (-104..=-101).contains(&y) && (31..=34).contains(&height), "{place:?}");
    }
    for member in members {
        member.handle.stop().await;
    }
}

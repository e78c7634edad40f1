//! Others confirm at which address a node is reached (AutoNAT v2), and confirm none that they do not reach. In network namespaces;
//! without the right to make them (root) the tests are skipped, and say so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;
use std::time::Duration;

use crate::common::places::{Places, behind, outside};
use crate::common::{Node, until};
use zmesh_control::{Contact, Limits};
use zmesh_netns::{rules, run};

/// What calls from outside meet at a machine that is closed: an answer that nobody is there, which is the end of a test at once. What
/// goes out, and the answers to that, pass; but no UDP, so that there is one address to test and not two.
const CLOSED: &str = "table ip closed {
    chain in { type filter hook input priority 0 ; policy accept ;
        ct state established accept ; iifname wan meta l4proto tcp counter reject with tcp reset ; }
    chain out { type filter hook output priority 0 ; policy accept ; oifname wan meta l4proto udp drop ; }
}";

/// Two that everybody reaches, to test others.
async fn testers(places: &mut Places) -> [Node; 2] {
    let first = places.start_public(1, false, None).await;
    let second = places.start_public(2, false, Some(first.contact())).await;
    [first, second]
}

/// Starts a node at a public address of which it knows nothing itself.
async fn start(places: &mut Places, namespace: &str, n: u8, contact: Contact) -> Node {
    let mut limits = Limits::default();
    // Addresses are tested for the second time after half of it.
    limits.confirm_time = Duration::from_secs(4);
    places.start(namespace, behind(n).bootstrap(contact).limits(limits)).await
}

async fn is_reachable(node: &Node) -> bool {
    node.with(|control| control.status().reachable).await
}

/// Calls that were turned away at a closed machine.
fn turned_away(namespace: &str) -> u64 {
    let args = ["netns", "exec", namespace, "nft", "list", "chain", "ip", "closed", "in"];
    let out = Command::new("ip").args(args).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let count = text.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no counter: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_confirm_an_address_that_they_reach() {
    let Some(mut places) = Places::new("open") else { return };
    let [first, _second] = testers(&mut places).await;
    let namespace = places.public(3);
    let node = start(&mut places, &namespace, 3, first.contact()).await;
    assert!(!is_reachable(&node).await, "it does not believe itself");
    until("others confirm it", || async { is_reachable(&node).await }).await;
    let told = node.seen(|seen| seen.reachable.clone());
    assert!(!told.is_empty() && told.iter().all(|address| *address == outside(3)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_confirms_an_address_that_is_closed_and_one_that_opens_is_tested_again() {
    let Some(mut places) = Places::new("closed") else { return };
    let [first, second] = testers(&mut places).await;
    let namespace = places.public(4);
    rules(&namespace, CLOSED).unwrap();
    let node = start(&mut places, &namespace, 4, first.contact()).await;
    until("it has met both", || async {
        let met = node.peers().await;
        met.contains(&first.identity) && met.contains(&second.identity)
    })
    .await;
    // Twice: by libp2p's own test, and by another one.
    until("others tried", || async { turned_away(&namespace) >= 2 }).await;
    assert!(!is_reachable(&node).await && node.seen(|seen| seen.reachable.is_empty()));

    run("ip", &["netns", "exec", &namespace, "nft", "delete", "table", "ip", "closed"]).unwrap();
    until("others confirm it", || async { is_reachable(&node).await }).await;
    assert!(node.seen(|seen| seen.reachable.iter().all(|address| *address == outside(4))));
    // Others are told the address itself, so that they can call it.
    let who = node.identity;
    let third = places.start_public(5, false, Some(first.contact())).await;
    until("a stranger has found it", || async { third.peers().await.contains(&who) }).await;
}

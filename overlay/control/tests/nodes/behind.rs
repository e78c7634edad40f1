//! Nodes behind translators of addresses: they are met at relays, punch through, and have their routers forward ports. In network
//! namespaces; without the right to make them (root) the tests are skipped, and say so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so, and the node inside talks by its output")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::places::{Home, Places, behind, outside};
use crate::common::{Node, until};
use zmesh_control::{Contact, Event, Limits};
use zmesh_netns::{Forwarder, Speaks};

/// Set for the node that runs alone in a namespace: the contact that it has.
const INSIDE: &str = "ZMESH_TEST_INSIDE";

/// Limits of a node that asks for a place at a relay so soon.
fn limits(confirm_time: Duration) -> Limits {
    let mut limits = Limits::default();
    limits.confirm_time = confirm_time;
    limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_router_is_met_at_a_relay_and_punched_to() {
    let Some(mut places) = Places::new("met") else { return };
    let (soon, never) = (Duration::from_secs(3), Duration::from_secs(86_400));
    let relay = places.start_public(1, true, None).await;
    let other = places.start_public(2, false, Some(relay.contact())).await;
    let Home { host, .. } = places.home(11, "masquerade");
    let met = places.start(&host, behind(11).bootstrap(relay.contact()).limits(limits(soon))).await;
    until("the relay has a place", || async { met.with(|control| control.status().met_at_relay).await }).await;
    assert!(!met.with(|control| control.status().reachable).await, "nobody reaches it directly");
    let who = met.identity;
    until("another one knows it", || async { other.peers().await.contains(&who) }).await;

    // These know nothing of the relay at first, and can be reached by nobody: whoever is connected in the end, they called.
    let home = places.home(12, "masquerade");
    let caller = places.start(&home.host, behind(12).bootstrap(other.contact()).limits(limits(never))).await;
    until("it is met", || async { caller.peers().await.contains(&who) }).await;
    until("the connection is direct", || async {
        let status = caller.with(|control| control.status()).await;
        status.punched > 0 && status.relayed == 0
    })
    .await;
    assert!(caller.peers().await.contains(&who));
    answers(&caller, &met).await;

    // Where the router takes another port for each peer there is no way through, and what the relay carries is all there is.
    let home = places.home(13, "masquerade fully-random");
    let strict = places.start(&home.host, behind(13).bootstrap(other.contact()).limits(limits(never))).await;
    until("it is met", || async { strict.peers().await.contains(&who) }).await;
    let status = strict.with(|control| control.status()).await;
    assert!(status.relayed > 0 && status.punched == 0, "{status:?}");
    answers(&strict, &met).await;
}

/// One asks the other and gets an answer.
async fn answers(one: &Node, other: &Node) {
    let peer = other.identity;
    one.with(move |control| control.ask(peer, b"are you there".to_vec())).await.unwrap();
    let told =
        || async { one.seen(|seen| seen.answers.iter().any(|answer| answer.as_deref() == Ok(b"are you there"))) };
    until("an answer", told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_forwards_the_ports_by_pcp() {
    forwards("a_router_forwards_the_ports_by_pcp", "pcp", Speaks { pcp: true, upnp: false }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_forwards_the_ports_by_upnp() {
    forwards("a_router_forwards_the_ports_by_upnp", "upnp", Speaks { pcp: false, upnp: true }).await;
}

/// A node behind a router that can be asked so is confirmed at the router's address, and the router has its ports back when it ends.
///
/// The node is a process of its own: where the gateway is, the system says of the namespace of a process.
async fn forwards(test: &str, name: &str, speaks: Speaks) {
    if let Ok(contact) = std::env::var(INSIDE) {
        return inside(contact.parse().unwrap()).await;
    }
    let Some(mut places) = Places::new(name) else { return };
    if !Forwarder::is_installed() {
        println!("SKIPPED: miniupnpd is not installed (.ci/packages lab installs it)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let first = places.start_public(1, true, None).await;
    let _second = places.start_public(2, true, Some(first.contact())).await;
    let Home { router, host, inside } = places.home(11, "masquerade");
    let _service = Forwarder::start(&router, &inside, speaks, dir.path()).unwrap();
    let mut node = Command::new("ip")
        .args(["netns", "exec", &host])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("behind::{test}"), "--nocapture"])
        .env(INSIDE, first.contact().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let reached = tokio::task::spawn_blocking(move || {
        let found = lines.by_ref().map_while(Result::ok).any(|line| line.contains("reachable"));
        (found, lines)
    });
    let (found, lines) = reached.await.unwrap();
    let forwarded = Forwarder::forwarded(&router).unwrap();
    // Whatever came, the node is not left behind.
    node.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let ended = tokio::task::spawn_blocking(move || {
        lines.for_each(drop);
        node.wait()
    });
    assert!(ended.await.unwrap().unwrap().success() && found, "the node inside");
    assert_eq!(forwarded.len(), 2, "QUIC and TCP: {forwarded:?}");
    assert_eq!(Forwarder::forwarded(&router).unwrap(), Vec::<String>::new(), "given back");
}

/// The node inside: until it is confirmed at both ports, then until it is told to end.
async fn inside(contact: Contact) {
    let mut control = behind(11).bootstrap(contact).maps_ports(true).start().unwrap();
    let confirmed = async {
        let mut confirmed = 0;
        while confirmed < 2 {
            if let Event::Reachable { address } = control.next().await {
                assert_eq!(address, outside(11));
                confirmed += 1;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), confirmed).await.is_ok(), "nobody confirmed both ports");
    println!("reachable");
    let told = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    told.await.unwrap();
    control.give_ports_back().await;
}

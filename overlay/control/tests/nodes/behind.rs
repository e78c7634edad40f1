//! Nodes behind translators of addresses: they are met at relays, punch through, and have their routers forward ports. In network
//! namespaces; without the right to make them (root) the tests are skipped, and say so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so, and the node inside talks by its output")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::places::{Home, Places, behind, outside};
use crate::common::{Node, until};
use zmesh_control::{Contact, Event, Limits};
use zmesh_netns::{Forwarder, Speaks};

/// Set for the node that runs alone in a namespace: the contact that it has.
const INSIDE: &str = "ZMESH_TEST_INSIDE";
/// What that node says when others have confirmed its address.
const CONFIRMED: &str = "others reach it";

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

    // These know nothing of the relay at first, and can be reached by nobody: whoever is connected in the end, they called. One misses
    // now and then, and then another one does it: where both ends were seen by QUIC and by TCP, libp2p punches by both at once, both get
    // through, and each end may keep the connection that the other one ends. libp2p takes that for a success and does not try again.
    let mut direct = false;
    for number in [12, 14, 15] {
        let home = places.home(number, "masquerade");
        let caller = places.start(&home.host, behind(number).bootstrap(other.contact()).limits(limits(never))).await;
        until("it is met", || async { caller.peers().await.contains(&who) }).await;
        let punched = async {
            while caller.with(|control| control.status()).await.punched == 0
                || caller.with(|control| control.status()).await.relayed > 0
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        direct = tokio::time::timeout(Duration::from_secs(20), punched).await.is_ok();
        if direct {
            assert!(caller.peers().await.contains(&who));
            answers(&caller, &met).await;
            break;
        }
    }
    assert!(direct, "none got through");

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

/// A router that can be asked so forwards the ports of a node behind it, and has them back when the node ends.
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
    let (told, confirmed) = (BufReader::new(node.stdout.take().unwrap()), Arc::new(AtomicBool::new(false)));
    let tell = Arc::clone(&confirmed);
    // To the end: whoever writes to nobody fails. The test harness may write its own words before what the node says.
    let reading = tokio::task::spawn_blocking(move || {
        for line in told.lines().map_while(Result::ok) {
            tell.fetch_or(line.ends_with(CONFIRMED), Ordering::Relaxed);
        }
    });
    let count = || Forwarder::forwarded(&router).unwrap().len();
    until("QUIC and TCP are forwarded", || async { count() == 2 }).await;
    until("others confirm that they reach it there", || async { confirmed.load(Ordering::Relaxed) }).await;
    node.stdin.take().unwrap().write_all(b"end\n").unwrap();
    let ended = tokio::task::spawn_blocking(move || node.wait());
    assert!(ended.await.unwrap().unwrap().success(), "the node inside");
    until("the ports are given back", || async { count() == 0 }).await;
    reading.await.unwrap();
}

/// The node inside: until it is told to end, or whoever would tell it is gone.
async fn inside(contact: Contact) {
    let mut control = behind(11).bootstrap(contact).maps_ports(true).start().unwrap();
    let mut told = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    loop {
        tokio::select! {
            _ = &mut told => break,
            event = control.next() => {
                if let Event::Reachable { address } = event {
                    assert_eq!(address, outside(11));
                    println!("{CONFIRMED}");
                }
            }
        }
    }
    control.give_ports_back().await;
}

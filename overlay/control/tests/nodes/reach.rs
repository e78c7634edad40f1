//! How nodes find out whether others reach them: AutoNAT v2 of libp2p, between public addresses that a network namespace of the test's own
//! has.
//!
//! The test runs itself once more in such a namespace. Without the right to make one (root) it is skipped, and says so.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::common::{NETWORK, Node, key, until};
use zmesh_control::{Builder, Control};

/// Set for the test inside.
const INSIDE: &str = "ZMESH_TEST_NAMESPACE";
const PORT: u16 = 9_002;

/// Public addresses, none of them of one network.
fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(5, n, 0, 1)
}

fn works(command: &str) -> bool {
    let mut shell = Command::new("unshare");
    shell.args(["--net", "sh", "-c", command]).stdout(Stdio::null()).stderr(Stdio::null());
    shell.status().is_ok_and(|status| status.success())
}

/// Whether this is the run inside. Outside it runs the test there.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let addresses: String = (1..=4).map(|n| format!(" && ip address add {}/32 dev lo", ip(n))).collect();
    let prepare = format!("ip link set lo up{addresses}");
    if !works(&prepare) {
        println!("SKIPPED: a network namespace cannot be made here (needs root, and ip)");
        return false;
    }
    let own = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", &format!("{prepare} && exec \"$0\" --exact reach::{test} --nocapture")])
        .arg(own)
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "in the namespace");
    false
}

/// A node at a public address of which it does not know whether others reach it.
fn lasting(n: u8) -> Builder {
    Control::builder(NETWORK).identity(&key(n)).listen((ip(n), PORT).into())
}

async fn reachable(node: &Node) -> bool {
    node.with(|control| control.status().reachable).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_confirm_where_a_node_is_reached() {
    if !is_inside("others_confirm_where_a_node_is_reached") {
        return;
    }
    let first = Node::start(lasting(1), true).await;
    let second = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    assert!(!reachable(&second).await, "nobody said so yet");
    for node in [&first, &second] {
        until("another one called back and confirmed it", || reachable(node)).await;
    }
}

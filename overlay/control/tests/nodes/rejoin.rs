//! A node that was killed finds back by itself, although whom it asked first is gone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test whose child tells by its output how it fares")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Node, lasting, until};
use zmesh_control::{Contact, Event, Store};

const STORE: &str = "ZMESH_TEST_STORE";
const CONTACT: &str = "ZMESH_TEST_CONTACT";
/// Pauses between calls to a peer that did not answer double up to two minutes; on a busy machine the first calls may fail.
const PATIENCE: Duration = Duration::from_secs(200);

/// The node that is killed: a process of its own, for only that can be killed without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other test, as a process of its own"]
async fn child() {
    let store = Arc::new(Store::open(&PathBuf::from(std::env::var(STORE).unwrap())).unwrap());
    let mut builder = lasting(9).store(store);
    if let Ok(contact) = std::env::var(CONTACT) {
        builder = builder.bootstrap(contact.parse::<Contact>().unwrap());
    }
    let mut control = builder.start().unwrap();
    loop {
        if let Event::PeerUp { .. } = control.next().await {
            // The store is written each ten seconds; here at once, so that the test does not wait.
            control.flush().unwrap();
            println!("peers {}", control.peers().count());
        }
    }
}

/// A child that does not outlive its test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(store: &Path, contact: Option<Contact>) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "rejoin::child", "--ignored", "--nocapture"]).env(STORE, store).stdout(Stdio::piped());
    match contact {
        Some(contact) => command.env(CONTACT, contact.to_string()),
        None => command.env_remove(CONTACT),
    };
    Running(command.spawn().unwrap())
}

/// Waits until the child has so many peers.
async fn peers(child: &mut Running, wanted: usize) {
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let read = tokio::task::spawn_blocking(move || {
        for line in lines.map_while(Result::ok) {
            // The test harness may write its own words before it.
            if line.split("peers ").nth(1).and_then(|n| n.trim().parse::<usize>().ok()).is_some_and(|n| n >= wanted) {
                return true;
            }
        }
        false
    });
    assert!(tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap(), "the child met {wanted} peers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_rejoins_without_help() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("control");
    let first = Node::start(lasting(1), true).await;
    let second = Node::start(lasting(2).bootstrap(first.contact()), true).await;
    let third = Node::start(lasting(3).bootstrap(first.contact()), true).await;
    let mut child = spawn(&store, Some(first.contact()));
    peers(&mut child, 3).await;
    // Without a word: the process is killed and waited for.
    drop(child);
    first.kill().await;

    let mut child = spawn(&store, None);
    peers(&mut child, 2).await;
    let back = zmesh_control::PeerIdentity(crate::common::key(9).verifying_key().to_bytes());
    for node in [&second, &third] {
        until("it is back", || async { node.peers().await.contains(&back) }).await;
    }
}

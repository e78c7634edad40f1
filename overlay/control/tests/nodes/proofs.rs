//! A node that was killed still has its proofs against voters who said two things; what is damaged of them is refused alone.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test whose child tells by its output how it fares")]

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use crate::common::Node;
use crate::common::directory::{genesis, relay_keys, start, unix, voters};
use zmesh_control::{Contact, Control, Limits, PeerIdentity, Store, Topic};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::control::vote::{Evidence, Scope, Vote, VoteMessage};
use zmesh_proto::wire::control::{Genesis, HeaderHash};

const STORE: &str = "ZMESH_TEST_PROOFS";
const BEGINS: &str = "ZMESH_TEST_BEGINS";
/// As the store has it.
const TABLE: TableDefinition<'_, &[u8; 40], &[u8]> = TableDefinition::new("proofs v1");

/// Nobody votes in it, so it never gets beyond its genesis.
fn idle(begins: u64) -> Genesis {
    genesis(3_600, begins)
}

/// The node that is killed: it says where it listens, and whom it caught.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the other test, as a process of its own"]
async fn child() {
    let store = Arc::new(Store::open(&PathBuf::from(std::env::var(STORE).unwrap())).unwrap());
    let begins = std::env::var(BEGINS).unwrap().parse().unwrap();
    let member = start(&idle(begins), 9, None, Some(store), false).await;
    println!("at {}", member.contact.address);
    let mut told = None;
    loop {
        let now = member.handle.status().await.unwrap().convicted;
        if told.replace(now) != Some(now) {
            println!("caught {now}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A child that does not outlive its test, however that ends.
struct Running(Child, Lines<BufReader<ChildStdout>>);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(store: &Path, begins: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "proofs::child", "--ignored", "--nocapture"])
            .env(STORE, store)
            .env(BEGINS, begins.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self(child, lines)
    }

    /// What the child says next about something.
    fn says(&mut self, about: &str) -> String {
        // The test harness may write its own words before it.
        let said = |line: String| line.split_once(about).map(|(_, said)| said.trim().to_owned());
        self.1.by_ref().map_while(Result::ok).find_map(said).expect("the child runs")
    }
}

/// What a guilty voter signed.
fn two(voter: &SignerKey, genesis: &Genesis) -> [VoteMessage; 2] {
    let network = genesis.network_id();
    let scope = Scope { network, previous_epoch: 0, previous: HeaderHash(network.0) };
    [1, 2].map(|byte| VoteMessage::sign(voter, scope, Vote::Commitment([byte; 32])).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_survive_a_kill_and_damage_takes_one_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control");
    let begins = unix();
    let genesis = idle(begins);
    let mut child = Running::start(&path, begins);
    let address = child.says("at ").parse().unwrap();
    assert_eq!(child.says("caught "), "0");

    let contact = Contact { address, identity: Some(PeerIdentity(relay_keys(9).identity_public())) };
    let other = Control::builder(genesis.network_id())
        .identity(relay_keys(8).identity())
        .listen("127.0.0.1:0".parse().unwrap())
        .test_network(true)
        .limits(Limits::one_machine())
        .bootstrap(contact);
    let other = Node::start(other, true).await;
    // Of one voter it is told what proves it; of another it gets both votes.
    let [first, second] = two(&voters()[0], &genesis);
    other.publish(Topic::Proofs, &Evidence::find(&first, &second).unwrap().encode()).await;
    for vote in two(&voters()[1], &genesis) {
        other.publish(Topic::Votes, vote.as_bytes()).await;
    }
    while child.says("caught ") != "2" {}
    // Without a word: the process is killed and waited for.
    drop(child);
    drop(other);

    assert_eq!(caught(&path, begins), "2", "nobody told it again");
    let damaged = {
        let database = Database::create(&path).unwrap();
        let write = database.begin_write().unwrap();
        let name = {
            let mut table = write.open_table(TABLE).unwrap();
            let (name, mut bytes) = {
                let (name, bytes) = table.first().unwrap().unwrap();
                (*name.value(), bytes.value().to_vec())
            };
            bytes[70] ^= 1;
            table.insert(&name, bytes.as_slice()).unwrap();
            // And one that is nothing at all.
            table.insert(&[0xff; 40], [7; 100_000].as_slice()).unwrap();
            name
        };
        write.commit().unwrap();
        name
    };
    assert_eq!(caught(&path, begins), "1", "the other one is there");
    assert_eq!(caught(&path, begins), "1");
    let database = Database::create(&path).unwrap();
    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
    assert!(table.len().unwrap() == 1 && table.get(&damaged).unwrap().is_none(), "what is damaged is gone");
}

/// Whom a node with this store says that it caught, before it met anybody.
fn caught(store: &Path, begins: u64) -> String {
    Running::start(store, begins).says("caught ")
}

//! Chunks on a whole network in one process.

use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Address, ChunkError, ChunkOptions, Node, RelayId};

/// A bound on everything that should take seconds, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(120);

fn data(len: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

async fn testnet(directory: &Path, relays: usize, poison: &[usize]) -> Testnet {
    let config = TestnetConfig {
        relays,
        exits: 1,
        chunks: Some(directory.to_owned()),
        poison: poison.to_vec(),
        ..TestnetConfig::default()
    };
    Testnet::start(config).await.expect("the test network starts")
}

async fn node(testnet: &Testnet) -> Node {
    Node::builder().network(testnet.network()).spares(0).start().await.expect("the node starts")
}

async fn publish(testnet: &Testnet, data: &[u8], options: ChunkOptions) -> Address {
    let publisher = node(testnet).await;
    let published = publisher.put_file(&mut &data[..], options, |_| ()).await.expect("published");
    assert_eq!(published.len, data.len() as u64);
    publisher.shutdown().await;
    published.address
}

/// Relays that hold something, with how many chunks.
async fn holders(testnet: &Testnet) -> Vec<(RelayId, usize)> {
    let mut holders = Vec::new();
    for (id, relay) in testnet.relays() {
        holders.push((id, relay.metrics().await.expect("it runs").chunks.chunks));
    }
    holders
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_fetches_after_the_publisher_and_some_relays_have_gone() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut testnet = testnet(folder.path(), 8, &[]).await;
    for len in [0, 5, 300_000, 1_500_000] {
        let data = data(len);
        let address = publish(&testnet, &data, ChunkOptions::default()).await;
        let again = Address::parse(&address.to_line()).expect("the line is whole");
        let newcomer = node(&testnet).await;
        let got = timeout(SOON, newcomer.get_chunk(&again)).await.expect("in time").expect("fetched");
        assert!(got == data, "{len} bytes");
        newcomer.shutdown().await;
    }
    let data = data(700_000);
    let address = publish(&testnet, &data, ChunkOptions::default()).await;
    // Two of eight relays go; the network document goes on listing them. No chunk had fewer than four holders.
    let gone: Vec<RelayId> = testnet.relays().map(|(id, _)| id).take(2).collect();
    for relay in gone {
        assert!(testnet.kill(relay).await);
    }
    let newcomer = node(&testnet).await;
    let mut got = Vec::new();
    let mut steps = Vec::new();
    let fetching = newcomer.get_file(&address, &mut got, ChunkOptions::default(), |progress| steps.push(progress));
    let fetched = timeout(SOON, fetching).await.expect("in time").expect("fetched");
    assert!(got == data);
    assert_eq!((fetched.len, fetched.chunks), (700_000, 4));
    assert!(fetched.circuits >= 1 && fetched.symbols >= fetched.needed, "{fetched:?}");
    assert!(steps.is_sorted_by_key(|step| step.done));
    assert_eq!(steps.last().map(|step| (step.done, step.total)), Some((700_000, Some(700_000))));
    newcomer.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_give_poison_are_dropped_and_the_file_arrives() {
    let folder = tempfile::tempdir().expect("a directory");
    // Three of six lie about everything.
    let testnet = testnet(folder.path(), 6, &[0, 2, 4]).await;
    let data = data(900_000);
    let address = publish(&testnet, &data, ChunkOptions::default().copies(6)).await;
    // Honest relays may have given all before a liar was asked: then somebody else comes.
    let meeting_liars = async {
        loop {
            let newcomer = node(&testnet).await;
            let mut got = Vec::new();
            let fetching = newcomer.get_file(&address, &mut got, ChunkOptions::default(), |_| ());
            let fetched = fetching.await.expect("fetched");
            assert!(got == data);
            if fetched.liars > 0 {
                return (newcomer, fetched);
            }
            newcomer.shutdown().await;
        }
    };
    let (newcomer, fetched) = timeout(SOON, meeting_liars).await.expect("in time");
    assert!((1..=3).contains(&fetched.liars), "{fetched:?}");
    // The second fetch of the same node does not ask them again.
    let mut got = Vec::new();
    let fetching = newcomer.get_file(&address, &mut got, ChunkOptions::default(), |_| ());
    let again = timeout(SOON, fetching).await.expect("in time").expect("fetched");
    assert!(got == data && again.liars <= 3 - fetched.liars, "{again:?}");
    newcomer.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_pass_on_what_one_of_them_was_given() {
    let folder = tempfile::tempdir().expect("a directory");
    let mut testnet = testnet(folder.path(), 7, &[]).await;
    let data = data(20_000);
    let address = publish(&testnet, &data, ChunkOptions::default().copies(1)).await;
    let given: Vec<RelayId> = holders(&testnet).await.iter().filter(|(_, held)| *held > 0).map(|(id, _)| *id).collect();
    assert!(!given.is_empty());
    // Until four relays hold it, of which one may be lost.
    let passed_on = async {
        while holders(&testnet).await.iter().filter(|(_, held)| *held > 0).count() < 4 {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(SOON, passed_on).await.expect("relays pass it on");
    assert!(testnet.kill(given[0]).await);
    let newcomer = node(&testnet).await;
    let got = timeout(SOON, newcomer.get_chunk(&address)).await.expect("in time").expect("fetched");
    assert!(got == data);
    newcomer.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().expect("a directory");
    let (testnet, other) = (testnet(folder.path(), 5, &[]).await, tempfile::tempdir().expect("a directory"));
    let elsewhere = self::testnet(other.path(), 5, &[]).await;
    let address = publish(&elsewhere, b"somewhere else", ChunkOptions::default()).await;
    elsewhere.shutdown().await;
    let newcomer = node(&testnet).await;
    let missing = timeout(SOON, newcomer.get_chunk(&address)).await.expect("in time").expect_err("nobody has it");
    let ChunkError::Missing { chunk: 0, shortage } = missing else { panic!("{missing}") };
    assert_eq!((shortage.seeders, shortage.absent, shortage.have), (5, 5, 0));
    assert!(missing.to_string().contains("of 5 relays that may hold it, 5 do not hold it; 0 of 4 symbols found"));
    newcomer.shutdown().await;
    testnet.shutdown().await;

    let without = Testnet::start(TestnetConfig::default()).await.expect("a network without chunks");
    let node = node(&without).await;
    assert!(matches!(node.put_chunk(b"x").await, Err(ChunkError::NoSeeders)));
    assert!(matches!(node.get_chunk(&address).await, Err(ChunkError::NoSeeders)));
    node.shutdown().await;
    without.shutdown().await;
}

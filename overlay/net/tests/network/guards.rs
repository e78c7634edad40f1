//! Guards over several runs of an origin, on a whole network in one process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zmesh_overlay::testnet::{AgreedConfig, AgreedTestnet, Testnet, TestnetConfig};
use zmesh_overlay::{Node, NodeError, PathSpec, RelayId};

/// A bound on everything that should take seconds, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(60);

/// One run of an origin: the guards that it chose, and the first relay of its circuit.
async fn run(testnet: &Testnet, file: Option<&Path>) -> (Vec<RelayId>, RelayId) {
    let mut builder = Node::builder().network(testnet.network()).spares(0);
    if let Some(file) = file {
        builder = builder.guard_file(file);
    }
    let node = builder.start().await.expect("the node starts");
    let circuit = timeout(SOON, node.circuit(PathSpec::exit().hops(2))).await.expect("in time").expect("a circuit");
    let used = circuit.path()[0].id;
    let guards = node.guards();
    node.shutdown().await;
    (guards, used)
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_are_kept_from_run_to_run_for_those_who_name_a_file() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("guards");
    let testnet =
        Testnet::start(TestnetConfig { relays: 12, exits: 3, ..TestnetConfig::default() }).await.expect("it starts");
    let (guards, used) = run(&testnet, Some(&file)).await;
    assert_eq!(guards.len(), 3);
    for _ in 0..4 {
        // The one that proved itself goes first.
        let (again, first) = run(&testnet, Some(&file)).await;
        assert_eq!((again[0], first), (used, used));
        assert!(again.iter().all(|id| guards.contains(id)));
    }
    // Relay ids and days, and nothing of this machine.
    let bytes = fs::read(&file).expect("it is there");
    assert_eq!(bytes.len(), 2 + 3 * 25);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
    // Two at once: the second one uses the same guards and leaves the file alone.
    let first = Node::builder().network(testnet.network()).spares(0).guard_file(&file).start().await.expect("starts");
    let (at_once, _) = run(&testnet, Some(&file)).await;
    assert!(at_once.iter().all(|id| guards.contains(id)));
    assert_eq!(fs::read(&file).expect("it is there"), bytes);
    first.shutdown().await;
    drop(first);

    // Without a file each run draws: five runs all alike would come once in a million.
    let mut ephemeral = Vec::new();
    for _ in 0..5 {
        let (mut drawn, _) = run(&testnet, None).await;
        drawn.sort_unstable();
        ephemeral.push(drawn);
    }
    ephemeral.dedup();
    assert!(ephemeral.len() > 1);

    fs::write(&file, [7; 30]).expect("written");
    let refused = Node::builder().network(testnet.network()).guard_file(&file).start().await;
    assert!(matches!(refused, Err(NodeError::Guards(_))), "a damaged file is not replaced");
    assert_eq!(fs::read(&file).expect("it stays"), [7; 30]);
    testnet.shutdown().await;
}

/// A line does not say of what kind its network is: nothing is written before the genesis does.
#[tokio::test(flavor = "multi_thread")]
async fn guards_of_a_test_network_that_a_line_leads_to_leave_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let net = TestnetConfig { relays: 4, exits: 2, ..TestnetConfig::default() };
    let network = AgreedTestnet::start(AgreedConfig { net, ..AgreedConfig::default() }).await.expect("it starts");
    let start = |file: &Path, real: bool| {
        let builder = Node::builder().bootstrap(network.bootstrap(&[0, 1])).spares(0);
        let builder = if real { builder.guard_file_if_real(file) } else { builder.guard_file(file) };
        async move { timeout(SOON, builder.start()).await.expect("in time").expect("the node starts") }
    };
    for real in [true, false] {
        let file = folder.path().join("guards");
        let node = start(&file, real).await;
        timeout(SOON, node.circuit(PathSpec::exit().hops(2))).await.expect("in time").expect("a circuit");
        assert!(!node.guards().is_empty());
        node.shutdown().await;
        let names = fs::read_dir(folder.path()).expect("readable").count();
        // Whoever asks for it all the same gets the file, and the lock beside it.
        assert_eq!(names, if real { 0 } else { 2 });
    }
    network.shutdown().await;
}

//! Clients that know nothing but a bootstrap line: how they come by documents, and how they find out who lies to them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zmesh_overlay::testnet::{AgreedConfig, AgreedTestnet, TestnetConfig};
use zmesh_overlay::{
    Bootstrap, CircuitError, DirectoryError, DirectoryEvent, EntryFault, Lie, Node, NodeError, PathSpec, Publication,
    SourceError, UpdateBy, Warning,
};

/// A bound on what should take a few epochs of two seconds, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(90);

async fn network(config: AgreedConfig) -> AgreedTestnet {
    AgreedTestnet::start(config).await.expect("the test network starts")
}

/// Documents that pass until something that hangs on the dice has happened, at most.
const ROUNDS: u32 = 24;

/// What a client was told, from its start on.
struct Told(mpsc::Receiver<DirectoryEvent>);

impl Told {
    /// Waits for an event that `pick` takes; others are thrown away.
    async fn wait<T>(&mut self, what: &str, mut pick: impl FnMut(&DirectoryEvent) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let event = self.0.recv().await.expect("the client lives");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("not told in time: {what}"))
    }

    async fn updated(&mut self) -> (u64, UpdateBy) {
        self.wait("a newer document", |event| match event {
            DirectoryEvent::Updated { epoch, by, .. } => Some((*epoch, *by)),
            _ => None,
        })
        .await
    }
}

/// Starts a client; gives what it was told also when it did not start.
async fn start(line: Bootstrap, directory: Option<&Path>) -> (Result<Node, NodeError>, Told) {
    let (events, told) = mpsc::channel(1_024);
    let mut builder = Node::builder().bootstrap(line).spares(0).standby(false);
    if let Some(directory) = directory {
        builder = builder.directory(directory.to_owned());
    }
    let builder = builder.on_directory(move |event| drop(events.try_send(event.clone())));
    let started = timeout(SOON, builder.start()).await.expect("an end of the start");
    (started, Told(told))
}

async fn client(line: Bootstrap, directory: Option<&Path>) -> (Node, Told) {
    let (node, told) = start(line, directory).await;
    (node.expect("the client starts"), told)
}

/// Sends back what comes over one connection.
async fn echo_server() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let (mut reader, mut writer) = connection.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    (address, server)
}

/// Sends bytes through an exit and back.
async fn echo(node: &Node) {
    let (address, server) = echo_server().await;
    let circuit = async {
        // Where a relay is gone that the document names, some tries may meet it each time.
        loop {
            match node.circuit(PathSpec::exit().hops(3)).await {
                Ok(circuit) => break circuit,
                Err(CircuitError::Build { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    let circuit = timeout(SOON, circuit).await.expect("a circuit");
    let mut stream = circuit.connect(address).await.expect("a stream");
    stream.write_all(b"there and back").await.expect("sent");
    let mut back = [0; 14];
    timeout(SOON, stream.read_exact(&mut back)).await.expect("in time").expect("echoed");
    assert_eq!(&back, b"there and back");
    server.abort();
}

/// The fault of the only entry relay of a client that did not start.
fn only_fault(started: Result<Node, NodeError>) -> EntryFault {
    match started {
        Err(NodeError::Directory(DirectoryError::NoEntry { mut faults })) => {
            assert_eq!(faults.len(), 1, "{faults:?}");
            faults.remove(0).1
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the client started"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_with_nothing_but_a_line_places_a_circuit() {
    let network = network(AgreedConfig::default()).await;
    let line: Bootstrap = network.bootstrap(&[0]).to_string().parse().expect("the line survives its text");
    let (node, mut told) = client(line, None).await;
    let (epoch, relays) = told
        .wait("readiness", |event| match event {
            DirectoryEvent::Ready { epoch, relays, stored: false } => Some((*epoch, *relays)),
            _ => None,
        })
        .await;
    assert_eq!((epoch, relays), (network.held().epoch(), 7));
    assert_eq!(node.network().header_hash(), Some(network.held().hash()));
    echo(&node).await;
    // The first may miss a relay that did not answer in time.
    told.wait("a comparison in which all agree", |event| match event {
        DirectoryEvent::Compared { agree: 3, asked: 3 } => Some(()),
        _ => None,
    })
    .await;
    node.shutdown().await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_change_under_open_circuits_and_voters_change_too() {
    let mut network = network(AgreedConfig::default()).await;
    let (node, mut told) = client(network.bootstrap(&[0, 1]), None).await;
    let (address, server) = echo_server().await;
    let circuit = node.circuit(PathSpec::exit().hops(3)).await.expect("a circuit");
    let mut stream = circuit.connect(address).await.expect("a stream");
    let second = network.advance(|_| true).await.expect("agreed");
    assert_eq!(told.updated().await, (second, UpdateBy::Difference));
    // Voters change twice, and the client hears of it only afterwards.
    network.change_voters(|_| false).await.expect("agreed");
    network.change_voters(|_| false).await.expect("agreed");
    let last = network.advance(|_| true).await.expect("agreed");
    assert_eq!(told.updated().await, (last, UpdateBy::Difference));
    assert_eq!(node.network().header_hash(), Some(network.held().hash()));
    stream.write_all(b"still here").await.expect("sent");
    let mut back = [0; 10];
    timeout(SOON, stream.read_exact(&mut back)).await.expect("in time").expect("echoed");
    server.abort();
    echo(&node).await;
    node.shutdown().await;
    // A newcomer follows all changes at once.
    let (newcomer, _) = client(network.bootstrap(&[3]), None).await;
    assert_eq!(newcomer.network().header_hash(), Some(network.held().hash()));
    newcomer.shutdown().await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_difference_the_snapshot_comes_in_chunks() {
    let chunks = tempfile::tempdir().expect("a directory");
    let net = TestnetConfig { relays: 7, chunks: Some(chunks.path().to_owned()), ..TestnetConfig::default() };
    let network = network(AgreedConfig { net, ..AgreedConfig::default() }).await;
    let (node, mut told) = client(network.bootstrap(&[0]), None).await;
    let next = network.make(|_| ()).expect("agreed");
    let publication = Publication { differences: Vec::new(), ..network.publication(&next) };
    for index in 0..7 {
        network.relay(index).expect("it runs").1.publish(publication.clone()).await.expect("published");
    }
    assert_eq!(told.updated().await, (next.epoch(), UpdateBy::Chunks));
    node.shutdown().await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_needs_no_entry_relay_and_the_disk_tells_nothing_of_the_client() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut network = network(AgreedConfig::default()).await;
    let line = network.bootstrap(&[0]);
    let (node, _) = client(line.clone(), Some(directory.path())).await;
    let own: Vec<String> = node.local_addresses().iter().map(|address| address.port().to_string()).collect();
    node.shutdown().await;
    assert!(network.kill(0).await);
    let file = only_file(directory.path());
    let kept = std::fs::read(&file).expect("kept");
    assert_eq!(kept, network.held().encode(), "what everybody has, and no more ({own:?})");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    }
    let (node, mut told) = client(line.clone(), Some(directory.path())).await;
    told.wait("readiness", |event| matches!(event, DirectoryEvent::Ready { stored: true, .. }).then_some(())).await;
    echo(&node).await;
    node.shutdown().await;

    // After a long pause the document no longer holds: a relay that it names lets the client in.
    std::fs::write(&file, network.expired().expect("signed").encode()).expect("written");
    let (node, mut told) = client(line.clone(), Some(directory.path())).await;
    told.wait("readiness", |event| matches!(event, DirectoryEvent::Ready { stored: false, .. }).then_some(())).await;
    assert_eq!(node.network().header_hash(), Some(network.held().hash()));
    node.shutdown().await;

    // A file that was altered is not believed.
    let mut altered = network.held().encode();
    let at = altered.len() - 1;
    altered[at] ^= 1;
    std::fs::write(&file, altered).expect("written");
    let (started, mut told) = start(network.bootstrap(&[1]), Some(directory.path())).await;
    told.wait("a complaint", |event| matches!(event, DirectoryEvent::Storage { .. }).then_some(())).await;
    started.expect("by the entry relay").shutdown().await;
    network.shutdown().await;
}

fn only_file(directory: &Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(directory).expect("a directory");
    let file = files.next().expect("a file").expect("readable").path();
    assert!(files.next().is_none(), "one file");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn entry_relays_that_lie_are_found_and_named() {
    let network = network(AgreedConfig { untold: vec![1, 4], ..AgreedConfig::default() }).await;
    let other = self::network(AgreedConfig::default()).await;
    let give = async |index: usize, publication: Publication| {
        network.relay(index).expect("it runs").1.publish(publication).await.expect("published");
    };
    let good = network.publication(network.held());

    // The genesis of another network: its relays are in this line.
    let entries = other.bootstrap(&[0]).entries().to_vec();
    let line = Bootstrap::new(network.bootstrap(&[0]).network(), entries).expect("a line");
    assert!(matches!(only_fault(start(line, None).await.0), EntryFault::OtherGenesis));

    // A document that ended long ago.
    give(1, network.publication(&network.expired().expect("signed"))).await;
    let fault = only_fault(start(network.bootstrap(&[1]), None).await.0);
    assert!(matches!(fault, EntryFault::Old { epoch: 1 }), "{fault:?}");

    // A signature that nobody made: the last byte of the header's certificate.
    let mut forged = good.snapshot.clone();
    let at = find(&forged, &good.header) + good.header.len() - 1;
    forged[at] ^= 1;
    give(2, Publication { snapshot: forged, ..good.clone() }).await;
    let fault = only_fault(start(network.bootstrap(&[2]), None).await.0);
    assert!(matches!(fault, EntryFault::Refused(_)) && fault.to_string().contains("forged"), "{fault:?}");

    // A document with another relay's descriptor in it.
    let mut swapped = good.snapshot.clone();
    let last = swapped.len() - 1;
    swapped[last] ^= 1;
    give(2, Publication { snapshot: swapped, ..good.clone() }).await;
    assert!(matches!(only_fault(start(network.bootstrap(&[2]), None).await.0), EntryFault::Refused(_)));

    // A stream that stops in the middle.
    network.relay(3).expect("it runs").1.cut_documents_short();
    let fault = only_fault(start(network.bootstrap(&[3]), None).await.0);
    let EntryFault::Source(SourceError::Truncated { got, len }) = fault else { panic!("{fault:?}") };
    assert!(got < len);

    // Nothing at all.
    let fault = only_fault(start(network.bootstrap(&[4]), None).await.0);
    assert!(matches!(fault, EntryFault::Source(SourceError::Refused(_))), "{fault:?}");

    // With one honest relay in the line each of them costs time and nothing else.
    let (node, mut told) = client(network.bootstrap(&[1, 2, 3, 4, 0]), None).await;
    told.wait("readiness", |event| matches!(event, DirectoryEvent::Ready { .. }).then_some(())).await;
    // Only who knows the network forwards, so all are told at last.
    network.publish(network.held(), |_| true).await.expect("published");
    echo(&node).await;
    node.shutdown().await;
    network.shutdown().await;
    other.shutdown().await;
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).position(|window| window == needle).expect("inside")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_are_told_and_neither_replaces_what_the_client_has() {
    let network = network(AgreedConfig::default()).await;
    let (node, mut told) = client(network.bootstrap(&[0]), None).await;
    let (one, two) = (network.make(|_| ()).expect("signed"), network.make(|_| ()).expect("signed"));
    let both = if one.epoch() == two.epoch() {
        two
    } else {
        // The clock moved on between the two.
        network.make(|by_hand| by_hand.epoch = one.epoch()).expect("signed")
    };
    network.publish(&one, |index| index % 2 == 0).await.expect("published");
    network.publish(&both, |index| index % 2 == 1).await.expect("published");
    let warning = told
        .wait("two histories", |event| match event {
            DirectoryEvent::Warned(warning @ Warning::TwoHistories { .. }) => Some(*warning),
            _ => None,
        })
        .await;
    assert!(warning.is_grave() && warning.to_string().contains("two histories"), "{warning}");
    assert!(warning.to_string().contains("cut off"));
    assert_eq!(node.warning(), Some(warning));
    let kept = node.network().header_hash();
    assert!([network.held().hash(), one.hash(), both.hash()].map(Some).contains(&kept));
    echo(&node).await;
    node.shutdown().await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_shown_nothing_new_says_so_and_recovers() {
    let mut network = network(AgreedConfig::default()).await;
    let (node, mut told) = client(network.bootstrap(&[0]), None).await;
    let epoch = network.held().epoch();
    let warning = told
        .wait("old documents", |event| match event {
            DirectoryEvent::Warned(warning @ Warning::Old { .. }) => Some(*warning),
            _ => None,
        })
        .await;
    assert!(matches!(warning, Warning::Old { epoch: old, epochs } if old == epoch && epochs > 2), "{warning:?}");
    assert!(warning.to_string().contains("you may be cut off"));
    network.advance(|_| true).await.expect("agreed");
    told.wait("that all is well", |event| matches!(event, DirectoryEvent::Recovered).then_some(())).await;
    node.shutdown().await;
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_that_are_behind_and_relays_that_lie_are_told_apart() {
    let mut network = network(AgreedConfig { epoch_length: 3, ..AgreedConfig::default() }).await;
    let (node, mut told) = client(network.bootstrap(&[0]), None).await;
    // Two documents go by three of seven relays; one of those names a document that it cannot show.
    let behind = [1, 3, 5];
    network.advance(|index| !behind.contains(&index)).await.expect("agreed");
    let good = network.publication(network.held());
    let lie = Publication { hash: [7; 32], epoch: good.epoch + 1_000, ..good };
    // A client compares when there is something new, and asks three: a liar is among them sooner or later. A guard is on every path
    // and so is never asked, and which relays are guards may change.
    let (mut liars, mut caught) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let guards = node.guards();
        let asked = behind.iter().filter_map(|index| network.relay(*index)).find(|(id, _)| !guards.contains(id));
        let (liar, handle) = asked.expect("not all are guards");
        if !liars.contains(&liar) {
            handle.publish(lie.clone()).await.expect("published");
            liars.push(liar);
        }
        let lies = told.wait("a lie", |event| match event {
            DirectoryEvent::RelayLied { relay, lie } => Some((*relay, lie.clone())),
            _ => None,
        });
        caught = timeout(Duration::from_secs(5), lies).await.ok();
        if caught.is_some() {
            break;
        }
        network.advance(|index| !behind.contains(&index)).await.expect("agreed");
    }
    let (liar, told_lie) = caught.expect("one was asked");
    assert!(liars.contains(&liar) && told_lie == Lie::Unshown, "{told_lie:?}");
    network.advance(|index| !behind.contains(&index)).await.expect("agreed");
    told.wait("old documents", |event| matches!(event, DirectoryEvent::Warned(Warning::Behind { .. })).then_some(()))
        .await;
    node.shutdown().await;
    network.shutdown().await;
}

/// Whoever has the keys of the genesis's voters, who left long ago, makes a history of their own; an entry relay gives it to a client that was away.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_away_goes_on_from_what_it_knew_and_not_from_the_genesis() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut network = network(AgreedConfig::default()).await;
    network.change_voters(|_| true).await.expect("agreed");
    // The document that the client had, and that has ended: two epochs are all that it holds.
    let short = network.make(|by_hand| {
        by_hand.parameters = zmesh_proto::wire::control::Parameters::new().with("lifetime", 2).expect("a lifetime");
    });
    let short = short.expect("signed");
    let (line, folder) = (network.bootstrap(&[0]), directory.path());
    let (node, _) = client(line.clone(), Some(folder)).await;
    node.shutdown().await;
    std::fs::write(only_file(folder), short.encode()).expect("written");
    while short.network(unix()).is_ok() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let forged = network.forged().expect("signed");
    for index in 0..7 {
        network.relay(index).expect("it runs").1.publish(network.publication(&forged)).await.expect("published");
    }
    // A newcomer has nothing but the genesis, and cannot know better.
    let (newcomer, _) = client(line.clone(), None).await;
    assert_eq!(newcomer.network().header_hash(), Some(forged.hash()));
    newcomer.shutdown().await;
    // With a checkpoint it does.
    let checkpointed = line.clone().with_checkpoint(Some(network.held().checkpoint()));
    let checkpointed: Bootstrap = checkpointed.to_string().parse().expect("a line");
    let fault = only_fault(start(checkpointed.clone(), None).await.0);
    assert!(matches!(fault, EntryFault::Refused(_)) && fault.to_string().contains("lead through"), "{fault}");
    // So does who was here before, and it says what it saw.
    let (started, mut told) = start(line.clone(), Some(folder)).await;
    assert!(started.is_err(), "no relay has the history that was known");
    told.wait("two histories", |event| matches!(event, DirectoryEvent::TwoHistories(_)).then_some(())).await;
    // As soon as one relay goes on with what was known, all is well.
    let next = network.make(|_| ()).expect("signed");
    network.publish(&next, |_| true).await.expect("published");
    for (line, directory) in [(line, Some(folder)), (checkpointed, None)] {
        let (node, _) = client(line, directory).await;
        assert_eq!(node.network().header_hash(), Some(next.hash()));
        node.shutdown().await;
    }
    network.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_network_is_joined_by_a_checkpoint_only() {
    // 91 days of epochs of two seconds.
    let network = network(AgreedConfig { age: 91 * 43_200, ..AgreedConfig::default() }).await;
    let fault = only_fault(start(network.bootstrap(&[0]), None).await.0);
    assert!(matches!(fault, EntryFault::LineTooOld(_)), "the relay is honest: {fault}");
    assert!(fault.to_string().contains("get a new bootstrap line"), "{fault}");
    let line = network.bootstrap(&[0]).with_checkpoint(Some(network.held().checkpoint()));
    let (node, _) = client(line, None).await;
    echo(&node).await;
    node.shutdown().await;
    network.shutdown().await;
}

fn unix() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_in_order() {
    let network = network(AgreedConfig::default()).await;
    let seen: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let record = Arc::clone(&seen);
    let node = Node::builder().bootstrap(network.bootstrap(&[0])).spares(0).on_directory(move |event| {
        let name = match event {
            DirectoryEvent::Entering { number: 1, of: 1 } => "entering",
            DirectoryEvent::Fetching { .. } => "fetching",
            DirectoryEvent::Verifying => "verifying",
            DirectoryEvent::Ready { .. } => "ready",
            _ => return,
        };
        let mut seen = record.lock().expect("no panic");
        if seen.last() != Some(&name) {
            seen.push(name);
        }
    });
    let node = node.start().await.expect("the client starts");
    assert_eq!(*seen.lock().expect("no panic"), ["entering", "fetching", "verifying", "ready"]);
    node.shutdown().await;
    network.shutdown().await;
}

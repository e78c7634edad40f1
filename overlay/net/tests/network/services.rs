//! Anonymous services in a network in one process: reached, restarted, lied about, flooded, cut off, and never located.

#![allow(clippy::print_stdout, reason = "figures that a reader of the test's output wants to see")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use zmesh_overlay::testnet::{Lie, Testnet, TestnetConfig};
use zmesh_overlay::{
    DialError, IsolationToken, ListenError, Listener, Node, RelayId, ServiceKey, ServiceOptions, Stream,
};

/// A bound on everything that should take a moment, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(120);

async fn testnet(config: TestnetConfig) -> Testnet {
    Testnet::start(config).await.expect("the test network starts")
}

fn relays(relays: usize) -> TestnetConfig {
    TestnetConfig { relays, exits: 1, ..TestnetConfig::default() }
}

async fn node(testnet: &Testnet) -> Node {
    Node::builder().network(testnet.network()).spares(0).standby(false).start().await.expect("the node starts")
}

fn key(seed: u8) -> ServiceKey {
    ServiceKey::from_seed(&[seed; 32])
}

async fn listen(node: &Node, key: &ServiceKey) -> Arc<Listener> {
    let listener = timeout(SOON, node.listen(key)).await.expect("in time").expect("the service is up");
    Arc::new(listener)
}

/// Sends back what comes, and says first which port was asked for.
fn echo(listener: &Arc<Listener>) -> tokio::task::JoinHandle<()> {
    let listener = Arc::clone(listener);
    tokio::spawn(async move {
        while let Some((stream, port)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ = writer.write_all(&port.to_be_bytes()).await;
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    })
}

async fn dial(node: &Node, key: &ServiceKey, port: u16) -> Result<Stream, DialError> {
    timeout(SOON, node.dial(&key.address(), port)).await.expect("in time")
}

/// Says something and hears it back.
async fn converse(stream: &mut Stream, port: u16) {
    let talk = async {
        assert_eq!(stream.read_u16().await.expect("the port"), port);
        let said: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            writer.write_all(&said).await.expect("written");
            writer.shutdown().await.expect("shut down");
        };
        let mut heard = Vec::new();
        let (_, read) = tokio::join!(write, reader.read_to_end(&mut heard));
        read.expect("read");
        assert_eq!(heard.len(), said.len());
        assert!(heard == said);
    };
    timeout(SOON, talk).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_reached_and_neither_side_learns_where_the_other_is() {
    let testnet = testnet(relays(12)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    let listener = listen(&service, &key(1)).await;
    assert_eq!(listener.address(), key(1).address());
    let stats = listener.stats();
    println!("copies {}, introduction points {}", stats.copies, stats.introduction_points);
    assert!(stats.copies >= 1 && stats.introduction_points >= 1);
    echo(&listener);
    let mut stream = dial(&client, &key(1), 7777).await.expect("reached");
    let path = stream.path();
    assert_eq!(path.len(), 3, "three relays of the client's own choice, the meeting relay the last of them");
    converse(&mut stream, 7777).await;

    // What somebody sees who captures every link: by its UDP port each node shows with whom it has links.
    let ports = |node: &Node| -> BTreeSet<u16> { node.local_addresses().iter().map(SocketAddr::port).collect() };
    let (of_service, of_client) = (ports(&service), ports(&client));
    let meeting: RelayId = path.last().expect("a meeting relay").id;
    let mut sees_service = BTreeSet::new();
    let mut sees_client = BTreeSet::new();
    let mut carried = BTreeMap::new();
    for (id, relay) in testnet.relays() {
        for (peer, datagrams) in relay.link_peers() {
            if of_service.contains(&peer.port()) {
                sees_service.insert(id);
            }
            if of_client.contains(&peer.port()) {
                sees_client.insert(id);
            }
            carried.insert((id, peer), datagrams);
        }
    }
    let guards = |node: &Node| node.guards().into_iter().collect::<BTreeSet<_>>();
    assert!(!sees_service.is_empty() && !sees_client.is_empty(), "the capture sees links");
    assert!(sees_service.is_subset(&guards(&service)), "only its guards have links with the service");
    assert!(sees_client.is_subset(&guards(&client)), "only its guards have links with the client");
    // A guard may be drawn as a meeting relay like any other; then the circuit to it begins at another guard.
    assert!(!sees_client.contains(&meeting) || guards(&client).contains(&meeting), "nor has the meeting relay");
    assert_ne!(path.first().expect("a guard").id, meeting);
    // The two nodes themselves have links with their guards and with nobody else, least of all with each other.
    let relay_ports: BTreeMap<u16, RelayId> = testnet
        .relays()
        .flat_map(|(id, relay)| relay.local_addresses().into_iter().map(move |a| (a.port(), id)))
        .collect();
    for (node, other) in [(&service, &of_client), (&client, &of_service)] {
        let peers: BTreeSet<u16> = node.link_peers().iter().map(|(peer, _)| peer.port()).collect();
        assert!(peers.is_disjoint(other));
        assert!(peers.iter().all(|port| relay_ports.get(port).is_some_and(|id| node.guards().contains(id))));
    }
    // 100 kB went either way: they show on the guards' links.
    assert!(carried.iter().any(|((_, peer), datagrams)| of_client.contains(&peer.port()) && *datagrams > 100));
    assert!(carried.iter().any(|((_, peer), datagrams)| of_service.contains(&peer.port()) && *datagrams > 100));
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_shared_by_its_token_only_and_ports_can_be_closed() {
    let testnet = testnet(relays(8)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    let options = ServiceOptions::default().ports([80]).introduction_points(1);
    let listener = timeout(SOON, service.listen_with(&key(2), options)).await.expect("in time").expect("up");
    let listener = Arc::new(listener);
    echo(&listener);
    let (token, address) = (IsolationToken::fresh(), key(2).address());
    for _ in 0..3 {
        let dialled = timeout(SOON, client.dial_isolated(token.clone(), &address, 80)).await.expect("in time");
        converse(&mut dialled.expect("reached"), 80).await;
    }
    assert_eq!(listener.stats().met, 1, "one meeting carried three streams");
    let closed = timeout(SOON, client.dial_isolated(token, &address, 81)).await.expect("in time");
    assert!(matches!(closed, Err(DialError::NoSuchPort)), "{closed:?}");
    assert!(matches!(dial(&client, &key(2), 0).await, Err(DialError::BadPort)));
    converse(&mut dial(&client, &key(2), 80).await.expect("reached"), 80).await;
    assert_eq!(listener.stats().met, 2, "another token, another meeting");
    // What was accepted goes on when the listener has gone; nobody new comes in.
    let mut kept = dial(&client, &key(2), 80).await.expect("reached");
    drop(listener);
    assert_eq!(kept.read_u16().await.expect("the port"), 80);
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_read_the_introduction_is_refused() {
    let testnet = testnet(relays(8)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    let options = ServiceOptions::default().introduction_points(1).forge_key();
    let listener = timeout(SOON, service.listen_with(&key(8), options)).await.expect("in time").expect("up");
    let dialled = dial(&client, &key(8), 8).await;
    assert!(matches!(dialled, Err(DialError::WrongKey)), "{dialled:?}");
    assert_eq!(listener.stats().met, 0, "no handshake was finished");
    testnet.shutdown().await;
}

/// The relays that pass introductions on.
async fn introducing(testnet: &Testnet) -> BTreeSet<RelayId> {
    let mut introducing = BTreeSet::new();
    for (id, relay) in testnet.relays() {
        if relay.metrics().await.expect("counters").service_introductions > 0 {
            introducing.insert(id);
        }
    }
    introducing
}

/// Were guards never drawn, whoever watches a service's introduction points or somebody's meeting relays would find the guards by what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn guards_are_drawn_as_introduction_points_and_meeting_relays() {
    let testnet = testnet(relays(5)).await;
    let service = node(&testnet).await;
    // Guards are chosen with the first circuits.
    drop(listen(&service, &key(9)).await);
    let guards: BTreeSet<RelayId> = service.guards().into_iter().collect();
    assert!(!guards.is_empty() && guards.len() < 6, "{} guards", guards.len());
    let drawn: BTreeSet<RelayId> = (0..300).map(|_| service.meeting_relay().expect("a relay")).collect();
    assert!(guards.is_subset(&drawn), "{} of {} guards", drawn.intersection(&guards).count(), guards.len());
    // Of six relays every sixth point is a certain one: in 60 starts each guard had its turn, but for once in 50,000.
    let mut points = BTreeSet::new();
    for start in 0..60 {
        let options = ServiceOptions::default().introduction_points(1);
        // Each time another service: revisions of one rise every ten seconds only.
        let listener =
            timeout(SOON, service.listen_with(&key(20 + start), options)).await.expect("in time").expect("up");
        points.extend(introducing(&testnet).await);
        drop(listener);
        if points.intersection(&guards).next().is_some() {
            println!("a guard after {} starts", start + 1);
            break;
        }
    }
    assert!(points.intersection(&guards).next().is_some(), "no guard was ever an introduction point");
    testnet.shutdown().await;
}

/// Whoever has the address fills introduction points; that must not make the service go from relay to relay.
#[tokio::test(flavor = "multi_thread")]
async fn an_introduction_point_that_is_full_goes_on_at_its_relay() {
    let testnet = testnet(relays(8)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    let options = ServiceOptions::default().introduction_points(1).introductions_of_a_point(2);
    let listener = timeout(SOON, service.listen_with(&key(10), options)).await.expect("in time").expect("up");
    let listener = Arc::new(listener);
    echo(&listener);
    let before = introducing(&testnet).await;
    assert_eq!(before.len(), 1);
    for round in 1..=2u64 {
        for _ in 0..2 {
            converse(&mut dial(&client, &key(10), 10).await.expect("reached"), 10).await;
        }
        let published = listener.stats().publications;
        timeout(SOON, async {
            let renewed = || {
                let stats = listener.stats();
                stats.introduction_points_ever > round && stats.introduction_points == 1
            };
            while !renewed() || listener.stats().publications <= published {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .expect("a new name, published");
        timeout(SOON, async {
            while introducing(&testnet).await != before {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .expect("at the same relay");
    }
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_nobody_published_is_not_found_and_a_small_network_says_so() {
    let testnet = testnet(relays(6)).await;
    let client = node(&testnet).await;
    assert!(matches!(dial(&client, &key(3), 80).await, Err(DialError::NotFound)));
    let two =
        Testnet::start(TestnetConfig { relays: 1, exits: 1, ..TestnetConfig::default() }).await.expect("it starts");
    let lonely = node(&two).await;
    let listened = timeout(SOON, lonely.listen(&key(3))).await.expect("in time");
    assert!(matches!(listened, Err(ListenError::NetworkTooSmall(_))), "{listened:?}");
    let dialled = dial(&lonely, &key(3), 80).await;
    assert!(matches!(dialled, Err(DialError::NetworkTooSmall(_) | DialError::NotFound)), "{dialled:?}");
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_service_keeps_its_address_and_its_second_relays() {
    let testnet = testnet(relays(10)).await;
    let client = node(&testnet).await;
    let folder = tempfile::tempdir().expect("a directory");
    let state = folder.path().join("relays");
    let options = || ServiceOptions::default().introduction_points(2).state(state.clone());
    let mut files = Vec::new();
    for _ in 0..2 {
        let service = node(&testnet).await;
        let listener = timeout(SOON, service.listen_with(&key(4), options())).await.expect("in time").expect("up");
        let listener = Arc::new(listener);
        let echoing = echo(&listener);
        converse(&mut dial(&client, &key(4), 22).await.expect("reached"), 22).await;
        files.push(std::fs::read(&state).expect("the state is kept"));
        echoing.abort();
        service.shutdown().await;
        // Revisions rise with time: the next run needs a later one than this run's last.
        sleep(Duration::from_secs(11)).await;
    }
    assert_eq!(files[0], files[1], "the same second relays");
    std::fs::write(&state, b"damaged").expect("written");
    let listened = timeout(SOON, node(&testnet).await.listen_with(&key(4), options())).await.expect("in time");
    assert!(matches!(listened, Err(ListenError::State(_))), "{listened:?}");
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_that_lie_are_survived() {
    // Five of eight lie: three withhold, two give the oldest descriptor that they got.
    let lies = vec![(0, Lie::Withhold), (1, Lie::Withhold), (2, Lie::Withhold), (3, Lie::Old), (4, Lie::Old)];
    let testnet = testnet(TestnetConfig { lies, ..relays(8) }).await;
    let client = node(&testnet).await;
    // The first run's introduction points are gone when the second one's descriptor is out.
    let first = node(&testnet).await;
    drop(listen(&first, &key(5)).await);
    first.shutdown().await;
    sleep(Duration::from_secs(11)).await;
    let second = node(&testnet).await;
    let listener = listen(&second, &key(5)).await;
    echo(&listener);
    for _ in 0..3 {
        converse(&mut dial(&client, &key(5), 5).await.expect("reached"), 5).await;
    }
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_introduction_relay_that_dies_is_replaced_and_a_meeting_relay_that_dies_is_an_error() {
    let mut testnet = testnet(relays(12)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    // Guards are chosen with the first circuits. Only relays that are nobody's guards die here: without two of its three
    // guards a client can do little, and that is not what is tested.
    drop(listen(&service, &key(60)).await);
    timeout(SOON, client.isolated(IsolationToken::fresh()).warm()).await.expect("in time").expect("a circuit");
    let guards: BTreeSet<RelayId> = service.guards().into_iter().chain(client.guards()).collect();

    // The relay that introduces: the only one that says so.
    let (mut seed, mut found) = (60, None);
    while found.is_none() {
        timeout(SOON, async {
            while !introducing(&testnet).await.is_empty() {
                sleep(Duration::from_millis(50)).await
            }
        })
        .await
        .expect("a service that is gone has no introduction points");
        seed += 1;
        let options = ServiceOptions::default().introduction_points(1);
        let listener = timeout(SOON, service.listen_with(&key(seed), options)).await.expect("in time").expect("up");
        let introducing = introducing(&testnet).await;
        assert_eq!(introducing.len(), 1);
        found = introducing.difference(&guards).next().map(|introducer| (listener, *introducer));
        assert!(seed < 120, "every service's introduction point is a guard");
    }
    let (listener, introducer) = found.expect("found");
    let listener = Arc::new(listener);
    echo(&listener);
    let key = key(seed);
    let mut stream = dial(&client, &key, 6).await.expect("reached");
    converse(&mut stream, 6).await;
    let published = listener.stats().publications;
    assert!(testnet.kill(introducer).await);
    timeout(SOON, async {
        while listener.stats().introduction_points_ever < 2 || listener.stats().publications == published {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("another introduction point, and a descriptor that says so");
    let mut again = dial(&client, &key, 6).await.expect("reached by way of another relay");
    converse(&mut again, 6).await;

    // The meeting relay of an open stream.
    let mut met = None;
    for _ in 0..40 {
        let stream = dial(&client, &key, 6).await.expect("reached");
        let meeting = stream.path().last().expect("a relay").id;
        if !guards.contains(&meeting) {
            met = Some((stream, meeting));
            break;
        }
    }
    let (mut open, meeting) = met.expect("a meeting relay that is nobody's guard");
    assert_eq!(open.read_u16().await.expect("the port"), 6);
    assert!(testnet.kill(meeting).await);
    let ended = timeout(SOON, open.read_u8()).await.expect("the stream ends by itself");
    let error = ended.expect_err("it was cut off").to_string();
    println!("{error}");
    assert!(error.contains("circuit") || error.contains("connection"));
    // Either side may still choose a dead relay, for the document lists both: whoever dials tries again.
    let mut anew = None;
    for _ in 0..5 {
        match dial(&client, &key, 6).await {
            Ok(stream) => {
                anew = Some(stream);
                break;
            }
            Err(error) => println!("not yet: {error}"),
        }
    }
    let mut anew = anew.expect("another meeting relay serves");
    converse(&mut anew, 6).await;
    testnet.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_beyond_the_bound_wait_and_the_service_asks_for_work() {
    let testnet = testnet(relays(8)).await;
    let (service, client) = (node(&testnet).await, node(&testnet).await);
    let options = ServiceOptions::default().introduction_points(1).clients(1).answers(1);
    let listener = timeout(SOON, service.listen_with(&key(7), options)).await.expect("in time").expect("up");
    let listener = Arc::new(listener);
    echo(&listener);
    // One client holds the only place; the others' introductions wait, are shed, and the price rises.
    let mut held = dial(&client, &key(7), 7).await.expect("reached");
    assert_eq!(held.read_u16().await.expect("the port"), 7);
    let crowd: Vec<_> = (0..3)
        .map(|_| {
            let (client, address) = (client.clone(), key(7).address());
            tokio::spawn(async move { client.dial(&address, 7).await.map(drop) })
        })
        .collect();
    timeout(SOON, async {
        while listener.stats().effort == 0 {
            sleep(Duration::from_millis(200)).await;
            // Whoever comes when nobody waits any more makes the service look at its queue.
        }
    })
    .await
    .expect("the price rises");
    for dialler in crowd {
        dialler.abort();
    }
    let published = listener.stats().publications;
    timeout(SOON, async {
        while listener.stats().publications == published && listener.stats().publications < 2 {
            sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("the price is announced");
    // A client that works is let in: the one that was let in for nothing, and moves nothing, goes for it.
    let mut paying = dial(&client, &key(7), 7).await.expect("reached");
    converse(&mut paying, 7).await;
    let ended = timeout(SOON, held.read_u8()).await.expect("its stream ends");
    println!("{}", ended.expect_err("it was cut off"));
    println!("{:?}", listener.stats());
    assert!(listener.stats().shed > 0);
    testnet.shutdown().await;
}

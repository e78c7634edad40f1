//! A whole network in one process: what a program sees through the circuit socket API.

#![allow(clippy::print_stdout, reason = "figures that a reader of the test's output wants to see")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{sleep, timeout};
use zmesh_overlay::egress::EgressError;
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{
    CircuitError, ConnectErrorKind, IsolationToken, MESSAGE_MAX, Meet, MeetingSpec, Node, NodeError, NodeEvent,
    PathSpec, UdpError,
};

/// A bound on everything that should take milliseconds, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(30);

async fn testnet(config: TestnetConfig) -> Testnet {
    Testnet::start(config).await.expect("the test network starts")
}

async fn origin(testnet: &Testnet) -> Node {
    Node::builder().network(testnet.network()).spares(0).start().await.expect("the node starts")
}

/// A TCP server that sends back what it gets, and ends when its peer does.
async fn tcp_echo(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = connection.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                let _ = writer.shutdown().await;
            });
        }
    });
    address
}

/// A TCP server that sends `len` pseudorandom bytes, and another that answers a stream by the hash of what it got.
async fn source_and_sink(len: usize) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let mut data = vec![0; len];
    let mut state = 1u64;
    for byte in &mut data {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let hash = Sha256::digest(&data).to_vec();
    let source = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let sink = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let addresses = (source.local_addr().expect("bound"), sink.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = source.accept().await {
            let _ = connection.write_all(&data).await;
            let _ = connection.shutdown().await;
        }
    });
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = sink.accept().await {
            let mut hash = Sha256::new();
            let mut buffer = vec![0; 1 << 16];
            loop {
                match connection.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(len) => hash.update(&buffer[..len]),
                }
            }
            let _ = connection.write_all(&hash.finalize()).await;
            let _ = connection.shutdown().await;
        }
    });
    (addresses.0, addresses.1, hash)
}

#[tokio::test]
async fn another_network_is_refused_and_the_one_in_use_stays() {
    let (testnet, other) = (testnet(TestnetConfig::default()).await, testnet(TestnetConfig::default()).await);
    let node = origin(&testnet).await;
    assert!(matches!(node.set_network(other.network()).await, Err(NodeError::OtherNetwork)));
    assert_eq!(node.network().network_id(), testnet.network().network_id());
    assert!(node.set_network(testnet.network()).await.is_ok());
    let (_, relay) = testnet.relays().next().expect("it has relays");
    assert!(matches!(relay.set_network(other.network()).await, Err(NodeError::OtherNetwork)));
    node.circuit(PathSpec::exit()).await.expect("the network is the one that it was");
}

#[tokio::test]
async fn tcp_echo_through_three_hops() {
    let testnet = testnet(TestnetConfig::default()).await;
    let node = origin(&testnet).await;
    let address = tcp_echo("127.0.0.1:0").await;
    let circuit = node.circuit(PathSpec::exit().hops(3)).await.expect("a circuit");
    let path = circuit.path();
    assert_eq!(path.len(), 3);
    assert_eq!(path.iter().map(|hop| hop.id).collect::<HashSet<_>>().len(), 3);
    for hop in 0..3 {
        assert!(circuit.ping(hop).await.expect("the hop answers") < SOON);
    }
    assert!(matches!(circuit.ping(3).await, Err(CircuitError::NoSuchHop(3))));

    let mut stream = circuit.connect(address).await.expect("connected");
    stream.write_all(b"hello").await.expect("written");
    let mut answer = [0; 5];
    timeout(SOON, stream.read_exact(&mut answer)).await.expect("in time").expect("read");
    assert_eq!(&answer, b"hello");
    // The sending half ends, the other half stays open until the echo ends too.
    stream.write_all(b" world").await.expect("written");
    stream.shutdown().await.expect("shut down");
    let mut rest = Vec::new();
    timeout(SOON, stream.read_to_end(&mut rest)).await.expect("in time").expect("read");
    assert_eq!(rest, b" world");

    let refused = circuit.connect(("127.0.0.1", 1)).await.expect_err("nothing listens on port 1");
    assert_eq!(refused.egress(), Some(EgressError::ConnectionRefused));
    let forbidden = circuit.connect(("192.0.2.1", 80)).await.expect_err("the egress reaches loopback only");
    assert_eq!(forbidden.egress(), Some(EgressError::Refused));
    let misuse = circuit.connect(("not a name", 80)).await.expect_err("a name has no spaces");
    assert_eq!(misuse.kind(), ConnectErrorKind::Misuse);

    circuit.close();
    assert!(matches!(timeout(SOON, circuit.closed()).await, Ok(CircuitError::Closed(_))));
    node.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test]
async fn ten_megabytes_both_ways_arrive_whole() {
    let testnet = testnet(TestnetConfig::default()).await;
    let node = origin(&testnet).await;
    let len = 10_000_000;
    let (source, sink, hash) = source_and_sink(len).await;
    let circuit = node.circuit(PathSpec::exit().hops(3)).await.expect("a circuit");

    let mut download = circuit.connect(source).await.expect("connected");
    let mut data = Vec::new();
    timeout(SOON, download.read_to_end(&mut data)).await.expect("in time").expect("read");
    assert_eq!(data.len(), len);
    assert_eq!(Sha256::digest(&data).to_vec(), hash);

    let mut upload = circuit.connect(sink).await.expect("connected");
    timeout(SOON, upload.write_all(&data)).await.expect("in time").expect("written");
    upload.shutdown().await.expect("shut down");
    let mut answer = Vec::new();
    timeout(SOON, upload.read_to_end(&mut answer)).await.expect("in time").expect("read");
    assert_eq!(answer, hash);
    node.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test]
async fn udp_echo_long_and_short() {
    let testnet = testnet(TestnetConfig::default()).await;
    let node = origin(&testnet).await;
    let echo = UdpSocket::bind("127.0.0.1:0").await.expect("a port is free");
    let address = echo.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok((len, from)) = echo.recv_from(&mut buffer).await {
            let _ = echo.send_to(&buffer[..len], from).await;
        }
    });
    let circuit = node.circuit(PathSpec::exit().hops(3)).await.expect("a circuit");
    let socket = circuit.bind_udp().await.expect("a socket");
    let mut buffer = vec![0; 1 << 16];
    for len in [0, 1, 100, 1200, 1400, 9000, 60_000] {
        let payload = vec![7; len];
        let answered = async {
            // Datagrams may be lost: whoever needs an answer asks again.
            loop {
                socket.send_to(&payload, address).await.expect("sent");
                let answer = timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await;
                // A late answer to an earlier question is of another length.
                if let Ok(received) = answer
                    && received.expect("received") == (len, address)
                {
                    break;
                }
            }
        };
        timeout(SOON, answered).await.expect("in time");
    }
    let too_large = socket.send_to(&vec![0; 65_508], address).await;
    assert!(matches!(too_large, Err(UdpError::TooLarge { len: 65_508, max: 65_507 })));
    assert!(matches!(socket.send_to(b"x", ("a b", 1)).await, Err(UdpError::BadName)));
    node.shutdown().await;
    assert!(matches!(timeout(SOON, socket.recv_from(&mut buffer)).await, Ok(Err(UdpError::Lost(_)))));
    testnet.shutdown().await;
}

#[tokio::test]
async fn names_are_resolved_at_the_exit() {
    let testnet = testnet(TestnetConfig::default()).await;
    let node = origin(&testnet).await;
    let session = node.isolated(IsolationToken::fresh());
    let addresses = session.resolve("localhost").await.expect("it knows localhost");
    assert!(addresses.iter().all(IpAddr::is_loopback) && !addresses.is_empty());
    let unknown = session.resolve("unknown.invalid").await.expect_err("it knows nothing else");
    assert_eq!(unknown.egress(), Some(EgressError::NameNotFound));
    let names = session.resolve_ptr(IpAddr::V6(Ipv6Addr::LOCALHOST)).await.expect("it knows loopback");
    assert_eq!(names, ["localhost"]);
    node.shutdown().await;
    testnet.shutdown().await;
}

/// QUIC sessions up at all exits together: each is a connection of its own, by a circuit of its own.
async fn exit_sessions(testnet: &Testnet) -> usize {
    let mut sessions = 0;
    for (_, relay) in testnet.relays() {
        sessions += relay.metrics().await.expect("it runs").sessions;
    }
    sessions
}

#[tokio::test]
async fn tokens_share_no_circuit_and_equal_ones_do() {
    let testnet = testnet(TestnetConfig { relays: 6, ..TestnetConfig::default() }).await;
    let node = origin(&testnet).await;
    let address = tcp_echo("127.0.0.1:0").await;
    let alice = node.isolated(IsolationToken::from_parts(&[b"alice", b"secret"]));
    let again = node.isolated(IsolationToken::from_parts(&[b"alice", b"secret"]));
    let bob = node.isolated(IsolationToken::from_parts(&[b"bob", b"secret"]));
    let _one = alice.connect(address).await.expect("connected");
    let _two = again.connect(address).await.expect("connected");
    let _three = bob.connect(address).await.expect("connected");
    let (alice, again, bob) = (alice.circuits(), again.circuits(), bob.circuits());
    assert_eq!((alice.len(), again.len(), bob.len()), (1, 1, 1));
    assert!(alice[0].same_as(&again[0]), "equal tokens share a circuit");
    assert!(!alice[0].same_as(&bob[0]), "different tokens share none");
    assert_eq!(exit_sessions(&testnet).await, 2, "no spares: one session for each token");
    node.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test]
async fn tokens_that_race_for_one_spare_share_no_circuit() {
    let testnet = testnet(TestnetConfig { relays: 6, ..TestnetConfig::default() }).await;
    let node = Node::builder().network(testnet.network()).spares(1).start().await.expect("the node starts");
    let address = tcp_echo("127.0.0.1:0").await;
    let warm = async {
        while exit_sessions(&testnet).await < 1 {
            sleep(Duration::from_millis(10)).await;
        }
        // The exit is up half a round trip before the origin is.
        sleep(Duration::from_millis(200)).await;
    };
    timeout(SOON, warm).await.expect("a spare is built unasked");
    let sessions: Vec<_> = (0..4).map(|_| node.isolated(IsolationToken::fresh())).collect();
    let (one, two, three, four) = tokio::join!(
        sessions[0].connect(address),
        sessions[1].connect(address),
        sessions[2].connect(address),
        sessions[3].connect(address)
    );
    let _streams = [one, two, three, four].map(|stream| stream.expect("connected"));
    let circuits: Vec<_> = sessions.iter().flat_map(|session| session.circuits()).collect();
    assert_eq!(circuits.len(), 4);
    for (at, circuit) in circuits.iter().enumerate() {
        assert!(circuits[at + 1..].iter().all(|other| !circuit.same_as(other)), "two tokens share a circuit");
    }
    assert!(exit_sessions(&testnet).await >= 4, "four tokens, four sessions, and a spare besides");
    node.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test]
async fn an_exit_with_the_wrong_key_is_refused() {
    let testnet = testnet(TestnetConfig { forge_exit_keys: true, ..TestnetConfig::default() }).await;
    let node = origin(&testnet).await;
    let circuit = node.circuit(PathSpec::exit().hops(2)).await.expect("the circuit itself is sound");
    let exit = circuit.path().last().expect("a path").id;
    match timeout(SOON, circuit.ready()).await.expect("in time") {
        Err(CircuitError::ExitKey(blamed)) => assert_eq!(blamed, exit),
        other => panic!("expected the exit's key to be refused, got {other:?}"),
    }
    node.shutdown().await;
    testnet.shutdown().await;
}

/// Reads on for a while.
async fn keep_reading(stream: &mut zmesh_overlay::Stream, time: Duration) {
    let mut buffer = vec![0; 1 << 16];
    let read = async { while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {} };
    let _ = timeout(time, read).await;
}

/// Downloads through a session while one relay of its path is killed; true if the download goes on.
async fn kill_under_a_download(hop: usize) -> bool {
    let mut testnet = testnet(TestnetConfig { relays: 8, exits: 3, ..TestnetConfig::default() }).await;
    let node = origin(&testnet).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move { while connection.write_all(&[1; 1000]).await.is_ok() {} });
        }
    });
    let session = node.isolated(IsolationToken::fresh());
    let mut events = node.events();
    let mut stream = session.connect(address).await.expect("connected");
    let mut buffer = vec![0; 1 << 16];
    stream.read_exact(&mut buffer).await.expect("it flows");
    // Until a second circuit stands by.
    let standby = async { while !matches!(events.recv().await, Ok(NodeEvent::Standby { .. })) {} };
    timeout(SOON, async { tokio::join!(standby, keep_reading(&mut stream, Duration::from_secs(2))) })
        .await
        .expect("a standby");
    let victim = stream.path()[hop].id;
    assert!(testnet.kill(victim).await);
    let killed = Instant::now();
    let (mut last, mut silence) = (killed, Duration::ZERO);
    // What was under way still arrives; then the flow stops, and then it goes on or ends.
    let goes_on = loop {
        assert!(killed.elapsed() < SOON, "neither an error nor recovery");
        silence = silence.max(last.elapsed());
        last = Instant::now();
        match timeout(SOON, stream.read(&mut buffer)).await {
            Err(_) => panic!("a read hangs after a relay was killed"),
            Ok(Err(_) | Ok(0)) => break false,
            Ok(Ok(_)) if killed.elapsed() > Duration::from_millis(200) && stream.path()[hop].id != victim => {
                break true;
            }
            Ok(Ok(_)) => {}
        }
    };
    println!("relay {hop} killed under a download: silence for {:.2?}", silence.max(last.elapsed()));
    // The session itself works on in any case.
    let again = timeout(SOON, session.connect(address)).await.expect("in time");
    assert!(again.is_ok(), "{again:?}");
    node.shutdown().await;
    testnet.shutdown().await;
    goes_on
}

#[tokio::test]
async fn a_stream_survives_its_middle_relay() {
    assert!(kill_under_a_download(1).await);
}

#[tokio::test]
async fn a_stream_survives_its_guard() {
    assert!(kill_under_a_download(0).await);
}

#[tokio::test]
async fn a_killed_exit_is_an_error_and_the_session_goes_on() {
    assert!(!kill_under_a_download(2).await);
}

#[tokio::test]
async fn datagrams_meet_at_a_relay() {
    let testnet = testnet(TestnetConfig::default()).await;
    let (callee, caller) = (origin(&testnet).await, origin(&testnet).await);
    let relay = callee.meeting_relay().expect("a relay that splices");
    let cookie = [9; 16];
    let waiting = callee.meet(Meet::wait(cookie), MeetingSpec::chosen(relay)).await.expect("waits");
    let unknown = caller.meet(Meet::join([8; 16]), MeetingSpec::given(relay)).await;
    assert!(matches!(unknown, Err(CircuitError::Meeting(_))), "{unknown:?}");
    let joining = caller.meet(Meet::join(cookie), MeetingSpec::given(relay)).await.expect("joins");
    timeout(SOON, waiting.joined()).await.expect("in time").expect("joined");
    assert_eq!(joining.path().last().expect("a path").id, relay);
    assert_eq!((waiting.path().len(), joining.path().len()), (3, 4));
    for len in [1, 480, 1000, MESSAGE_MAX] {
        let message = vec![5; len];
        joining.send(&message).expect("sent");
        assert_eq!(timeout(SOON, waiting.recv()).await.expect("in time").expect("received"), message);
        waiting.send(&message).expect("sent");
        assert_eq!(timeout(SOON, joining.recv()).await.expect("in time").expect("received"), message);
    }
    let too_large = joining.send(&[0; MESSAGE_MAX + 1]);
    assert!(matches!(too_large, Err(CircuitError::TooLarge { .. })));
    joining.close();
    assert!(matches!(timeout(SOON, waiting.closed()).await, Ok(CircuitError::Closed(_))));
    callee.shutdown().await;
    caller.shutdown().await;
    testnet.shutdown().await;
}

#[tokio::test]
async fn everything_works_over_ipv6() {
    let config = TestnetConfig { address: Ipv6Addr::LOCALHOST.into(), ..TestnetConfig::default() };
    let testnet = testnet(config).await;
    let node = origin(&testnet).await;
    let address = tcp_echo("[::1]:0").await;
    let session = node.isolated(IsolationToken::fresh());
    let mut stream = session.connect(address).await.expect("connected");
    stream.write_all(b"six").await.expect("written");
    stream.shutdown().await.expect("shut down");
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.expect("in time").expect("read");
    assert_eq!(answer, b"six");
    node.shutdown().await;
    testnet.shutdown().await;
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    let list = std::fs::read_dir("/proc/self/task").expect("Linux lists threads");
    list.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("zmesh-"))
        .count()
}

/// Other tests of this binary start threads too, so this one runs in a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn shutdown_leaves_no_thread() {
    const CHILD: &str = "ZMESH_TEST_THREADS";
    if std::env::var_os(CHILD).is_none() {
        let me = std::env::current_exe().expect("this test has a file");
        let status = std::process::Command::new(me)
            .args(["--exact", "circuits::shutdown_leaves_no_thread"])
            .env(CHILD, "1")
            .status()
            .expect("it starts");
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let testnet = testnet(TestnetConfig::default()).await;
        let node = Node::builder().network(testnet.network()).start().await.expect("the node starts");
        let session = node.isolated(IsolationToken::fresh());
        let address = tcp_echo("127.0.0.1:0").await;
        let _stream = session.connect(address).await.expect("connected");
        assert!(threads() >= 12);
        timeout(SOON, node.shutdown()).await.expect("the node ends");
        assert!(session.connect(address).await.is_err());
        timeout(SOON, testnet.shutdown()).await.expect("the network ends");
        assert_eq!(threads(), 0);
        // Handles that are merely dropped end their threads, too.
        let dropped = self::testnet(TestnetConfig::default()).await;
        let node = origin(&dropped).await;
        drop(node);
        drop(dropped);
        for _ in 0..300 {
            if threads() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{} threads are left", threads());
    });
}

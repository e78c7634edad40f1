//! On loopback, with a name server of its own. Nothing here leaves the machine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket};

use super::*;
use crate::quota::Limits;

const ONE: CircuitHandle = CircuitHandle(1);

/// A name server that knows these names and counts the questions. Names that it does not know do not exist; `silent.`
/// gets no answer.
struct Names {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
}

async fn names(table: &[(&str, &[&str])]) -> Names {
    let table: HashMap<String, Vec<IpAddr>> = table
        .iter()
        .map(|(name, ips)| ((*name).to_owned(), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
        .collect();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let questions = Arc::new(AtomicUsize::new(0));
    let counter = questions.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 1_500];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = answer(&buffer[..len], &table) {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Names { address, questions }
}

/// Answers a DNS query (RFC 1035, section 4).
fn answer(query: &[u8], table: &HashMap<String, Vec<IpAddr>>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..at + 1 + len]).to_lowercase());
        at += 1 + len;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let name = labels.join(".");
    if name == "silent" {
        return None;
    }
    let found = table.get(&name);
    let data: Vec<Vec<u8>> = found
        .into_iter()
        .flatten()
        .filter_map(|ip| match (kind, ip) {
            (1, IpAddr::V4(ip)) => Some(ip.octets().to_vec()),
            (28, IpAddr::V6(ip)) => Some(ip.octets().to_vec()),
            (12, _) => Some(b"\x04host\x07example\x00".to_vec()),
            _ => None,
        })
        .collect();
    let code = if found.is_some() { 0 } else { 3 };
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(data.len()).unwrap(), 0, 0, 0, 0]);
    out.extend(question);
    for record in data {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        out.extend(record);
    }
    Some(out)
}

fn direct(policy: Policy, names: &Names) -> Direct {
    Direct::new(DirectConfig { nameserver: Nameserver::At(names.address), ..DirectConfig::new(policy) }).unwrap()
}

/// Echoes whatever comes to it, by TCP and UDP on one port.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 2_000];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..len], from).await;
        }
    });
    address
}

async fn refused(direct: &Direct, target: impl Into<Target>) -> EgressError {
    match direct.connect(ONE, target.into()).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn tcp_by_address_and_by_name() {
    let names = names(&[("echo.example", &["127.0.0.1"])]).await;
    let direct = direct(Policy::test_network(), &names);
    let echo = echo().await;
    for target in [Target::from(echo), ("echo.example", echo.port()).into(), ("localhost", echo.port()).into()] {
        let mut stream = direct.connect(ONE, target).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"hello");
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut back).await.unwrap(), 0);
    }
    assert_eq!(direct.usage(), (1, 0));
    direct.closed(ONE);
    assert_eq!(direct.usage(), (0, 0));
}

#[tokio::test]
async fn the_policy_sees_the_address_behind_the_name() {
    let names = names(&[
        ("inside.example", &["127.0.0.1"]),
        ("mapped.example", &["::ffff:127.0.0.1"]),
        ("metadata.example", &["169.254.169.254", "fd00:ec2::254"]),
        ("nat64.example", &["64:ff9b::7f00:1"]),
    ])
    .await;
    let direct = direct(Policy::open(), &names);
    let echo = echo().await;
    for host in [
        "127.0.0.1",
        "::ffff:127.0.0.1",
        "localhost",
        "inside.example",
        "mapped.example",
        "metadata.example",
        "nat64.example",
    ] {
        assert_eq!(refused(&direct, (host, echo.port())).await, EgressError::Refused, "{host}");
    }
    let flow = direct.bind_udp(ONE).await.unwrap();
    for host in ["127.0.0.1", "inside.example", "inside.example"] {
        let target = Target::new(host, echo.port());
        assert_eq!(flow.send_to(b"x", &target).await, Err(EgressError::Refused), "{host}");
    }
    // Look-ups do not tell private addresses either.
    assert_eq!(direct.resolve(ONE, "inside.example").await, Err(EgressError::Refused));
    assert_eq!(direct.resolve_ptr(ONE, "10.0.0.1".parse().unwrap()).await, Err(EgressError::Refused));
    assert_eq!(refused(&direct, ("inside.example", 25)).await, EgressError::Refused);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let names = names(&[("nothing.example", &[])]).await;
    let mut config = DirectConfig::new(Policy::test_network());
    config.nameserver = Nameserver::At(names.address);
    let hasty = Direct::new(DirectConfig { resolve_timeout: Duration::from_millis(300), ..config.clone() }).unwrap();
    let direct = Direct::new(config).unwrap();
    // Bound and not listening: it refuses, and nobody else can take the port meanwhile.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = held.local_addr().unwrap();
    assert_eq!(refused(&direct, closed).await, EgressError::ConnectionRefused);
    assert_eq!(refused(&direct, ("localhost", closed.port())).await, EgressError::ConnectionRefused);
    assert_eq!(refused(&direct, ("unknown.example", 80)).await, EgressError::NameNotFound);
    assert_eq!(refused(&direct, ("nothing.example", 80)).await, EgressError::NameNotFound);
    assert_eq!(refused(&hasty, ("silent", 80)).await, EgressError::Timeout);
    assert_eq!(refused(&direct, ("not a name", 80)).await, EgressError::NameNotFound);
    assert_eq!(refused(&direct, ("127.1", 80)).await, EgressError::NameNotFound);
}

#[tokio::test]
async fn names_that_dns_does_not_serve_are_not_asked_for() {
    let names = names(&[]).await;
    let direct = direct(Policy::test_network(), &names);
    for host in ["abc.onion", "onion", "x.i2p", "service.zmesh", "printer.local", "db.internal", "a.localhost"] {
        let _ = direct.resolve(ONE, host).await;
    }
    assert_eq!(names.questions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn look_ups_both_ways_and_no_cache() {
    let public = ["93.184.216.34", "2606:2800:220:1::1"];
    let names = names(&[
        ("example.com", &public),
        ("mixed.example", &["10.0.0.1", "93.184.216.34"]),
        ("34.216.184.93.in-addr.arpa", &["1.1.1.1"]),
    ])
    .await;
    let direct = direct(Policy::default(), &names);
    let mut found = direct.resolve(ONE, "Example.COM.").await.unwrap();
    found.sort();
    assert_eq!(found, public.map(|ip| ip.parse::<IpAddr>().unwrap()));
    assert_eq!(direct.resolve(ONE, "mixed.example").await.unwrap(), ["93.184.216.34".parse::<IpAddr>().unwrap()]);
    assert_eq!(direct.resolve(ONE, "93.184.216.34").await.unwrap().len(), 1);
    assert_eq!(direct.resolve_ptr(ONE, "93.184.216.34".parse().unwrap()).await.unwrap(), ["host.example"]);
    // Another circuit's question goes out as if nobody had asked before.
    let before = names.questions.load(Ordering::Relaxed);
    direct.resolve(CircuitHandle(2), "example.com").await.unwrap();
    assert!(names.questions.load(Ordering::Relaxed) > before);
}

#[tokio::test]
async fn udp_flows_let_in_whom_they_sent_to() {
    let names = names(&[("echo.example", &["127.0.0.1"])]).await;
    let direct = direct(Policy::test_network(), &names);
    let echo = echo().await;
    let flow = direct.bind_udp(ONE).await.unwrap();
    let mut buffer = [0; 100];
    for target in [Target::from(echo), ("echo.example", echo.port()).into(), ("echo.example", echo.port()).into()] {
        flow.send_to(b"ping", &target).await.unwrap();
        let (len, from) = flow.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], from), (&b"ping"[..], echo));
    }
    // One question (for two families) per name and flow.
    assert!(names.questions.load(Ordering::Relaxed) <= 2);

    // A stranger learns the flow's port from somebody who was sent to, and writes to it.
    let friend = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    flow.send_to(b"hi", &friend.local_addr().unwrap().into()).await.unwrap();
    let (_, flows_address) = friend.recv_from(&mut buffer).await.unwrap();
    stranger.send_to(b"unsolicited", flows_address).await.unwrap();
    friend.send_to(b"reply", flows_address).await.unwrap();
    let (len, from) = flow.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..len], from), (&b"reply"[..], friend.local_addr().unwrap()));
}

#[tokio::test]
async fn idle_flows_and_streams_end() {
    let names = names(&[]).await;
    let mut config = DirectConfig::new(Policy::test_network());
    config.nameserver = Nameserver::At(names.address);
    config.udp_idle = Duration::from_millis(50);
    config.stream_idle = Duration::from_millis(50);
    let direct = Direct::new(config).unwrap();
    let flow = direct.bind_udp(ONE).await.unwrap();
    assert_eq!(flow.recv_from(&mut [0; 10]).await, Err(EgressError::Timeout));
    let mut stream = direct.connect(ONE, echo().await.into()).await.unwrap();
    let error = stream.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn quotas_are_kept_per_circuit() {
    let names = names(&[("example.com", &["93.184.216.34"])]).await;
    let mut config = DirectConfig::new(Policy::test_network());
    config.nameserver = Nameserver::At(names.address);
    config.limits =
        Limits { streams: 1, udp_flows: 1, lookups_per_minute: 2, bytes_total: Some(8), ..Limits::default() };
    let direct = Direct::new(config).unwrap();
    let echo = echo().await;
    let mut held = direct.connect(ONE, echo.into()).await.unwrap();
    assert_eq!(refused(&direct, echo).await, EgressError::QuotaExceeded);
    let flow = direct.bind_udp(ONE).await.unwrap();
    assert!(matches!(direct.bind_udp(ONE).await, Err(EgressError::QuotaExceeded)));
    for _ in 0..2 {
        direct.resolve(ONE, "example.com").await.unwrap();
    }
    assert_eq!(direct.resolve(ONE, "example.com").await, Err(EgressError::QuotaExceeded));
    assert_eq!(direct.resolve_ptr(ONE, "1.1.1.1".parse().unwrap()).await, Err(EgressError::QuotaExceeded));
    // Another circuit is not concerned.
    let two = CircuitHandle(2);
    assert!(direct.connect(two, echo.into()).await.is_ok());
    assert!(direct.resolve(two, "example.com").await.is_ok());
    // Bytes over the circuit's life: the read of the echo passes the limit, and then nothing moves.
    held.write_all(b"12345678").await.unwrap();
    let error = held.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    assert_eq!(flow.send_to(b"x", &echo.into()).await, Err(EgressError::QuotaExceeded));
}

#[tokio::test]
async fn a_paced_stream_arrives_whole() {
    let names = names(&[]).await;
    let mut config = DirectConfig::new(Policy::test_network());
    config.nameserver = Nameserver::At(names.address);
    config.limits.bytes_per_second = Some(1 << 20);
    let direct = Direct::new(config).unwrap();
    let stream = direct.connect(ONE, echo().await.into()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let sent: Vec<u8> = (0..800_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let copy = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    read.read_to_end(&mut got).await.unwrap();
    writing.await.unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn an_address_that_does_not_answer_gives_way_to_the_next() {
    // The listener is on IPv4 only: IPv6 of `localhost` is refused or absent, and the other family serves.
    let names = names(&[("both.example", &["::1", "127.0.0.1"])]).await;
    let direct = direct(Policy::test_network(), &names);
    let echo = echo().await;
    assert!(direct.connect(ONE, ("both.example", echo.port()).into()).await.is_ok());
}

#[tokio::test]
async fn an_unusable_name_server_is_an_error_not_a_hang() {
    let nobody = Names { address: "127.0.0.1:9".parse().unwrap(), questions: Arc::default() };
    let direct = Direct::new(DirectConfig {
        nameserver: Nameserver::At(nobody.address),
        resolve_timeout: Duration::from_millis(200),
        ..DirectConfig::default()
    })
    .unwrap();
    assert_eq!(*direct.dns_source(), DnsSource::Configured(nobody.address));
    let error = direct.resolve(ONE, "example.com").await.unwrap_err();
    assert!(matches!(error, EgressError::Timeout | EgressError::Unreachable), "{error:?}");
}

#[tokio::test]
async fn the_system_configuration_or_this_machine() {
    let direct = Direct::new(DirectConfig::default()).unwrap();
    match direct.dns_source() {
        DnsSource::System => {}
        DnsSource::ThisMachine { cause } => assert!(cause.contains("/etc/resolv.conf")),
        DnsSource::Configured(_) => panic!("nothing was configured"),
    }
}

/// Everything that is logged, at every level, by whichever crate.
#[derive(Clone, Default)]
struct Listener(Arc<std::sync::Mutex<String>>);

impl tracing::field::Visit for Listener {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!(" {field}={value:?}"));
    }
}

impl tracing::Subscriber for Listener {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.lock().unwrap().push_str(&format!("\n{}:", event.metadata().target()));
        event.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn no_destination_is_logged() {
    let listener = Listener::default();
    let _guard = tracing::subscriber::set_default(listener.clone());
    let names = names(&[("secret.example", &["127.0.0.1"]), ("secret-inside.example", &["10.77.66.55"])]).await;
    let direct = direct(Policy::test_network(), &names);
    let echo = echo().await;
    let secret = Target::new("secret.example", echo.port());
    let _stream = direct.connect(ONE, secret.clone()).await.unwrap();
    let flow = direct.bind_udp(ONE).await.unwrap();
    flow.send_to(b"x", &secret).await.unwrap();
    let strict =
        Direct::new(DirectConfig { nameserver: Nameserver::At(names.address), ..DirectConfig::default() }).unwrap();
    refused(&strict, ("secret-inside.example", 443)).await;
    refused(&strict, ("10.77.66.55", 443)).await;
    refused(&strict, ("secret-unknown.example", 443)).await;
    let _ = strict.resolve_ptr(ONE, "93.184.216.34".parse().unwrap()).await;
    let heard = listener.0.lock().unwrap().to_lowercase();
    assert!(heard.contains("zmesh_exits"), "the listener works: {heard}");
    for secret in ["secret", "10.77.66.55", "34.216.184.93", "93.184.216.34"] {
        assert!(!heard.contains(secret), "{secret} is in the log: {heard}");
    }
}

//! Streams that an exit serves, by QUIC over loopback instead of circuits: the address of a client says over which link
//! it comes.

use std::future::ready;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream, TokioRuntime};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use zmesh_proto::crowd::{Class, Via};
use zmesh_proto::node::LocalId;
use zmesh_proto::wire::request::{DocumentAsk, Failure, Host, Request, Response};

use crate::egress::{BoxFuture, CircuitHandle, Egress, EgressError, EgressStream, EgressUdp, Target};
use crate::exit::budget::{Budget, new_sessions};
use crate::exit::sessions::Sessions;
use crate::exit::{ExitServer, Session, loads, session};
use crate::quic::{EXIT, SERVER_NAME, answer, client_config, endpoint_config, exit_config};
use crate::{RelayKeys, entropy};

const SOON: Duration = Duration::from_secs(20);

/// Connects to nobody, and keeps what is connected open.
#[derive(Default)]
struct Nowhere(Mutex<Vec<DuplexStream>>);

impl Egress for Nowhere {
    fn connect(&self, _: CircuitHandle, _: Target) -> BoxFuture<'_, Result<Box<dyn EgressStream>, EgressError>> {
        let (here, there) = tokio::io::duplex(1_024);
        self.0.lock().expect("no panic").push(there);
        Box::pin(ready(Ok(Box::new(here) as Box<dyn EgressStream>)))
    }

    fn bind_udp(&self, _: CircuitHandle) -> BoxFuture<'_, Result<Box<dyn EgressUdp>, EgressError>> {
        Box::pin(ready(Err(EgressError::Unsupported)))
    }

    fn resolve<'a>(&'a self, _: CircuitHandle, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, EgressError>> {
        Box::pin(ready(Err(EgressError::NameNotFound)))
    }

    fn resolve_ptr(&self, _: CircuitHandle, _: IpAddr) -> BoxFuture<'_, Result<Vec<String>, EgressError>> {
        Box::pin(ready(Err(EgressError::NameNotFound)))
    }

    fn closed(&self, _: CircuitHandle) {}
}

/// Over which link somebody with this address comes.
fn via(address: SocketAddr) -> Option<Via> {
    let SocketAddr::V4(address) = address else { return None };
    Some(Via { class: Class::Known, link: address.ip().octets()[3].into() })
}

struct Exit {
    server: Arc<ExitServer>,
    address: SocketAddr,
    key: [u8; 32],
}

impl Exit {
    /// Takes whoever comes.
    fn start(budget: Budget) -> Self {
        let keys = RelayKeys::generate(&mut entropy::rng(), 1_700_000_000);
        let config = exit_config(&keys.exit_pkcs8(), &keys.exit_public()).expect("a configuration");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let address = socket.local_addr().expect("it is bound");
        let endpoint =
            Endpoint::new(endpoint_config(), Some(config), socket, Arc::new(TokioRuntime)).expect("an endpoint");
        let server = Arc::new(ExitServer {
            shard: Weak::new(),
            links: Box::new(via),
            egress: Some(Arc::new(Nowhere::default())),
            keeper: None,
            host: None,
            documents: None,
            sessions: Mutex::new(Sessions::new(100, 25)),
            next: AtomicU64::new(1),
            pace: Mutex::new(new_sessions()),
            budget,
            tickets: loads::Tickets::default(),
        });
        let serves = Arc::clone(&server);
        tokio::spawn(async move {
            let mut number = 0;
            while let Some(incoming) = endpoint.accept().await {
                number += 1;
                let via = via(incoming.remote_address()).expect("an address of a test");
                let evicted = Arc::new(Notify::new());
                serves.sessions().enter(number, LocalId::from_u64(number), via, Arc::clone(&evicted));
                let session = Session { server: Arc::clone(&serves), number, via, evicted, asked: false };
                tokio::spawn(session::serve(session, incoming));
            }
        });
        Self { server, address, key: keys.exit_public() }
    }

    /// A session that comes over this link.
    async fn session(&self, link: u8) -> Connection {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, link), 0)).expect("a socket");
        let endpoint = Endpoint::new(endpoint_config(), None, socket, Arc::new(TokioRuntime)).expect("an endpoint");
        let config = client_config(&self.key, None, EXIT).expect("a configuration");
        let connecting = endpoint.connect_with(config, self.address, SERVER_NAME).expect("it begins");
        timeout(SOON, connecting).await.expect("in time").expect("connected")
    }

    /// Waits until so many streams have not said what they want, or want what is here.
    async fn until_asking(&self, streams: usize) {
        let there = async {
            while self.server.budget.requests.taken() != streams {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, there).await.expect("in time");
    }
}

async fn ask(connection: &Connection, request: &Request) -> (Response, SendStream, RecvStream) {
    let (mut send, mut recv) = timeout(SOON, connection.open_bi()).await.expect("in time").expect("opened");
    send.write_all(&request.encode()).await.expect("written");
    let (response, _) = timeout(SOON, answer(&mut recv)).await.expect("in time").expect("answered");
    (response, send, recv)
}

async fn connect(connection: &Connection) -> (Response, SendStream, RecvStream) {
    let host = Host::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    ask(connection, &Request::Connect { host, port: 80 }).await
}

/// Streams that say nothing but the first byte of a request.
async fn silent(connection: &Connection, count: usize) -> Vec<(SendStream, RecvStream)> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let (mut send, recv) = timeout(SOON, connection.open_bi()).await.expect("in time").expect("opened");
        send.write_all(&[1]).await.expect("written");
        streams.push((send, recv));
    }
    streams
}

#[tokio::test]
async fn silent_streams_take_no_place_of_those_that_leave_and_end_soon() {
    let exit = Exit::start(Budget::of(40, 8, 0));
    let greedy = exit.session(1).await;
    let mut silent = silent(&greedy, 20).await;
    exit.until_asking(20).await;
    assert_eq!(exit.server.budget.egress.taken(), 0);
    let (response, ..) = connect(&greedy).await;
    assert_eq!(response, Response::Connected);
    assert_eq!(exit.server.budget.egress.taken(), 1);
    for (_, recv) in &mut silent {
        let end = timeout(SOON, recv.read_to_end(100)).await.expect("in time");
        assert!(matches!(end, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{end:?}");
    }
    exit.until_asking(0).await;
}

#[tokio::test]
async fn silent_streams_of_one_link_leave_another_its_place() {
    let exit = Exit::start(Budget::of(16, 8, 0));
    let (greedy, other) = (exit.session(1).await, exit.session(2).await);
    let mut silent = silent(&greedy, 16).await;
    exit.until_asking(16).await;
    let (response, ..) = connect(&other).await;
    assert_eq!(response, Response::Connected);
    let (_, last) = silent.last_mut().expect("it has some");
    let (told, _) = timeout(SOON, answer(last)).await.expect("in time").expect("an answer");
    assert_eq!(told, Response::Failed(Failure::QuotaExceeded));
}

#[tokio::test]
async fn streams_of_one_link_leave_another_its_first_and_everybody_what_is_here() {
    let exit = Exit::start(Budget::of(16, 8, 0));
    let (greedy, other) = (exit.session(1).await, exit.session(2).await);
    let mut open = Vec::new();
    for _ in 0..8 {
        let (response, send, recv) = connect(&greedy).await;
        assert_eq!(response, Response::Connected);
        open.push((send, recv));
    }
    assert_eq!(connect(&greedy).await.0, Response::Failed(Failure::QuotaExceeded));
    // This one gives no documents: so it says, instead of having no room for the question.
    for session in [&greedy, &other] {
        let (response, ..) = ask(session, &Request::Document(DocumentAsk::Head)).await;
        assert_eq!(response, Response::Failed(Failure::Unsupported));
    }
    let (response, ..) = connect(&other).await;
    assert_eq!(response, Response::Connected);
    assert_eq!(exit.server.budget.egress.taken(), 8);
    // What was cut off for it does not look as if it had come to its end.
    let (_, mut last) = open.pop().expect("it has some");
    let end = timeout(SOON, last.read_to_end(100)).await.expect("in time");
    assert!(matches!(end, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_)))), "{end:?}");
    let (_, mut before) = open.pop().expect("it has some");
    assert!(timeout(Duration::from_millis(100), before.read_to_end(100)).await.is_err(), "the others go on");
}

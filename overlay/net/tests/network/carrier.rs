//! Links over WebSocket, where UDP leads nowhere.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zmesh_overlay::{Fallback, Meet, MeetingSpec, Network, Node, Relay, RelayHandle, RelayKeys, WebSocketServer};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::random::Generator;
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, Terms};
use zmesh_proto::wire::document::{Draft, DraftTerms, SignerId};

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A document in which the relays are at these addresses.
fn document(keys: &[RelayKeys], addresses: &[SocketAddr], rng: &mut Generator) -> Arc<Network> {
    let (now, life) = (unix(), 3600);
    let signer = SignerKey::generate(rng);
    let signers = vec![SignerId(signer.public())];
    let terms =
        DraftTerms { name: "test".into(), test_network: true, valid_after: now, valid_until: now + life, signers };
    let mut draft = Draft::new(terms).expect("terms");
    for (at, (keys, address)) in keys.iter().zip(addresses).enumerate() {
        let info = DescriptorInfo {
            nickname: format!("relay{at}"),
            operator: format!("operator {at}"),
            family: None,
            country: None,
            addresses: vec![*address],
            exit: None,
            meeting: true,
            cache: false,
            mixer: false,
            directory: false,
            region: None,
            control: Vec::new(),
        };
        let terms = Terms { published: now, expires: now + life + 1, revision: 1 };
        draft.add(Descriptor::create(keys, &info, terms).expect("a descriptor")).expect("room");
    }
    draft.sign(&signer, now).expect("a signer");
    Arc::new(Network::from_document(draft.into_document().expect("signed"), now).expect("valid"))
}

struct Relays {
    handles: Vec<RelayHandle>,
    keys: Vec<RelayKeys>,
    /// As origins see it to whom no UDP gets through: nobody listens at these addresses.
    blocked: Arc<Network>,
    fallbacks: Vec<Fallback>,
    /// Where relays remember set-ups.
    _state: tempfile::TempDir,
}

async fn relays(count: usize) -> Relays {
    let mut rng = Generator::new(&[7; 32]);
    let keys: Vec<RelayKeys> = (0..count).map(|_| RelayKeys::generate(&mut rng, unix())).collect();
    let state = tempfile::tempdir().expect("a directory");
    let mut handles = Vec::new();
    for (at, keys) in keys.iter().enumerate() {
        let own = RelayKeys::from_text(keys.to_text().as_bytes()).expect("keys read back");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Relay::builder().keys(own).bind(any).meeting(true).traversal(true);
        let relay = relay.replay_file(state.path().join(at.to_string()));
        handles.push(relay.websocket(WebSocketServer::new(any)).start().await.expect("a relay"));
    }
    let addresses: Vec<SocketAddr> = handles.iter().map(|relay| relay.local_addresses()[0]).collect();
    let network = document(&keys, &addresses, &mut rng);
    for relay in &handles {
        relay.set_network(Arc::clone(&network)).await.expect("the first document");
    }
    let nowhere: Vec<SocketAddr> = (1..).take(count).map(|port| SocketAddr::from(([127, 255, 255, 1], port))).collect();
    let blocked = document(&keys, &nowhere, &mut rng);
    let entry = |(keys, relay): (&RelayKeys, &RelayHandle)| {
        let address = relay.websocket_address().expect("it serves");
        format!("{}@wss://{address}/", keys.id()).parse().expect("a fallback")
    };
    let fallbacks = keys.iter().zip(&handles).take(2).map(entry).collect();
    Relays { handles, keys, blocked, fallbacks, _state: state }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_over_websocket_where_udp_leads_nowhere() {
    let relays = relays(5).await;
    let node =
        || Node::builder().network(Arc::clone(&relays.blocked)).fallbacks(relays.fallbacks.clone()).spares(0).start();
    let (callee, caller) = (node().await.expect("a node"), node().await.expect("a node"));
    let meeting = relays.keys[4].id();
    let patience = tokio::time::Instant::now() + Duration::from_secs(60);
    let retry = |node: Node, meet: fn([u8; 16]) -> Meet| async move {
        loop {
            match node.meet(meet([7; 16]), MeetingSpec::chosen(meeting)).await {
                Ok(circuit) => return circuit,
                Err(error) => assert!(tokio::time::Instant::now() < patience, "{error}"),
            }
        }
    };
    let waiting = retry(callee.clone(), Meet::wait).await;
    let joined = retry(caller.clone(), Meet::join).await;
    waiting.joined().await.expect("somebody came");
    for number in 0..50u8 {
        joined.send(&[number; 480]).expect("ready");
        waiting.send(&[number; 480]).expect("ready");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // All come, and each once; those that a link over UDP repaired come later than others.
    for side in [&waiting, &joined] {
        let mut came = Vec::new();
        for _ in 0..50 {
            let message =
                tokio::time::timeout(Duration::from_secs(10), side.recv()).await.expect("it comes").expect("open");
            assert_eq!(message, [message[0]; 480]);
            came.push(message[0]);
        }
        came.sort_unstable();
        assert_eq!(came, (0..50).collect::<Vec<u8>>());
    }
    for relay in &relays.handles {
        relay.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_gets_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let relays = relays(1).await;
    let address = relays.handles[0].websocket_address().expect("it serves");
    let mut tcp = tokio::net::TcpStream::connect(address).await.expect("it listens");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .await
        .expect("sent");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut answer)).await.expect("it hangs up");
    assert!(!answer.starts_with(b"HTTP"), "without TLS there is no HTTP");
}

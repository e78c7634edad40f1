//! Real sockets through a shim. Nothing here depends on how quick the machine is: only on what arrives, and not before it may.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};
use zmesh_netem::{Access, Conditions, Loss};
use zmesh_shim::{Clients, Limits, Shim};

const PATIENCE: Duration = Duration::from_secs(20);

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(any()).await.expect("loopback works")
}

/// A server that sends everything back, and tells how many clients it saw.
async fn reflector() -> SocketAddr {
    let server = socket().await;
    let address = server.local_addr().expect("loopback works");
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = server.recv_from(&mut buffer).await {
            let _ = server.send_to(&buffer[..length], from).await;
        }
    });
    address
}

async fn receive(socket: &UdpSocket) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_048];
    let length = timeout(PATIENCE, socket.recv(&mut buffer)).await.ok()?.expect("loopback works");
    Some(buffer[..length].to_vec())
}

#[tokio::test]
async fn both_directions_take_their_delay_and_each_client_gets_its_own_answers() {
    let target = reflector().await;
    let mut shim = Shim::start(1, Limits::default());
    let delay = Duration::from_millis(20);
    let (person, relay) = (shim.host(&Access::both(Conditions::delay(delay))), shim.host(&Access::default()));
    let address = shim.forward(any(), Clients::Are(person), target, Some(relay)).unwrap();
    let (one, other) = (socket().await, socket().await);
    let begun = Instant::now();
    one.send_to(b"one", address).await.unwrap();
    other.send_to(b"other", address).await.unwrap();
    assert_eq!(receive(&one).await.unwrap(), b"one");
    assert!(begun.elapsed() >= 2 * delay);
    assert_eq!(receive(&other).await.unwrap(), b"other");
    let (up, down) = shim.counters(person);
    assert_eq!((up.sent, up.delivered(), down.sent), (2, 2, 2));
    assert_eq!(shim.counters(relay).0.sent, 2);
    assert_eq!((shim.report().received, shim.report().forwarded), (4, 4));
}

#[tokio::test]
async fn losses_are_those_of_the_pipes_and_are_counted() {
    let target = reflector().await;
    let mut shim = Shim::start(5, Limits::default());
    let lossy = Conditions { loss: Loss::Independent(0.3), ..Conditions::CLEAR };
    let person = shim.host(&Access { up: lossy.into(), down: Conditions::CLEAR.into() });
    let address = shim.forward(any(), Clients::Are(person), target, None).unwrap();
    let client = socket().await;
    for number in 0..200_u8 {
        client.send_to(&[number], address).await.unwrap();
        tokio::task::yield_now().await;
    }
    while shim.counters(person).0.sent < 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let up = shim.counters(person).0;
    assert!((30..90).contains(&up.lost), "{up:?}");
    let mut last = None;
    for _ in 0..up.delivered() {
        let number = receive(&client).await.unwrap()[0];
        assert!(last.is_none_or(|last| last < number), "order");
        last = Some(number);
    }
}

#[tokio::test]
async fn clients_are_told_apart_by_address_and_bounded() {
    let target = reflector().await;
    let mut shim = Shim::start(1, Limits { clients: 2, ..Limits::default() });
    let known = socket().await;
    let host = shim.host(&Access::default());
    let clients = Clients::By([(known.local_addr().unwrap(), host)].into());
    let address = shim.forward(any(), clients, target, None).unwrap();
    for client in [&known, &socket().await] {
        client.send_to(b"hello", address).await.unwrap();
        assert_eq!(receive(client).await.unwrap(), b"hello");
    }
    assert_eq!(shim.counters(host).0.sent, 1, "the other has no access link");
    let third = socket().await;
    third.send_to(b"hello", address).await.unwrap();
    while shim.report().refused == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    known.send_to(b"again", address).await.unwrap();
    assert_eq!(receive(&known).await.unwrap(), b"again");
}

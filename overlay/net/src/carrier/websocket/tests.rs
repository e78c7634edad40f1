//! Connections that are of no use end, and others carry both ways.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;
use zmesh_proto::wire::datagram::{HEADER_LEN, Header, Kind, S_LEN};

use super::*;
use crate::carrier::{Carrier, Hub};
use crate::shard::Bell;

const LONG: Duration = Duration::from_secs(1000);
const SHORT: Duration = Duration::from_millis(50);

struct Pumped {
    hub: Arc<Hub>,
    client: WebSocketStream<DuplexStream>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

async fn start(patience: Patience, used: bool) -> Pumped {
    let hub = Arc::new(Hub::new(Arc::new(Bell::default())));
    let (here, there) = tokio::io::duplex(4096);
    let connection = hub.enter(([192, 0, 2, 1], 44).into()).expect("there is room");
    let address = connection.address;
    let server = WebSocketStream::from_raw_socket(here, Role::Server, Some(config())).await;
    let client = WebSocketStream::from_raw_socket(there, Role::Client, Some(config())).await;
    let task = tokio::spawn(pump(connection, server, patience, move || std::future::ready(used)));
    Pumped { hub, client, address, task }
}

/// A datagram, or with another length something that is none.
fn message(len: usize) -> Message {
    let header = Header { kind: Kind::Data, suite: 1, index: 2, counter: 3 }.to_bytes();
    let mut bytes = vec![0; len];
    let front = len.min(HEADER_LEN);
    bytes[..front].copy_from_slice(&header[..front]);
    Message::Binary(bytes.into())
}

#[tokio::test]
async fn a_connection_without_a_link_ends() {
    let patience = Patience { silence: LONG, write: LONG, unused: SHORT };
    let mut pumped = start(patience, false).await;
    // Pings and datagrams of nobody keep it no longer.
    while !pumped.task.is_finished() {
        let _ = pumped.client.send(Message::Ping(Vec::new().into())).await;
        let _ = pumped.client.send(message(S_LEN)).await;
        let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |_, _| {});
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pings_and_what_is_no_datagram_are_no_life() {
    let patience = Patience { silence: SHORT, write: LONG, unused: LONG };
    let mut pumped = start(patience, true).await;
    while !pumped.task.is_finished() {
        let _ = pumped.client.send(Message::Ping(Vec::new().into())).await;
        let _ = pumped.client.send(message(1)).await;
        tokio::task::yield_now().await;
    }
    let mut came = 0;
    let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |_, _| came += 1);
    assert_eq!(came, 0, "what no datagram can be does not come to the node");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_not_waited_for() {
    let patience = Patience { silence: LONG, write: SHORT, unused: LONG };
    let mut pumped = start(patience, true).await;
    // The client never reads; the pipe between and the buffers fill up.
    while !pumped.task.is_finished() {
        pumped.hub.send(pumped.address, S_LEN, &vec![0; S_LEN * 64]);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_with_a_link_stays_and_carries_both_ways() {
    let patience = Patience { silence: LONG, write: LONG, unused: Duration::from_millis(1) };
    let mut pumped = start(patience, true).await;
    for _ in 0..100 {
        pumped.client.send(message(S_LEN)).await.expect("it is read");
        let mut came = 0;
        while came == 0 {
            let _ = pumped.hub.poll_receive(&mut noop(), 64, &mut |from, bytes| {
                came += usize::from(from == pumped.address && bytes.len() == S_LEN);
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pumped.hub.send(pumped.address, S_LEN, &vec![0; S_LEN]);
        let back = pumped.client.next().await.expect("open").expect("a message");
        assert_eq!(back.len(), S_LEN);
    }
    assert!(!pumped.task.is_finished());
}

fn noop() -> std::task::Context<'static> {
    std::task::Context::from_waker(std::task::Waker::noop())
}

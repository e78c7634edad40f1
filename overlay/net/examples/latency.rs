//! Measures UDP echo at 50 datagrams a second through three relays of one process: on an idle network, and beside a
//! download by another session.
//!
//! `cargo run --release -p zmesh-overlay --features testnet --example latency`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{interval, timeout};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{IsolationToken, Node};

const PROBES: usize = 250;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig { relays: 3, exits: 1, ..TestnetConfig::default() }).await?;
    let echo = echo().await?;
    let source = source().await?;
    let node = Node::builder().network(testnet.network()).start().await?;
    let other = Node::builder().network(testnet.network()).start().await?;

    let begun = Instant::now();
    let session = node.isolated(IsolationToken::fresh());
    let mut stream = session.connect(source).await?;
    stream.read_u8().await?;
    println!("connect to first byte, cold: {:?}", begun.elapsed());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let mut stream = session.connect(source).await?;
    stream.read_u8().await?;
    println!("connect to first byte, warm: {:?}", begun.elapsed());
    drop(stream);

    println!("idle: {}", probe(&session, echo).await?);
    let bulk = other.isolated(IsolationToken::fresh());
    let mut stream = bulk.connect(source).await?;
    let download = tokio::spawn(async move {
        let (mut buffer, mut total, begun) = (vec![0; 1 << 18], 0u64, Instant::now());
        while let Ok(len @ 1..) = stream.read(&mut buffer).await {
            total += len as u64;
            if begun.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        total as f64 / begun.elapsed().as_secs_f64() / 1e6
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("beside a download: {}", probe(&session, echo).await?);
    println!("the download: {:.1} MB/s", download.await?);
    node.shutdown().await;
    other.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

async fn probe(session: &zmesh_overlay::Session, echo: SocketAddr) -> Result<String, Box<dyn std::error::Error>> {
    let socket = session.bind_udp().await?;
    let mut tick = interval(Duration::from_millis(20));
    let (mut times, mut buffer) = (Vec::new(), [0; 200]);
    for number in 0..PROBES {
        tick.tick().await;
        let sent = Instant::now();
        socket.send_to(&number.to_be_bytes(), echo).await?;
        let answer = async {
            loop {
                let (len, _) = socket.recv_from(&mut buffer).await?;
                if buffer[..len] == number.to_be_bytes() {
                    return Ok::<_, zmesh_overlay::UdpError>(());
                }
            }
        };
        if timeout(Duration::from_millis(500), answer).await.is_ok() {
            times.push(sent.elapsed());
        }
    }
    times.sort();
    let lost = PROBES - times.len();
    Ok(match times.as_slice() {
        [] => "everything was lost".into(),
        [.., last] => {
            let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
            format!("p50 {half:?}, p99 {most:?}, max {last:?}, lost {lost} of {PROBES}")
        }
    })
}

async fn echo() -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let address = socket.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..len], from).await;
        }
    });
    Ok(address)
}

/// Sends without end to whoever connects.
async fn source() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let data = vec![0; 1 << 18];
                while connection.write_all(&data).await.is_ok() {}
            });
        }
    });
    Ok(address)
}

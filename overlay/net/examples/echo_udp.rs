//! Sends UDP datagrams through three relays to an echo server and measures the way there and back.
//!
//! `cargo run -p zmesh-overlay --features testnet --example echo_udp`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Node, PathSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig::default()).await?;
    let echo = UdpSocket::bind("127.0.0.1:0").await?;
    let address = echo.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = echo.recv_from(&mut buffer).await {
            let _ = echo.send_to(&buffer[..len], from).await;
        }
    });

    let node = Node::builder().network(testnet.network()).start().await?;
    let circuit = node.circuit(PathSpec::exit().hops(3)).await?;
    let socket = circuit.bind_udp().await?;
    let mut buffer = [0; 2048];
    for number in 1..=10 {
        let sent = Instant::now();
        socket.send_to(format!("datagram {number}").as_bytes(), address).await?;
        match timeout(Duration::from_secs(1), socket.recv_from(&mut buffer)).await {
            Ok(received) => {
                let (len, from) = received?;
                println!("{} from {from} after {:?}", String::from_utf8_lossy(&buffer[..len]), sent.elapsed());
            }
            Err(_) => println!("datagram {number} was lost, as datagrams may be"),
        }
        sleep(Duration::from_millis(20)).await;
    }

    node.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

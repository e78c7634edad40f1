//! Fetches a page through three relays.
//!
//! `cargo run -p zmesh-overlay --features testnet --example fetch`
//!
//! Starts a network and a web server of its own on loopback, so that it runs anywhere.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Node, PathSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig::default()).await?;
    let port = serve_one_page().await?;

    let node = Node::builder().network(testnet.network()).start().await?;
    let circuit = node.circuit(PathSpec::exit().hops(3).port(port)).await?;
    let names: Vec<_> = circuit.path().into_iter().map(|hop| hop.nickname).collect();
    println!("circuit {} in {:?}", names.join(" > "), circuit.build_time());

    let mut stream = circuit.connect(("localhost", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
    stream.shutdown().await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    println!("{page}");

    node.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

async fn serve_one_page() -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        let (mut connection, peer) = listener.accept().await?;
        println!("the web server sees {peer}: the exit, not the origin");
        let mut request = Vec::new();
        connection.read_to_end(&mut request).await?;
        connection
            .write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nHello from behind three relays.")
            .await?;
        connection.shutdown().await
    });
    Ok(port)
}

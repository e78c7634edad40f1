//! An anonymous service and a client that reaches it, neither of which learns where the other is.
//!
//! `cargo run -p zmesh-overlay --features testnet --example service`
//!
//! Starts a network of its own on loopback, so that it runs anywhere.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Node, ServiceKey};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig { relays: 8, ..TestnetConfig::default() }).await?;
    let service = Node::builder().network(testnet.network()).spares(0).start().await?;
    let client = Node::builder().network(testnet.network()).spares(0).start().await?;

    // A real service keeps its key in a file (ServiceKey::generate, to_text, from_text): the address follows from it.
    let key = ServiceKey::from_seed(&[7; 32]);
    let begun = Instant::now();
    let listener = service.listen(&key).await?;
    println!("published in {:?}: {}", begun.elapsed(), listener.address());
    tokio::spawn(async move {
        while let Some((mut stream, port)) = listener.accept().await {
            let hello = format!("Hello from nowhere, port {port}.");
            if stream.write_all(hello.as_bytes()).await.is_ok() {
                let _ = stream.shutdown().await;
            }
        }
    });

    let begun = Instant::now();
    let mut stream = client.dial(&key.address(), 80).await?;
    let path: Vec<_> = stream.path().into_iter().map(|hop| hop.nickname).collect();
    println!("reached in {:?} by way of {} > the service's own relays", begun.elapsed(), path.join(" > "));
    let mut said = String::new();
    stream.read_to_string(&mut said).await?;
    println!("{said}");

    client.shutdown().await;
    service.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

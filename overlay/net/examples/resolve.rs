//! Resolves names at an exit, so that no name server near the origin learns them.
//!
//! `cargo run -p zmesh-overlay --features testnet --example resolve`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{IsolationToken, Node};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig::default()).await?;
    let node = Node::builder().network(testnet.network()).start().await?;
    let session = node.isolated(IsolationToken::fresh());
    for name in ["localhost", "no-such-name.invalid"] {
        match session.resolve(name).await {
            Ok(addresses) => println!("{name}: {addresses:?}"),
            Err(error) => println!("{name}: {error} ({:?})", error.kind()),
        }
    }
    println!("127.0.0.1: {:?}", session.resolve_ptr("127.0.0.1".parse()?).await?);
    node.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

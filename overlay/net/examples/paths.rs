//! Builds a few circuits, shows their paths and measures the round trip to every hop.
//!
//! `cargo run -p zmesh-overlay --features testnet --example paths`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Node, PathSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let testnet = Testnet::start(TestnetConfig { relays: 8, ..TestnetConfig::default() }).await?;
    let node = Node::builder().network(testnet.network()).spares(0).start().await?;
    for hops in [2, 3, 3] {
        let circuit = node.circuit(PathSpec::exit().hops(hops)).await?;
        println!("{hops} hops, built in {:?}", circuit.build_time());
        for (index, hop) in circuit.path().iter().enumerate() {
            println!("  {} {:?}", hop.nickname, circuit.ping(index).await?);
        }
    }
    node.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

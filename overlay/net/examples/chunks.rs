//! One file fetched from one seeder and from several, in the same run: how fast, and how many symbols beyond the least.
//! Every relay sends 2 MB/s at most, as a home connection might; then one of them is slow, and then one lies.
#![allow(clippy::print_stdout, reason = "an example speaks to a person")]

use std::error::Error;
use std::time::Instant;

use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{ChunkOptions, Node};

const RELAYS: usize = 10;
const RATE: u64 = 2_000_000;
const SLOW: u64 = 150_000;
const LEN: usize = 6 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{:28} {:>8} {:>9} {:>9} {:>6}", "6 MiB, relays of 2 MB/s", "MB/s", "overhead", "circuits", "liars");
    // The seeders of a shelf are drawn by a hash, so the slow and the lying ones are tried at several places.
    let all: Vec<(usize, u64)> = (0..RELAYS).map(|relay| (relay, RATE)).collect();
    let slow: Vec<(usize, u64)> = (0..RELAYS).map(|relay| (relay, if relay % 3 == 0 { SLOW } else { RATE })).collect();
    measure("all alike", &all, &[], &[1, 2, 4]).await?;
    measure("every third at 0.15 MB/s", &slow, &[], &[1, 4, 12]).await?;
    measure("every third lies", &all, &[0, 3, 6, 9], &[4, 12]).await
}

async fn measure(
    name: &str,
    limits: &[(usize, u64)],
    poison: &[usize],
    seeders: &[usize],
) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("zmesh-chunks-example-{}", std::process::id()));
    let testnet = Testnet::start(TestnetConfig {
        relays: RELAYS,
        exits: 1,
        chunks: Some(folder.clone()),
        rate_limits: limits.to_vec(),
        poison: poison.to_vec(),
        ..TestnetConfig::default()
    })
    .await?;
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let data: Vec<u8> = (0..LEN).map(|_| next()).collect();
    let publisher = Node::builder().network(testnet.network()).spares(0).start().await?;
    let options = ChunkOptions::default().hops(1).copies(4);
    let published = publisher.put_file(&mut data.as_slice(), options, |_| ()).await?;
    publisher.shutdown().await;
    for count in seeders {
        // A node of its own each time: it has learnt nothing about the seeders.
        let reader = Node::builder().network(testnet.network()).spares(0).start().await?;
        let mut got = Vec::with_capacity(LEN);
        let begun = Instant::now();
        let options = ChunkOptions::default().hops(1).seeders(*count);
        let outcome = reader.get_file(&published.address, &mut got, options, |_| ()).await;
        let seconds = begun.elapsed().as_secs_f64();
        let what = format!("{name}: of {count}");
        match outcome {
            Ok(fetched) => {
                assert!(got == data, "a fetched file is the published one");
                let overhead = 100.0 * (fetched.symbols as f64 / fetched.needed as f64 - 1.0);
                let rate = LEN as f64 / 1e6 / seconds;
                println!("{what:28} {rate:8.2} {overhead:7.1} % {:9} {:6}", fetched.circuits, fetched.liars);
            }
            Err(error) => println!("{what:28} {error}"),
        }
        reader.shutdown().await;
    }
    testnet.shutdown().await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

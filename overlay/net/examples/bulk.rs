//! Measures a download and an upload through three relays of one process, and the processor time that they take.
//!
//! `cargo run --release -p zmesh-overlay --features testnet --example bulk -- [MEGABYTES]`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Node, PathSpec};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let megabytes: usize = std::env::args().nth(1).map_or(Ok(200), |arg| arg.parse())?;
    let bytes = megabytes * 1_000_000;
    let testnet = Testnet::start(TestnetConfig::default()).await?;
    let (source, sink) = (source(bytes).await?, sink().await?);
    let node = Node::builder().network(testnet.network()).spares(0).start().await?;
    let circuit = node.circuit(PathSpec::exit().hops(3)).await?;
    circuit.ready().await?;

    let start = (Instant::now(), processor_time());
    let mut download = circuit.connect(source).await?;
    let mut buffer = vec![0; 1 << 18];
    let mut received = 0;
    loop {
        match download.read(&mut buffer).await? {
            0 => break,
            len => received += len,
        }
    }
    assert_eq!(received, bytes);
    report("download", bytes, start);

    let start = (Instant::now(), processor_time());
    let mut upload = circuit.connect(sink).await?;
    buffer.fill(1);
    let mut left = bytes;
    while left > 0 {
        let len = left.min(buffer.len());
        upload.write_all(&buffer[..len]).await?;
        left -= len;
    }
    upload.shutdown().await?;
    let mut answer = Vec::new();
    upload.read_to_end(&mut answer).await?;
    report("upload", bytes, start);
    for (id, relay) in testnet.relays() {
        let metrics = relay.metrics().await?;
        if metrics.node.cells_received > 1000 {
            println!("{id:?} {:?} unsent {}", metrics.node.drops, metrics.datagrams_unsent);
            println!("    {:?}", metrics.node.queue);
        }
    }
    node.shutdown().await;
    testnet.shutdown().await;
    Ok(())
}

fn report(what: &str, bytes: usize, (started, before): (Instant, Option<Duration>)) {
    let seconds = started.elapsed().as_secs_f64();
    let rate = bytes as f64 / seconds / 1e6;
    print!("{what}: {rate:.1} MB/s");
    if let (Some(before), Some(after)) = (before, processor_time()) {
        let used = (after - before).as_secs_f64();
        let each = used * 1e6 / (bytes as f64 / 1400.0);
        print!(", {:.2} cores, {each:.1} µs of processor time for each 1,400 bytes", used / seconds);
    }
    println!();
}

/// Processor time of this process, where the system tells (Linux).
fn processor_time() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

/// Sends so many bytes to whoever connects.
async fn source(bytes: usize) -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let data = vec![0; 1 << 18];
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut left = bytes;
            while left > 0 {
                let len = left.min(data.len());
                if connection.write_all(&data[..len]).await.is_err() {
                    break;
                }
                left -= len;
            }
        }
    });
    Ok(address)
}

/// Reads to the end and says so.
async fn sink() -> std::io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 18];
        while let Ok((mut connection, _)) = listener.accept().await {
            while connection.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
            let _ = connection.write_all(b"done").await;
        }
    });
    Ok(address)
}

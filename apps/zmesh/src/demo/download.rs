//! 100 MB through the proxy: a file server, a SOCKS5 client, and a check of every byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand_core::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use crate::failure::{Failure, Outcome};
use crate::time::unix_micros;
use crate::{randomness, term};

const BLOCK: usize = 1_000_000;
const BLOCKS: u32 = 100;
const BYTES: usize = BLOCK * BLOCKS as usize;
/// How long the whole download may take, and each read of it.
const LIMIT: Duration = Duration::from_secs(180);
const STALL: Duration = Duration::from_secs(20);

/// A download that has arrived whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bulk {
    pub(crate) bytes: usize,
    /// From the request to the first byte of the file.
    pub(crate) first_byte: Duration,
    /// From the first byte to the last.
    pub(crate) took: Duration,
    /// The same in unix µs: from, to.
    pub(crate) during: (u64, u64),
}

impl Bulk {
    /// Megabytes (10⁶) a second.
    pub(crate) fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64().max(1e-9)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "bytes": self.bytes,
            "seconds": self.took.as_secs_f64(),
            "mb_per_second": self.rate(),
            "first_byte_ms": self.first_byte.as_secs_f64() * 1_000.0,
            "sha256": "matches",
        })
    }
}

/// Serves a file, downloads it through the proxy that is ready, and compares.
pub(super) async fn run(proxy: &Value) -> Outcome<Bulk> {
    let proxy: SocketAddr = proxy["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| failed("the proxy did not say its address"))?;
    let mut block = vec![0; BLOCK];
    randomness::generator()?.fill_bytes(&mut block);
    let expected = hash_of_file(&block);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    // The server ends with this function: it belongs to this future.
    let served = async {
        serve(&listener, &block).await.map_err(failed)?;
        std::future::pending::<Outcome<Bulk>>().await
    };
    let downloaded =
        async { timeout(LIMIT, download(proxy, port, expected)).await.unwrap_or_else(|_| Err(late(LIMIT))) };
    tokio::select! {
        outcome = downloaded => outcome,
        outcome = served => outcome,
    }
}

fn failed(why: impl std::fmt::Display) -> Failure {
    Failure::failed("the download failed", why, "see proxy.log and testnet/relay-*/log in the output directory")
}

fn late(limit: Duration) -> Failure {
    failed(format_args!("nothing more came within {} s", limit.as_secs()))
}

/// The file is one random block over and over, each time with its number in front, so that no two blocks are alike.
fn numbered(block: &mut [u8], number: u32) {
    block[..4].copy_from_slice(&number.to_be_bytes());
}

fn hash_of_file(block: &[u8]) -> [u8; 32] {
    let mut block = block.to_vec();
    let mut hash = Sha256::new();
    for number in 0..BLOCKS {
        numbered(&mut block, number);
        hash.update(&block);
    }
    hash.finalize().into()
}

async fn serve(listener: &TcpListener, block: &[u8]) -> std::io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A request of ours: a few short lines, then an empty one.
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut block = block.to_vec();
    for number in 0..BLOCKS {
        numbered(&mut block, number);
        stream.write_all(&block).await?;
    }
    stream.shutdown().await
}

async fn download(proxy: SocketAddr, port: u16, expected: [u8; 32]) -> Outcome<Bulk> {
    let mut stream = TcpStream::connect(proxy).await.map_err(failed)?;
    socks_connect(&mut stream, port).await?;
    let asked = Instant::now();
    stream.write_all(b"GET /file HTTP/1.1\r\nHost: localhost\r\n\r\n").await.map_err(failed)?;
    let mut stream = BufReader::with_capacity(256 * 1024, stream);
    let mut line = String::new();
    loop {
        line.clear();
        let read = timeout(STALL, stream.read_line(&mut line)).await.map_err(|_| late(STALL))?.map_err(failed)?;
        match read {
            0 => return Err(failed("the connection ended before the file")),
            1..=2 => break,
            _ => {}
        }
    }
    let (first_byte, begun, from) = (asked.elapsed(), Instant::now(), unix_micros());
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 * 1024];
    let mut shown = 0;
    while bytes < BYTES {
        let read = timeout(STALL, stream.read(&mut buffer)).await.map_err(|_| late(STALL))?.map_err(failed)?;
        if read == 0 {
            return Err(failed(format_args!("it ended after {bytes} of {BYTES} bytes")));
        }
        hash.update(&buffer[..read]);
        bytes += read;
        if bytes / (BYTES / 4) > shown && bytes < BYTES {
            shown = bytes / (BYTES / 4);
            term::progress(format_args!("{} of 100 MB", bytes / 1_000_000));
        }
    }
    let took = begun.elapsed();
    if hash.finalize()[..] != expected {
        return Err(failed("the SHA-256 of what arrived is not that of what was sent"));
    }
    Ok(Bulk { bytes, first_byte, took, during: (from, unix_micros()) })
}

/// Asks the proxy for `localhost`, by name: the exit looks it up.
async fn socks_connect(stream: &mut TcpStream, port: u16) -> Outcome {
    let name = b"localhost";
    let length = u8::try_from(name.len()).expect("nine bytes");
    let request = [&[5, 1, 0, 5, 1, 0, 3, length], &name[..], &port.to_be_bytes()].concat();
    stream.write_all(&request).await.map_err(failed)?;
    let mut answer = [0; 12];
    timeout(STALL, stream.read_exact(&mut answer)).await.map_err(|_| late(STALL))?.map_err(failed)?;
    match answer[3] {
        0 => Ok(()),
        code => Err(failed(format_args!("the proxy answered with SOCKS code {code}"))),
    }
}

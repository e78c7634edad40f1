//! A download through the proxy: a file server, a SOCKS5 client, and a check of every byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rand_core::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};

use crate::failure::{Failure, Outcome};
use crate::time::unix_micros;
use crate::{randomness, term};

const BLOCK: usize = 1_000_000;

/// What to download.
#[derive(Clone, Copy, Debug)]
pub(super) struct Download {
    /// Blocks of 10⁶ bytes.
    pub(super) megabytes: u32,
    /// When to be content with what has arrived; without it the file must arrive whole.
    pub(super) until: Option<Instant>,
}

impl Download {
    fn bytes(self) -> usize {
        BLOCK * self.megabytes as usize
    }
}

/// How long the whole download may take, and each read of it.
const LIMIT: Duration = Duration::from_secs(180);
const STALL: Duration = Duration::from_secs(20);

/// What has arrived of a download.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bulk {
    pub(crate) bytes: usize,
    /// How large the file is. If all of it arrived, its hash was compared.
    pub(crate) of: usize,
    /// From the request to the first byte of the file.
    pub(crate) first_byte: Option<Duration>,
    /// From the first byte to the last that arrived.
    pub(crate) took: Duration,
    /// The same in unix µs: from, to.
    pub(crate) during: (u64, u64),
    /// Why it did not go on, where that is no failure of the demo.
    pub(crate) broke: Option<String>,
}

impl Bulk {
    /// Megabytes (10⁶) a second.
    pub(crate) fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64().max(1e-9)
    }

    /// Whether the whole file arrived, in time.
    pub(crate) fn is_whole(&self) -> bool {
        self.bytes == self.of
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "bytes": self.bytes,
            "of_bytes": self.of,
            "seconds": self.took.as_secs_f64(),
            "mb_per_second": self.rate(),
            "first_byte_ms": self.first_byte.map(|took| took.as_secs_f64() * 1_000.0),
            "sha256": if self.is_whole() { "matches" } else { "not whole" },
            "broke": self.broke,
        })
    }
}

/// Serves a file, downloads it through the proxy that is ready, and compares.
pub(super) async fn run(proxy: &Value, what: Download) -> Outcome<Bulk> {
    let proxy: SocketAddr = proxy["address"]
        .as_str()
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| failed("the proxy did not say its address"))?;
    let mut block = vec![0; BLOCK];
    randomness::generator()?.fill_bytes(&mut block);
    let expected = hash_of_file(&block, what.megabytes);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    // The server ends with this function: it belongs to this future.
    let served = async {
        serve(&listener, &block, what).await.map_err(failed)?;
        std::future::pending::<Outcome>().await
    };
    let mut bulk = Bulk { of: what.bytes(), ..Bulk::default() };
    let deadline = what.until.unwrap_or_else(|| Instant::now() + LIMIT);
    let outcome = tokio::select! {
        outcome = timeout_at(deadline, download(proxy, port, expected, &mut bulk)) => outcome,
        outcome = served => Ok(outcome),
    };
    match (outcome, what.until) {
        (Ok(Ok(())), _) | (Err(_), Some(_)) => {}
        (Ok(Err(failure)), Some(_)) => bulk.broke = Some(failure.to_string()),
        (Ok(Err(failure)), None) => return Err(failure),
        (Err(_), None) => return Err(late(LIMIT)),
    }
    Ok(bulk)
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

fn hash_of_file(block: &[u8], blocks: u32) -> [u8; 32] {
    let mut block = block.to_vec();
    let mut hash = Sha256::new();
    for number in 0..blocks {
        numbered(&mut block, number);
        hash.update(&block);
    }
    hash.finalize().into()
}

async fn serve(listener: &TcpListener, block: &[u8], what: Download) -> std::io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    // A request of ours: a few short lines, then an empty one.
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", what.bytes());
    stream.write_all(head.as_bytes()).await?;
    let mut block = block.to_vec();
    for number in 0..what.megabytes {
        numbered(&mut block, number);
        stream.write_all(&block).await?;
    }
    stream.shutdown().await
}

/// Cut off, it leaves in `bulk` what arrived until then.
async fn download(proxy: SocketAddr, port: u16, expected: [u8; 32], bulk: &mut Bulk) -> Outcome {
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
    let (begun, from) = (Instant::now(), unix_micros());
    bulk.first_byte = Some(asked.elapsed());
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut shown = 0;
    while bulk.bytes < bulk.of {
        let read = timeout(STALL, stream.read(&mut buffer)).await.map_err(|_| late(STALL))?.map_err(failed)?;
        if read == 0 {
            return Err(failed(format_args!("it ended after {} of {} bytes", bulk.bytes, bulk.of)));
        }
        hash.update(&buffer[..read]);
        bulk.bytes += read;
        bulk.took = begun.elapsed();
        bulk.during = (from, unix_micros());
        let quarter = bulk.of / 4;
        if bulk.bytes / quarter > shown && bulk.bytes < bulk.of {
            shown = bulk.bytes / quarter;
            term::progress(format_args!("{} of {} MB", bulk.bytes / BLOCK, bulk.of / BLOCK));
        }
    }
    if hash.finalize()[..] != expected {
        return Err(failed("the SHA-256 of what arrived is not that of what was sent"));
    }
    Ok(())
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

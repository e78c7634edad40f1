//! `zmesh chunk`: files that relays keep and cannot read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use zmesh_overlay::{Address, ChunkError, ChunkOptions, ChunkProgress, Node};

use crate::failure::{Failure, Outcome, not_started};
use crate::files;
use crate::guards::GuardOption;
use crate::network_file::{NetworkOption, Way};
use crate::stop::Stop;
use crate::term;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);
/// How long closing circuits may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// The longest line that is read for an address.
const LINE_MAX: u64 = 4096;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Chunk {
    /// Publish a file; prints its address. Whoever has the address can fetch and read the file, so hand it on like a key.
    #[command(after_help = "Example:\n  zmesh chunk put notes.pdf --network network > address")]
    Put {
        /// The file, of up to 2.1 GB.
        file: PathBuf,
        #[command(flatten)]
        common: Common,
        /// How many relays are given each piece; the relays see to it that it stays at four.
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=12))]
        copies: u8,
    },
    /// Fetch the file behind an address, from several relays at once.
    #[command(after_help = "Example:\n  zmesh chunk get --out notes.pdf --network network < address")]
    Get {
        /// The address. Without it, one line of stdin: other users of this machine can see what stands here.
        address: Option<String>,
        #[command(flatten)]
        common: Common,
        /// The file to make. An existing one is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// What both have.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// Relays of your own choice before the one that keeps a piece.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    hops: u8,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: Chunk) -> Outcome {
    let mut stop = Stop::listen(false)?;
    tokio::select! {
        biased;
        () = stop.wait() => Err(Failure::failed("stopped", "it was asked to stop", "start it again")),
        outcome = act(command) => outcome,
    }
}

async fn act(command: Chunk) -> Outcome {
    match command {
        Chunk::Put { file, common, copies } => put(&file, &common, copies).await,
        Chunk::Get { address, common, out } => get(address, &common, &out).await,
    }
}

async fn put(path: &Path, common: &Common, copies: u8) -> Outcome {
    let cannot = |error: io::Error| {
        Failure::misused(format_args!("cannot read {}", path.display()), files::reason(&error), "name a file")
    };
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        return Err(Failure::misused(
            format_args!("cannot read {}", path.display()),
            "it is a directory",
            "pack it into one file first",
        ));
    }
    let way = common.network.way()?;
    let what = format!("{} could not be published", path.display());
    let node = start(&way, common, &what).await?;
    let begun = Instant::now();
    let options = ChunkOptions::default().hops(common.hops.into()).copies(copies.into());
    let mut teller = Teller::new("published", Some(metadata.len()));
    let published = node.put_file(&mut Blocking(file), options, |progress| teller.tell(progress)).await;
    let _ = timeout(GOODBYE, node.shutdown()).await;
    let published = published.map_err(|error| failed(&what, &error))?;
    if published.copies < copies.into() {
        term::warning(format_args!(
            "some chunks are at {} relays only instead of {copies}: publish the file again later, or when more relays keep chunks",
            published.copies
        ));
    }
    let address = published.address.to_line();
    if common.json {
        term::json(&json!({
            "address": *address,
            "bytes": published.len,
            "chunks": published.chunks,
            "copies": published.copies,
            "seconds": begun.elapsed().as_secs_f64(),
        }));
    } else {
        term::progress(format_args!(
            "{} bytes in {} chunks, each at {} relays or more; hand this on like a key:",
            published.len, published.chunks, published.copies
        ));
        term::line(&*address);
    }
    Ok(())
}

async fn get(address: Option<String>, common: &Common, out: &Path) -> Outcome {
    let line = match address {
        Some(line) => line,
        None => read_line()?,
    };
    let address = Address::parse(&line).map_err(|error| {
        Failure::misused("the address cannot be used", error, "copy the whole line that zmesh chunk put printed")
    })?;
    let way = common.network.way()?;
    let what = "the file could not be fetched";
    let part = Part::create(out)?;
    let node = start(&way, common, what).await?;
    let begun = Instant::now();
    let options = ChunkOptions::default().hops(common.hops.into());
    let mut teller = Teller::new("fetched", None);
    let mut sink = Blocking(part.file()?);
    let fetched = node.get_file(&address, &mut sink, options, |progress| teller.tell(progress)).await;
    let _ = timeout(GOODBYE, node.shutdown()).await;
    let fetched = fetched.map_err(|error| failed(what, &error))?;
    part.keep()?;
    if fetched.liars > 0 {
        term::warning(format_args!("{} relays gave wrong data and were dropped; the file is right", fetched.liars));
    }
    if common.json {
        term::json(&json!({
            "file": out,
            "bytes": fetched.len,
            "chunks": fetched.chunks,
            "symbols": fetched.symbols,
            "symbols_needed": fetched.needed,
            "circuits": fetched.circuits,
            "liars": fetched.liars,
            "seconds": begun.elapsed().as_secs_f64(),
        }));
    } else {
        term::line(format_args!("{}: {} bytes over {} circuits", out.display(), fetched.len, fetched.circuits));
    }
    Ok(())
}

async fn start(way: &Way, common: &Common, what: &str) -> Outcome<Node> {
    let node = common.guards.node(way)?.spares(0).start().await.map_err(not_started)?;
    if common.hops == 1 && !node.network().is_test_network() {
        return Err(Failure::misused(what, "one hop hides nobody", "use --hops 2 or 3"));
    }
    Ok(node)
}

/// What went wrong, and what to do about it.
fn failed(what: &str, error: &ChunkError) -> Failure {
    let next = match error {
        ChunkError::NoSeeders => "use a network whose relays keep chunks: their operators turn it on in [chunks]",
        ChunkError::TooLong => "split the file",
        ChunkError::Missing { .. } => "try again later, or ask the publisher to publish it again",
        ChunkError::NotTaken { .. } => {
            "see whether the relays run; each keeps only so much for one publisher at a time, so try fewer --copies, or try later"
        }
        ChunkError::Unreadable(_) => "ask the publisher for the address again",
        _ => "see whether there is room on the disk, and try again",
    };
    Failure::failed(what, error, next)
}

fn read_line() -> Outcome<String> {
    let mut line = String::new();
    io::stdin().lock().take(LINE_MAX).read_line(&mut line).map_err(|error| {
        Failure::misused("no address was given", files::reason(&error), "give the address or pipe it in")
    })?;
    Ok(line)
}

/// Tells people how far it is, once a second.
struct Teller {
    done: &'static str,
    total: Option<u64>,
    told: Instant,
}

impl Teller {
    fn new(done: &'static str, total: Option<u64>) -> Teller {
        Teller { done, total, told: Instant::now() }
    }

    fn tell(&mut self, progress: ChunkProgress) {
        if self.told.elapsed() < TELL {
            return;
        }
        self.told = Instant::now();
        let total = progress.total.or(self.total).map_or(String::new(), |total| format!(" of {total}"));
        let (done, seeders) = (progress.done, progress.seeders);
        term::progress(format_args!("{done}{total} bytes {} over {seeders} circuits", self.done));
    }
}

/// The file being made, beside the one that it will be. Removed unless it is kept.
struct Part {
    out: PathBuf,
    path: PathBuf,
}

impl Part {
    fn create(out: &Path) -> Outcome<Part> {
        if out.exists() {
            return Err(Failure::misused(
                format_args!("cannot write {}", out.display()),
                "it exists",
                "name another file with --out",
            ));
        }
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        Ok(Part { out: out.to_owned(), path: out.with_file_name(name) })
    }

    fn cannot(&self, error: &io::Error) -> Failure {
        let what = format!("cannot write {}", self.out.display());
        Failure::failed(what, files::reason(error), "name a file in a directory that you may write to")
    }

    fn file(&self) -> Outcome<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        options.open(&self.path).map_err(|error| self.cannot(&error))
    }

    fn keep(self) -> Outcome {
        // A link fails where a file has come up in the meantime; a rename would replace it.
        let kept = std::fs::hard_link(&self.path, &self.out).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::rename(&self.path, &self.out),
        });
        kept.map_err(|error| self.cannot(&error))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A file on this machine's disk, read and written where it stands: a piece takes less time than a switch of threads.
struct Blocking(File);

impl AsyncRead for Blocking {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 16 * 1024];
        let len = buffer.remaining().min(piece.len());
        let read = self.0.read(&mut piece[..len])?;
        buffer.put_slice(&piece[..read]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Blocking {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(data))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

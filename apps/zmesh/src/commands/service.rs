//! `zmesh service`: publish a local TCP port as an anonymous service.

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use zmesh_overlay::{ListenError, Listener, Node, ServiceKey, ServiceOptions, Stream};

use super::address;
use crate::failure::{Failure, Outcome, not_started};
use crate::files::{self, Access};
use crate::guards::GuardOption;
use crate::network_file::NetworkOption;
use crate::randomness;
use crate::stop::Stop;
use crate::term;

/// How long it may take until the service can be found, with repetitions on other paths.
const PUBLISH: Duration = Duration::from_secs(180);
/// How long closing circuits may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long the target may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take at the start, when only a warning depends on it.
const LOOK: Duration = Duration::from_secs(2);
/// The time after which a descriptor counts as newer, with a second to spare: `specs/16-services.md`.
const REVISION: Duration = Duration::from_secs(11);
/// Connections to the target at once.
const CONNECTIONS: usize = 512;

const KEY: &str = "make a key with: zmesh keys generate --service --out service.key";

/// Runs until Ctrl-C or SIGTERM. Whoever has the address reaches the target through circuits; neither side learns where the other is.
/// What the target itself says about where it is (names, addresses, headers) is for its owner to keep out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh service --target 127.0.0.1:8080 --key service.key --bootstrap line
  curl --proxy socks5h://127.0.0.1:9150 http://NAME.zmesh/")]
pub(crate) struct Args {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// What clients reach, whatever port they ask for (or the one of --port).
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    target: SocketAddr,
    /// The service's key, made if it is not there. The address stays while the key stays; without a key file it lasts for this run only.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A port that clients may ask for; may be given several times. All unless given.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Vec<u16>,
    /// Relays of the service's own choice on its circuits.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    /// Say as JSON, one value a line, when it is usable, and how it did when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let way = args.network.way()?;
    let key_file = args.key.as_deref().map(KeyFile::load_or_make).transpose()?;
    let key = match &key_file {
        Some(file) => file.key.clone(),
        None => ServiceKey::generate(&mut randomness::generator()?),
    };
    look_at_target(args.target).await;
    let mut options = ServiceOptions::default().hops(args.hops.into());
    if let Some(file) = &args.key {
        options = options.state(beside(file));
    }
    if !args.port.is_empty() {
        options = options.ports(args.port.clone());
    }
    let node = args.guards.node(&way)?.spares(0).start().await.map_err(not_started)?;
    term::progress("building circuits to introduction points, and leaving the descriptor at relays");
    let listener = tokio::select! {
        biased;
        () = stop.wait() => Ok(None),
        listening = timeout(PUBLISH, listen(&node, &key, options)) => match listening {
            Ok(Ok(listener)) => Ok(Some(listener)),
            Ok(Err(error)) => Err(not_published(&error)),
            Err(_) => Err(Failure::failed(
                "the service could not be published",
                format_args!("no relay took it within {} s", PUBLISH.as_secs()),
                "see whether UDP leaves this machine and whether the relays run",
            )),
        },
    };
    let outcome = match listener {
        Ok(Some(listener)) => {
            ready(&listener, &args);
            tokio::select! {
                biased;
                () = stop.wait() => {}
                () = serve(&listener, args.target) => {}
            }
            if args.json {
                term::json(&json!({ "stopped": true, "service": listener.stats() }));
            }
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(failure) => Err(failure),
    };
    let _ = timeout(GOODBYE, node.shutdown()).await;
    outcome
}

/// A service's key file, which no other run on this machine can use as long as this lives.
pub(crate) struct KeyFile {
    pub(crate) key: ServiceKey,
    _lock: Option<File>,
}

impl KeyFile {
    /// Reads the file; makes it if there is none.
    pub(crate) fn load_or_make(file: &Path) -> Outcome<KeyFile> {
        if !file.exists() {
            let key = ServiceKey::generate(&mut randomness::generator()?);
            files::create(file, key.to_text().as_bytes(), Access::Secret)?;
            let what = format_args!("{} holds the service's key: keep it to yourself, keep a copy", file.display());
            term::progress(what);
        }
        let unusable = |why: &dyn std::fmt::Display, next: &str| {
            Failure::misused(format_args!("the key file {} cannot be used", file.display()), why, next)
        };
        let bytes = files::read_keys(file, KEY)?;
        let key = ServiceKey::from_text(&bytes).map_err(|error| unusable(&error, KEY))?;
        let lock = File::open(file).map_err(|error| unusable(&files::reason(&error), KEY))?;
        let lock = match lock.try_lock() {
            Ok(()) => Some(lock),
            Err(TryLockError::WouldBlock) => {
                return Err(unusable(&"a service runs with it already", "stop that one, or name another --key"));
            }
            // Where files cannot be locked, nobody finds out.
            Err(TryLockError::Error(_)) => None,
        };
        Ok(KeyFile { key, _lock: lock })
    }
}

/// Says at once if nobody would answer clients; it may come later.
async fn look_at_target(target: SocketAddr) {
    let why = match timeout(LOOK, TcpStream::connect(target)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => files::reason(&error),
        Err(_) => format!("it did not answer within {} s", LOOK.as_secs()),
    };
    term::warning(format_args!(
        "the target {target} accepts no connections now: {why}; clients are turned away until you start what should answer there"
    ));
}

/// Brings a service up. Relays keep the newest descriptor, and which is newer shows after some seconds only: a service that was started
/// again at once waits for that.
pub(crate) async fn listen(node: &Node, key: &ServiceKey, options: ServiceOptions) -> Result<Listener, ListenError> {
    match node.listen_with(key, options.clone()).await {
        Err(ListenError::Stale) => {
            term::progress(format_args!(
                "this service ran until some seconds ago, or runs elsewhere: its descriptor can be replaced in {} s",
                REVISION.as_secs()
            ));
            sleep(REVISION).await;
            node.listen_with(key, options).await
        }
        listening => listening,
    }
}

/// Where the second relays of the service with this key file are kept.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".relays");
    file.with_file_name(name)
}

/// Why a service is not up, and what to do about it.
pub(crate) fn not_published(error: &ListenError) -> Failure {
    let next = match error {
        ListenError::NetworkTooSmall(_) => "use a network with more relays that splice meetings: zmesh network show",
        ListenError::Stale => {
            "stop the service that runs with this key on another machine, or make another key for this one"
        }
        ListenError::State(_) => {
            "move the .relays file away only if you know that it is damaged: it protects the service"
        }
        _ => "see whether UDP leaves this machine and whether the relays run",
    };
    Failure::failed("the service could not be published", error, next)
}

fn ready(listener: &Listener, args: &Args) {
    let address = listener.address();
    if args.json {
        let stats = listener.stats();
        term::json(&json!({
            "ready": true,
            "role": "service",
            "address": address.to_string(),
            "target": args.target,
            "introduction_points": stats.introduction_points,
            "copies": stats.copies,
        }));
        return;
    }
    term::progress(format_args!(
        "the service is usable; it carries connections to {} under this address:",
        args.target
    ));
    term::line(address);
    if args.key.is_none() {
        term::progress("without --key FILE the address is gone when this stops");
    }
}

async fn serve(listener: &Listener, target: SocketAddr) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    while let Some((stream, _port)) = listener.accept().await {
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::debug!("too many connections to the target: one is refused");
            continue;
        };
        tokio::spawn(async move {
            let _place = place;
            carry(stream, target).await;
        });
    }
}

async fn carry(mut stream: Stream, target: SocketAddr) {
    let connected = timeout(CONNECT, TcpStream::connect(target)).await;
    let Ok(Ok(mut local)) = connected else {
        term::warning(format_args!("the target {target} does not accept connections: a client was turned away"));
        return;
    };
    let _ = local.set_nodelay(true);
    if let Err(error) = copy_bidirectional(&mut stream, &mut local).await {
        tracing::debug!("a client's connection broke: {}", error.kind());
        let _ = local.set_zero_linger();
    }
}

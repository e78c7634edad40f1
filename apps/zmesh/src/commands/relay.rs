//! `zmesh relay`: forward for others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use zmesh_overlay::{NodeError, Relay, RelayHandle};

use super::keys;
use crate::config::{RelayConfig, wrong};
use crate::exit;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::network_file;
use crate::process;
use crate::stop::Stop;
use crate::term;

/// How often the network document is looked at for a newer one.
const LOOK: Duration = Duration::from_secs(30);
/// How long a relay may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Runs until Ctrl-C or SIGTERM.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh config print relay > relay.toml
  zmesh keys generate --out keys
  zmesh relay --config relay.toml")]
pub(crate) struct Args {
    /// The relay's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Say as JSON, one value a line, when it is usable, and its counters when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let config = RelayConfig::load(&args.config)?;
    let relay_keys = keys::load(&config.keys)?;
    let network = network_file::load(&config.network)?;
    let id = relay_keys.id();
    if network.relay(&id).is_none() {
        term::warning("this relay is not in the network document: nobody will use it until a newer one names it");
    }
    if config.exit.test_network && !network.is_test_network() {
        return Err(wrong(&args.config, "exit.test_network: the network document is no test network's"));
    }
    let exit = exit::start(&config).map_err(|why| wrong(&args.config, why))?;
    files::directory(&config.state)?;
    let mut builder = Relay::builder()
        .keys(relay_keys)
        .keys_changed(store_keys(config.keys.clone()))
        .network(network)
        .meeting(config.meeting)
        .rate_limit(config.limits.send_bytes_per_second())
        .max_circuits(config.limits.circuits)
        .replay_file(config.state.join("replay"));
    for address in &config.listen {
        builder = builder.bind(*address);
    }
    if let Some(exit) = exit {
        builder = builder.egress(exit);
    }
    if let Some(store) = config.chunks.store() {
        builder = builder.chunks(store);
    }
    let relay = builder.start().await.map_err(not_started)?;
    ready(&config, &id.to_string(), &relay.local_addresses(), args.json);

    let mut document = Watched::new(config.network.clone());
    loop {
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = relay.ended() => {
                return Err(Failure::failed("the relay ended by itself", "its thread failed", "see the log, start it again"));
            }
            () = tokio::time::sleep(LOOK) => document.reload(&relay).await,
        }
    }
    let metrics = relay.metrics().await.ok();
    if tokio::time::timeout(GOODBYE, relay.shutdown()).await.is_err() {
        term::warning("the relay did not say goodbye in time");
    }
    if args.json {
        term::json(&json!({
            "stopped": true,
            "memory_bytes": process::memory(std::process::id()),
            "metrics": metrics,
        }));
    }
    Ok(())
}

fn ready(config: &RelayConfig, id: &str, addresses: &[SocketAddr], json: bool) {
    if json {
        term::json(&json!({
            "ready": true,
            "role": "relay",
            "nickname": config.nickname,
            "id": id,
            "addresses": addresses,
            "exit": config.exit.enabled,
            "meeting": config.meeting,
            "chunks": config.chunks.enabled,
        }));
        return;
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    term::line(format_args!("relay {} is usable at {} (UDP)", config.nickname, addresses.join(" and ")));
    term::line("Ctrl-C stops it");
}

/// Writes the key file anew when keys in it were erased: what is on disk must not open yesterday's set-ups either.
fn store_keys(path: PathBuf) -> impl Fn(&zmesh_overlay::RelayKeys) + Send + Sync {
    move |keys| {
        if let Err(failure) = files::replace(&path, keys.to_text().as_bytes(), Access::Secret) {
            tracing::error!("keys that should be erased are still on disk: {failure}");
        }
    }
}

fn not_started(error: NodeError) -> Failure {
    match &error {
        NodeError::Bind { address, source } => Failure::failed(
            format_args!("cannot listen on {address} (UDP)"),
            files::reason(source),
            "stop the other program or change listen in the configuration",
        ),
        _ => Failure::failed("the relay cannot start", error, "correct the configuration or the system's limits"),
    }
}

/// The network document on disk, taken up again when it changes.
struct Watched {
    path: PathBuf,
    seen: Option<SystemTime>,
}

impl Watched {
    fn new(path: PathBuf) -> Watched {
        let seen = modified(&path);
        Watched { path, seen }
    }

    async fn reload(&mut self, relay: &RelayHandle) {
        let now = modified(&self.path);
        if now == self.seen || now.is_none() {
            return;
        }
        self.seen = now;
        match network_file::load(&self.path) {
            Ok(network) => {
                if relay.set_network(Arc::clone(&network)).await.is_ok() {
                    tracing::info!(relays = network.relays().len(), "a newer network document is in use");
                }
            }
            Err(failure) => term::warning(format_args!("{failure}; the older one stays in use")),
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

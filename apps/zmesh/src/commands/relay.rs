//! `zmesh relay`: forward for others.

mod running;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use zmesh_overlay::{NodeError, Relay};

use self::running::{LOOK, Running};
use super::keys;
use crate::config::{RelayConfig, wrong};
use crate::exit;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::network_file;
use crate::operation::endpoint::Endpoint;
use crate::operation::status::StatusSocket;
use crate::stop::{Reload, Stop};
use crate::term;

/// Runs until Ctrl-C or SIGTERM; then takes no new circuits, waits a while for those that stand, and ends. SIGHUP has it
/// read its configuration and the network document again.
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
    let mut reload = Reload::listen()?;
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
        .network(Arc::clone(&network))
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
    let (mut running, latest) = Running::new(relay, args.config, config, id, network);
    running.look().await;
    let endpoint = match running.config.metrics.listen {
        Some(address) => Some(Endpoint::start(address, latest.clone()).await?),
        None => None,
    };
    let _status = StatusSocket::start(&running.config.state, running.constant(), latest)?;
    ready(&running, endpoint.as_ref(), args.json);

    loop {
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = running.relay.ended() => {
                return Err(Failure::failed("the relay ended by itself", "its thread failed", "see the log, start it again"));
            }
            () = reload.wait() => running.reload().await,
            () = tokio::time::sleep(LOOK) => running.look().await,
        }
    }
    if !stop.was_stdin() {
        tokio::select! {
            () = running.drain() => {}
            () = stop.wait() => {}
        }
    }
    running.finish(args.json).await
}

fn ready(running: &Running, endpoint: Option<&Endpoint>, json: bool) {
    let (config, addresses) = (&running.config, running.relay.local_addresses());
    let metrics = endpoint.map(|endpoint| endpoint.address);
    if json {
        term::json(&json!({
            "ready": true,
            "role": "relay",
            "nickname": config.nickname,
            "id": running.id.to_string(),
            "addresses": addresses,
            "metrics": metrics,
            "exit": config.exit.enabled,
            "meeting": config.meeting,
            "chunks": config.chunks.enabled,
        }));
        return;
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    term::line(format_args!("relay {} is usable at {} (UDP)", config.nickname, addresses.join(" and ")));
    if let Some(metrics) = metrics {
        term::line(format_args!("metrics for Prometheus are at http://{metrics}/metrics"));
    }
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

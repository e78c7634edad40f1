//! `zmesh relay`: forward for others.

pub(crate) mod directory;
mod running;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use zmesh_overlay::{Network, NodeError, Relay};
use zmesh_proto::wire::control::Genesis;
use zmesh_proto::wire::descriptor::Terms;

use self::directory::{Member, News, news};
use self::running::{LOOK, Running};
use super::keys;
use super::reach::Reach;
use crate::config::{RelayConfig, wrong};
use crate::exit;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::network_file;
use crate::operation::endpoint::Endpoint;
use crate::operation::open_files;
use crate::operation::status::StatusSocket;
use crate::stop::{Reload, Stop};
use crate::term;
use crate::time::unix_now;

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
    /// The network begins now, and this voter's key never voted: without this a voter whose store is empty says nothing, as it
    /// may have lost what it said. Only for the first start of a network's voters.
    #[arg(long)]
    begin_network: bool,
    /// Say as JSON, one value a line, when it is usable, and its counters when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

/// What a relay is of: a network whose document is in a file, or one whose voters agree on documents.
pub(super) enum Source {
    File(Arc<Network>),
    Agreed(Genesis),
}

impl Source {
    fn load(config: &RelayConfig) -> Outcome<Source> {
        match &config.directory.genesis {
            Some(genesis) => Ok(Source::Agreed(network_file::load_genesis(genesis)?)),
            None => Ok(Source::File(network_file::load(&config.network)?)),
        }
    }

    fn is_test_network(&self) -> bool {
        match self {
            Source::File(network) => network.is_test_network(),
            Source::Agreed(genesis) => genesis.terms().test_network,
        }
    }
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let mut reload = Reload::listen()?;
    open_files::raise();
    let config = RelayConfig::load(&args.config)?;
    let relay_keys = keys::load(&config.keys)?;
    let source = Source::load(&config)?;
    let id = relay_keys.id();
    if matches!(source, Source::Agreed(_)) {
        // It publishes itself once it runs; what it cannot say of itself is told now.
        let terms = Terms::from_now(unix_now());
        keys::describe(&config, &relay_keys, terms).map_err(|why| wrong(&args.config, why))?;
    }
    if matches!(&source, Source::File(network) if network.relay(&id).is_none()) {
        term::warning("this relay is not in the network document: nobody will use it until a newer one names it");
    }
    if config.exit.test_network && !source.is_test_network() {
        return Err(wrong(&args.config, "exit.test_network: the network document is no test network's"));
    }
    let exit = exit::start(&config).map_err(|why| wrong(&args.config, why))?;
    files::directory(&config.state)?;
    let mut builder = Relay::builder()
        .keys(relay_keys)
        .keys_changed(store_keys(config.keys.clone()))
        .meeting(config.meeting)
        .rate_limit(config.limits.send_bytes_per_second())
        .max_circuits(config.limits.circuits)
        .replay_file(config.state.join("replay"));
    builder = match &source {
        Source::File(network) => builder.network(Arc::clone(network)),
        Source::Agreed(genesis) => builder.documents(genesis.as_bytes().to_vec()),
    };
    for address in &config.listen {
        builder = builder.bind(*address);
    }
    let fallbacks = config.nat.fallbacks().map_err(|why| wrong(&args.config, why))?;
    builder = builder
        .traversal(config.nat.enabled)
        .port_mapping(config.nat.enabled && config.nat.port_mapping)
        .fallbacks(if config.nat.enabled { fallbacks } else { Vec::new() });
    if let Some(server) = config.websocket.server() {
        builder = builder.websocket(server);
    }
    if let Some(exit) = exit {
        builder = builder.egress(exit);
    }
    if let Some(store) = config.chunks.store() {
        builder = builder.chunks(store);
    }
    let relay = builder.start().await.map_err(not_started)?;
    let mut member = match &source {
        // The relay has its own copy of the keys by now, and erases in it.
        Source::Agreed(genesis) => Some(Member::start(&args, &config, genesis, keys::load(&config.keys)?, &relay)?),
        Source::File(_) => None,
    };
    let (mut running, latest) = Running::new(relay, args.config, config, id, source, args.json);
    running.look(member.as_ref()).await;
    let endpoint = match running.config.metrics.listen {
        Some(address) => Some(Endpoint::start(address, latest.clone()).await?),
        None => None,
    };
    let _status = StatusSocket::start(&running.config.state, running.constant(), latest)?;
    ready(&running, member.as_ref(), endpoint.as_ref(), args.json);
    let mut reach = Reach::new(running.relay.nat(), args.json);

    loop {
        tokio::select! {
            biased;
            () = stop.wait() => break,
            () = running.relay.ended() => {
                return Err(Failure::failed("the relay ended by itself", "its thread failed", "see the log, start it again"));
            }
            () = reload.wait() => running.reload(member.as_ref()).await,
            () = reach.follow() => {}
            news = news(member.as_mut()) => match news {
                News::Document(documents) => {
                    running.newer_document(documents).await;
                    running.look(member.as_ref()).await;
                }
                News::Descriptor(descriptor) => running.described(&descriptor).await,
                News::Ended => {
                    return Err(Failure::failed(
                        "the relay's part in the directory ended by itself", "its task failed", "see the log, start it again",
                    ));
                }
            },
            () = tokio::time::sleep(LOOK) => running.look(member.as_ref()).await,
        }
    }
    if !stop.was_stdin() {
        tokio::select! {
            () = running.drain() => {}
            () = stop.wait() => {}
        }
    }
    if let Some(member) = member {
        member.stop().await;
    }
    running.finish(args.json).await
}

fn ready(running: &Running, member: Option<&Member>, endpoint: Option<&Endpoint>, json: bool) {
    let (config, addresses) = (&running.config, running.relay.local_addresses());
    let metrics = endpoint.map(|endpoint| endpoint.address);
    let contacts = member.map(|member| member.contacts.iter().map(ToString::to_string).collect::<Vec<_>>());
    if json {
        term::json(&json!({
            "ready": true,
            "role": "relay",
            "nickname": config.nickname,
            "id": running.id.to_string(),
            "addresses": addresses,
            "contacts": contacts,
            "metrics": metrics,
            "exit": config.exit.enabled,
            "meeting": config.meeting,
            "chunks": config.chunks.enabled,
            "websocket": running.relay.websocket_address(),
        }));
        return;
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    term::line(format_args!("relay {} is usable at {} (UDP)", config.nickname, addresses.join(" and ")));
    if let Some(address) = running.relay.websocket_address() {
        term::line(format_args!("links over WebSocket are taken at {address} (TCP)"));
    }
    if let Some(metrics) = metrics {
        term::line(format_args!("metrics for Prometheus are at http://{metrics}/metrics"));
    }
    if let Some(contacts) = contacts {
        term::line(format_args!("other relays may name it among their contacts: {}", contacts.join(" or ")));
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

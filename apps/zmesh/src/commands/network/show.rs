//! What a network consists of, from wherever it is known: a file, a bootstrap line, or what was kept of an earlier run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::time::timeout;
use zmesh_overlay::Network;
use zmesh_proto::directory::{Held, Relay};
use zmesh_proto::wire::codec::armour::{self, Label};

use super::{HEADING, genesis, relay_json, relay_row, show_draft};
use crate::failure::{Failure, Outcome, not_started};
use crate::files;
use crate::guards::GuardOption;
use crate::network_file::{self, NetworkOption, Way};
use crate::term;
use crate::time::{date, unix_now};

/// How the names of files begin in which documents of networks that agree are kept.
const KEPT: &str = "network-";
/// How long closing the node may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// What is shown.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A network document, a draft, a genesis, a bootstrap line or a file with one; or the directory in which other commands keep
    /// documents (--state). Without it: the network that --network, --bootstrap or your configuration names.
    #[arg(value_name = "NETWORK")]
    what: Option<String>,
    #[command(flatten)]
    option: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn show(show: Show) -> Outcome {
    let Some(what) = &show.what else { return by_way(&show, &show.option.way()?).await };
    if network_file::is_line(what) {
        return by_way(&show, &show.option.by_line(network_file::parse_line(what)?)?).await;
    }
    let path = Path::new(what);
    if path.is_dir() {
        return kept(path, show.json);
    }
    let bytes = files::read(path, "network", "begin one with: zmesh network init or zmesh network genesis")?;
    match armour::kind(&bytes) {
        Some(Label::Genesis) => genesis::show(path, show.json),
        None if std::str::from_utf8(&bytes).is_ok_and(network_file::is_line) => {
            by_way(&show, &show.option.by_line(network_file::parse_line(what)?)?).await
        }
        None if is_kept(path) => one_kept(path, show.json),
        _ => show_draft(path, show.json),
    }
}

/// The network as a node knows it that enters it now.
async fn by_way(show: &Show, way: &Way) -> Outcome {
    if let Way::Document(known) = way {
        tell(&known.network, show.json);
        return Ok(());
    }
    let node = show.guards.node(way)?.spares(0).start().await.map_err(not_started)?;
    let network = node.network();
    let _ = timeout(GOODBYE, node.shutdown()).await;
    tell(&network, show.json);
    Ok(())
}

/// What was kept of earlier runs.
fn kept(directory: &Path, json: bool) -> Outcome {
    let cannot = |why: &dyn std::fmt::Display| {
        let what = format_args!("there is no network to show in {}", directory.display());
        Failure::misused(what, why, "name a bootstrap line, or a directory that was given to a command as --state")
    };
    let entries = fs::read_dir(directory).map_err(|error| cannot(&files::reason(&error)))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| is_kept(path)).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(cannot(&"no document was kept there"));
    }
    for (number, path) in paths.iter().enumerate() {
        if number > 0 && !json {
            term::line("");
        }
        one_kept(path, json)?;
    }
    Ok(())
}

fn is_kept(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(KEPT))
}

fn one_kept(path: &Path, json: bool) -> Outcome {
    let bytes = files::read(path, "kept document", "get the newest one by a bootstrap line")?;
    let unusable = |why: &dyn std::fmt::Display| {
        let what = format_args!("the kept document {} cannot be used", path.display());
        Failure::failed(what, why, "take it away: the newest one is then fetched by a bootstrap line")
    };
    let network = Held::named_network(&bytes).map_err(|error| unusable(&error))?;
    let held = Held::decode(network, &bytes).map_err(|error| unusable(&error))?;
    // One that has ended is shown all the same, and it is said that it has.
    let time = unix_now().min(held.chain().head().valid_until.saturating_sub(1));
    tell(&held.network(time).map_err(|error| unusable(&error))?, json);
    Ok(())
}

fn tell(network: &Network, json: bool) {
    if json {
        term::json(&summary(network));
        return;
    }
    let kind = if network.is_test_network() { " (test network)" } else { "" };
    let expired = if network.valid_until() <= unix_now() { ", EXPIRED" } else { "" };
    term::line(format_args!("network  {}{kind}", network.name()));
    term::line(format_args!("id       {}", network.network_id()));
    term::line(format_args!("valid    {} to {}{expired}", date(network.valid_after()), date(network.valid_until())));
    let role = match network.epoch() {
        Some(epoch) => {
            term::line(format_args!("state    the document of epoch {epoch}, on which its voters agreed"));
            "voter "
        }
        None => "signer",
    };
    for key in network.signers() {
        term::line(format_args!("{role}   {key}"));
    }
    let relays = network.relays();
    let count = |is: fn(&&Relay) -> bool| relays.iter().filter(is).count();
    term::line(format_args!(
        "relays   {}; exits: {}, splice meetings: {}, keep chunks: {}",
        relays.len(),
        count(|relay| relay.exit().is_some()),
        count(|relay| relay.is_meeting()),
        count(|relay| relay.is_cache()),
    ));
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(relays.iter().map(|relay| relay_row(relay.descriptor())));
    term::line("");
    term::table(&rows);
}

fn summary(network: &Network) -> Value {
    let relays = network.relays().iter().map(|relay| {
        let mut value = relay_json(relay.descriptor());
        let capacity = network.measure(&relay.id()).capacity;
        value["capacity_kb_s"] = json!((capacity > 0).then_some(capacity));
        value
    });
    json!({
        "kind": "document",
        "name": network.name(),
        "id": network.network_id().to_string(),
        "test_network": network.is_test_network(),
        "epoch": network.epoch(),
        "valid_after": network.valid_after(),
        "valid_until": network.valid_until(),
        "signers": network.signers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "relays": relays.collect::<Vec<_>>(),
    })
}

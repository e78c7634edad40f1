//! The line by which people join a network whose voters agree on documents.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use zmesh_control::Store;
use zmesh_control::directory::stored_checkpoint;
use zmesh_overlay::Bootstrap;
use zmesh_proto::directory::Chain;
use zmesh_proto::link::LinkPeer;
use zmesh_proto::wire::bootstrap::Checkpoint;
use zmesh_proto::wire::control::Genesis;
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::document::NetworkId;

use super::unusable;
use crate::commands::keys;
use crate::config::{RelayConfig, wrong};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::network_file::load_genesis;
use crate::operation::status::{ask, read_checkpoint};
use crate::term;
use crate::time::unix_now;

/// The bootstrap line of such a network.
#[derive(Debug, Args)]
pub(crate) struct Line {
    /// The network's genesis.
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    genesis: Option<PathBuf>,
    /// The configuration of a relay that takes part. The line then names the newest document that this relay holds, running or not, as
    /// a checkpoint: whoever joins believes no history that does not lead through it, and from 90 days after the genesis on nobody
    /// joins without one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Descriptors of one to eight relays that keep their addresses and keys for long. Without any: the relay of --config.
    #[arg(required_unless_present = "config")]
    relays: Vec<PathBuf>,
}

pub(super) fn line(line: &Line) -> Outcome {
    let load = |file| -> Outcome<_> { Ok((file, RelayConfig::load(file)?)) };
    let config = line.config.as_deref().map(load).transpose()?;
    let genesis = genesis(line.genesis.as_deref(), config.as_ref())?;
    let checkpoint = match &config {
        Some((_, config)) => checkpoint(config, genesis.network_id())?,
        None => None,
    };
    Chain::check_start(&genesis, checkpoint.as_ref(), unix_now()).map_err(|why| {
        let next = match checkpoint {
            None => "name a relay that holds a newer document with --config",
            Some(_) => "let the relay of --config catch up with the network first",
        };
        Failure::failed("nobody who is new would join by this line", why, next)
    })?;
    let relays = match &config {
        Some((file, config)) if line.relays.is_empty() => vec![own_entry(file, config)?],
        _ => line.relays.iter().map(|path| entry(path)).collect::<Outcome<_>>()?,
    };
    let bootstrap = Bootstrap::new(genesis.network_id(), relays).map_err(|error| {
        Failure::misused("the line cannot be made", error, "name relays with public addresses by their descriptors")
    })?;
    match (&checkpoint, &config) {
        (Some(checkpoint), _) => {
            term::progress(format_args!("its checkpoint is the document of epoch {}", checkpoint.epoch))
        }
        (None, Some(_)) => term::warning("the relay holds no document yet, so the line has no checkpoint"),
        (None, None) => {}
    }
    term::line(bootstrap.with_checkpoint(checkpoint));
    term::progress("give it to people: zmesh proxy --bootstrap LINE");
    Ok(())
}

fn genesis(named: Option<&Path>, config: Option<&(&Path, RelayConfig)>) -> Outcome<Genesis> {
    if let Some(path) = named {
        return load_genesis(path);
    }
    // One of the two is there: clap sees to it.
    let Some((file, config)) = config else {
        return Err(Failure::misused("the line cannot be made", "no network is named", "give --genesis or --config"));
    };
    match &config.directory.genesis {
        Some(path) => load_genesis(path),
        None => Err(wrong(file, "directory.genesis: this relay takes no part in a network that agrees")),
    }
}

/// The newest document that the relay holds: as it says itself while it runs, else as its store has it.
fn checkpoint(config: &RelayConfig, network: NetworkId) -> Outcome<Option<Checkpoint>> {
    let id = network.to_string();
    let not_running = match ask(&config.state) {
        Ok(answer) if answer.pointer("/network/id").and_then(Value::as_str) == Some(id.as_str()) => {
            return Ok(read_checkpoint(&answer));
        }
        Ok(_) => {
            let why = "the relay that runs with this configuration is of another network";
            return Err(Failure::misused("the line cannot be made", why, "name that network's genesis"));
        }
        Err(failure) => failure,
    };
    let path = &config.directory.store;
    if !path.exists() {
        return Ok(None);
    }
    let read = || stored_checkpoint(&Store::open(path)?, network);
    read().map_err(|error| {
        let why = format_args!("{not_running}; and its store {}: {error}", path.display());
        Failure::failed("the newest document is not known", why, "try again once the relay is usable, or stop it")
    })
}

/// The relay itself, as its configuration and keys have it.
fn own_entry(file: &Path, config: &RelayConfig) -> Outcome<LinkPeer> {
    config.describe().map_err(|why| wrong(file, why))?;
    let keys = keys::load(&config.keys)?;
    Ok(LinkPeer { identity: keys.identity_public(), link_key: keys.link_public(), addresses: config.advertise.clone() })
}

fn entry(path: &Path) -> Outcome<LinkPeer> {
    let bytes = files::read(path, "descriptor", "ask the relay's operator for it")?;
    let descriptor = Descriptor::from_text(&bytes).map_err(|error| unusable(path, error))?;
    Ok(LinkPeer {
        identity: descriptor.identity(),
        link_key: descriptor.link_key(),
        addresses: descriptor.info().addresses.clone(),
    })
}

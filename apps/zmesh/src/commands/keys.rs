//! `zmesh keys`: secret keys, and what others may know of them.

mod backup;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;
use zmesh_overlay::ServiceKey;
use zmesh_proto::keys::{RelayKeys, SignerKey};
use zmesh_proto::wire::codec::armour::{self, Label};
use zmesh_proto::wire::descriptor::{Descriptor, Terms};
use zmesh_proto::wire::document::SignerId;

use crate::config::{RelayConfig, wrong};
use crate::exit;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::randomness;
use crate::term;
use crate::time::{date, unix_now};

const MAKE_KEYS: &str = "make keys with: zmesh keys generate --out keys";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make the secret keys of a relay (or, with --signer, of somebody who only signs networks; with --service, of a service).
    #[command(after_help = "Example:\n  zmesh keys generate --out keys")]
    Generate {
        /// The file to make. An existing one is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// A key that signs network documents and nothing else. A relay's keys can sign too.
        #[arg(long, conflicts_with = "service")]
        signer: bool,
        /// The key of a service; its address follows from it.
        #[arg(long)]
        service: bool,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the public side of a key file.
    #[command(after_help = "Example:\n  zmesh keys show keys")]
    Show {
        /// The key file.
        file: PathBuf,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a relay's lasting keys to a file that a passphrase protects, to be kept apart from the relay.
    #[command(after_help = "Example:\n  zmesh keys backup keys --out keys.backup")]
    Backup {
        /// The key file.
        file: PathBuf,
        /// The file to make. An existing one is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Read the passphrase from the first line of this file instead of the terminal.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Make a key file from a backup: the same relay, with new onion keys, so make its descriptor anew.
    #[command(after_help = "Example:\n  zmesh keys restore keys.backup --out keys")]
    Restore {
        /// The backup.
        file: PathBuf,
        /// The file to make. An existing one is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Read the passphrase from the first line of this file instead of the terminal.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a relay's signed description, to hand to those who make the network.
    #[command(after_help = "Example:\n  zmesh keys descriptor --config relay.toml --out alice.descriptor")]
    Descriptor {
        /// The relay's configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The file to write; an older descriptor there is replaced.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// For how many days it holds, 1 to 60.
        #[arg(long, default_value_t = 35, value_parser = clap::value_parser!(u64).range(1..=60))]
        days: u64,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: Keys) -> Outcome {
    match command {
        Keys::Generate { out, signer, service, json } => generate(&out, signer, service, json),
        Keys::Show { file, json } => show(&file, json),
        Keys::Backup { file, out, passphrase_file } => backup::backup(&file, &out, passphrase_file.as_deref()),
        Keys::Restore { file, out, passphrase_file, json } => {
            let keys = backup::restore(&file, &out, passphrase_file.as_deref())?;
            show_relay(&keys, json);
            Ok(())
        }
        Keys::Descriptor { config, out, days, json } => descriptor(&config, &out, days, json),
    }
}

fn generate(out: &Path, signer: bool, service: bool, json: bool) -> Outcome {
    let mut rng = randomness::generator()?;
    if service {
        let key = ServiceKey::generate(&mut rng);
        files::create(out, key.to_text().as_bytes(), Access::Secret)?;
        show_service(&key, json);
    } else if signer {
        let key = SignerKey::generate(&mut rng);
        files::create(out, key.to_text().as_bytes(), Access::Secret)?;
        show_signer(&key, json);
    } else {
        let keys = RelayKeys::generate(&mut rng, unix_now());
        files::create(out, keys.to_text().as_bytes(), Access::Secret)?;
        show_relay(&keys, json);
    }
    term::progress(format_args!("{} holds the secret keys: keep it to yourself, keep a copy", out.display()));
    Ok(())
}

fn show(file: &Path, json: bool) -> Outcome {
    let bytes = files::read_keys(file, MAKE_KEYS)?;
    if armour::kind(&bytes) == Some(Label::ServiceKey) {
        show_service(&ServiceKey::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))?, json);
    } else if armour::kind(&bytes) == Some(Label::SignerKey) {
        show_signer(&SignerKey::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))?, json);
    } else {
        show_relay(&RelayKeys::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))?, json);
    }
    Ok(())
}

fn descriptor(config_file: &Path, out: &Path, days: u64, json: bool) -> Outcome {
    let config = RelayConfig::load(config_file)?;
    let keys = load(&config.keys)?;
    let mut terms = Terms::from_now(unix_now());
    terms.expires = terms.published + days * 86_400;
    let descriptor = describe(&config, &keys, terms).map_err(|why| wrong(config_file, why))?;
    files::replace(out, descriptor.to_text().as_bytes(), Access::Public)?;
    if json {
        term::json(&json!({
            "file": out, "id": descriptor.id().to_string(), "nickname": config.nickname, "expires": terms.expires,
        }));
    } else {
        term::line(format_args!("{} describes {} until {}", out.display(), config.nickname, date(terms.expires)));
        term::progress("hand it to whoever puts the network together: zmesh network add");
    }
    Ok(())
}

/// The descriptor that a configuration and keys give.
pub(crate) fn describe(config: &RelayConfig, keys: &RelayKeys, terms: Terms) -> Result<Descriptor, String> {
    let mut info = config.describe()?;
    info.exit = exit::summary(&config.exit)?;
    Descriptor::create(keys, &info, terms).map_err(|error| error.to_string())
}

/// A relay's secret keys.
pub(crate) fn load(file: &Path) -> Outcome<RelayKeys> {
    let bytes = files::read_keys(file, MAKE_KEYS)?;
    RelayKeys::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))
}

/// A key that can sign networks: a signer's, or a relay's.
pub(crate) fn load_signer(file: &Path) -> Outcome<SignerKey> {
    let bytes = files::read_keys(file, MAKE_KEYS)?;
    if armour::kind(&bytes) == Some(Label::RelayKeys) {
        let keys = RelayKeys::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))?;
        return Ok(keys.signer());
    }
    SignerKey::from_text(&bytes).map_err(|error| unusable(file, &bytes, error))
}

fn unusable(file: &Path, bytes: &[u8], error: impl std::fmt::Display) -> Failure {
    let what = format_args!("the key file {} cannot be used", file.display());
    let next = match armour::kind(bytes) {
        Some(Label::KeyBackup) => "make a key file of it with: zmesh keys restore",
        Some(Label::RelayKeys | Label::SignerKey | Label::ServiceKey) => {
            "name another key file, or take a backup or copy"
        }
        _ => MAKE_KEYS,
    };
    Failure::misused(what, error, next)
}

fn show_relay(keys: &RelayKeys, json: bool) {
    let signer = SignerId(keys.identity_public());
    let id = keys.id();
    if json {
        term::json(&json!({ "kind": "relay", "id": id.to_string(), "signer": signer.to_string() }));
    } else {
        term::line(format_args!("relay   {id}"));
        term::line(format_args!("signer  {signer}"));
    }
}

fn show_service(key: &ServiceKey, json: bool) {
    let address = key.address();
    if json {
        term::json(&json!({ "kind": "service", "address": address.to_string() }));
    } else {
        term::line(format_args!("service  {address}"));
    }
}

fn show_signer(key: &SignerKey, json: bool) {
    let signer = SignerId(key.public());
    if json {
        term::json(&json!({ "kind": "signer", "signer": signer.to_string() }));
    } else {
        term::line(format_args!("signer  {signer}"));
    }
}

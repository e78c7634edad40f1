//! `zmesh network`: a network document from relays' descriptors, signed by those who make the network; or the genesis of a network
//! whose voters agree on documents.

pub(crate) mod genesis;
mod line;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zmesh_proto::wire::codec::armour::{self, Label};
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::document::{Added, DocumentError, Draft, DraftTerms, Progress, SignerId};

use super::keys;
use crate::failure::{Failure, Outcome};
use crate::files::{self, Access};
use crate::term;
use crate::time::{date, unix_now};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Begin a network: its name, and who has to sign it (more than two thirds of those named).
    #[command(after_help = "Example:
  zmesh network init --name friends --signer alice.descriptor --signer bob.descriptor --out net.draft

A signer is a key file, a relay's descriptor, or the 64 digits that `zmesh keys show` prints.")]
    Init(Init),
    /// Add relays by their descriptors, or take up signatures from another copy of the draft.
    #[command(after_help = "Example:\n  zmesh network add net.draft alice.descriptor bob.descriptor carol.descriptor")]
    Add {
        /// The draft, or a finished network to renew. Changed in place; any change drops its signatures.
        network: PathBuf,
        /// Descriptors, or copies of the same draft that others have signed.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Sign a draft. With enough signatures it is the network document.
    #[command(after_help = "Example:\n  zmesh network sign net.draft --key keys")]
    Sign {
        /// The draft, changed in place.
        network: PathBuf,
        /// Your key file, a relay's or a signer's.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Begin a network without such a document: its voters agree on a new one every epoch.
    #[command(after_help = "Example:
  zmesh network genesis --name friends --voter alice.descriptor --voter bob.descriptor --voter carol.descriptor --voter dave.descriptor --out genesis

A voter is a relay's descriptor, or OPERATOR= and a key file or the 64 digits that `zmesh keys show` prints.")]
    Genesis(genesis::Begin),
    /// Print the line by which people join a network that began with a genesis.
    #[command(after_help = "Examples:
  zmesh network line --config relay.toml
  zmesh network line --genesis genesis alice.descriptor bob.descriptor")]
    Line(line::Line),
    /// Show what a network consists of, and who signed or votes: of a bootstrap line, a document, a draft, a genesis, or what was kept.
    #[command(after_help = "Examples:
  zmesh network show line                       by a bootstrap line, in a file or as text
  zmesh network show genesis                    how it began
  zmesh network show net.draft                  a network file, or one that lacks signatures
  zmesh network show ~/.local/state/zmesh       what was kept of earlier runs")]
    Show(show::Show),
}

/// How a network begins.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The network's name.
    #[arg(long)]
    name: String,
    /// Somebody who signs; give it once for each.
    #[arg(long, required = true, value_name = "KEY|DESCRIPTOR|HEX")]
    signer: Vec<String>,
    /// The draft to make. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// For how many days the document holds, 1 to 60. No relay's descriptor may end earlier.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=60))]
    days: u64,
    /// For relays on one machine or in one local network: lifts the rules that keep circuits diverse. Never for real use.
    #[arg(long)]
    test_network: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: NetworkCommand) -> Outcome {
    match command {
        NetworkCommand::Init(init) => begin(init),
        NetworkCommand::Add { network, files, json } => add(&network, &files, json),
        NetworkCommand::Sign { network, key, json } => sign(&network, &key, json),
        NetworkCommand::Genesis(begin) => genesis::begin(begin),
        NetworkCommand::Line(line) => line::line(&line),
        NetworkCommand::Show(show) => show::show(show).await,
    }
}

fn begin(init: Init) -> Outcome {
    let signers = init.signer.iter().map(|text| signer(text)).collect::<Outcome<Vec<_>>>()?;
    let now = unix_now();
    let draft = Draft::new(DraftTerms {
        name: init.name,
        test_network: init.test_network,
        valid_after: now,
        valid_until: now + init.days * 86_400,
        signers,
    })
    .map_err(|error| Failure::misused("the network cannot begin so", error, "correct the options"))?;
    files::create(&init.out, draft.to_text().as_bytes(), Access::Public)?;
    report(&init.out, &draft, init.json, "add relays: zmesh network add");
    Ok(())
}

/// A signer as people name one: by file, or by the digits of the key.
fn signer(text: &str) -> Outcome<SignerId> {
    if let Some(id) = SignerId::from_hex(text) {
        return Ok(id);
    }
    let path = Path::new(text);
    let next = "a signer is a key file, a descriptor, or 64 hexadecimal digits";
    let bytes = files::read(path, "signer", next)?;
    match armour::kind(&bytes) {
        Some(Label::Descriptor) => {
            let descriptor = Descriptor::from_text(&bytes).map_err(|error| unusable(path, error))?;
            Ok(SignerId(descriptor.identity()))
        }
        _ => Ok(SignerId(keys::load_signer(path)?.public())),
    }
}

fn add(network: &Path, additions: &[PathBuf], json: bool) -> Outcome {
    let mut draft = load_draft(network)?;
    let before = draft.clone();
    let mut done = Vec::new();
    for path in additions {
        let bytes = files::read(path, "descriptor", "ask the relay's operator for it")?;
        let what = match armour::kind(&bytes) {
            Some(Label::NetworkDraft | Label::Network) => {
                let other = Draft::from_text(&bytes).map_err(|error| unusable(path, error))?;
                draft.merge(&other).map(|progress| format!("took signatures up, {}", signatures(progress)))
            }
            _ => {
                let descriptor = Descriptor::from_text(&bytes).map_err(|error| unusable(path, error))?;
                let nickname = descriptor.info().nickname.clone();
                draft.add(descriptor).map(|added| match added {
                    Added::New => format!("added {nickname}"),
                    Added::Replaced { .. } => format!("renewed {nickname}"),
                    _ => format!("{nickname} was there already"),
                })
            }
        };
        done.push(what.map_err(|error| unusable(path, error))?);
    }
    if draft != before {
        files::replace(network, draft.to_text().as_bytes(), Access::Public)?;
    }
    if !json {
        // Only now: a failure leaves everything as it was, and must not look otherwise.
        done.into_iter().for_each(term::line);
    }
    report(network, &draft, json, "every signer: zmesh network sign");
    Ok(())
}

fn sign(network: &Path, key: &Path, json: bool) -> Outcome {
    let mut draft = load_draft(network)?;
    let key = keys::load_signer(key)?;
    let progress = draft.sign(&key, unix_now()).map_err(|error| {
        let next = match error {
            DocumentError::UnknownSigner(_) => "sign with one of the keys that network show lists",
            _ => "correct the draft with network add, then sign",
        };
        Failure::failed(format_args!("{} was not signed", network.display()), error, next)
    })?;
    files::replace(network, draft.to_text().as_bytes(), Access::Public)?;
    let next = if progress.is_enough() {
        "it is the network document now: give it to relays and users"
    } else {
        "hand it to the next signer"
    };
    report(network, &draft, json, next);
    Ok(())
}

/// The columns of the table of relays.
const HEADING: [&str; 8] = ["NICKNAME", "ID", "OPERATOR", "COUNTRY", "ADDRESS", "EXIT", "MEETING", "UNTIL"];

fn show_draft(network: &Path, json: bool) -> Outcome {
    let draft = load_draft(network)?;
    if json {
        let mut value = summary(network, &draft);
        value["relays"] = draft.descriptors().iter().map(relay_json).collect();
        term::json(&value);
        return Ok(());
    }
    describe(&draft);
    let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
    rows.extend(draft.descriptors().iter().map(relay_row));
    term::line("");
    term::table(&rows);
    Ok(())
}

fn describe(draft: &Draft) {
    let kind = if draft.is_test_network() { " (test network)" } else { "" };
    let expired = if draft.valid_until() <= unix_now() { ", EXPIRED" } else { "" };
    term::line(format_args!("network  {}{kind}", draft.name()));
    term::line(format_args!("id       {}", draft.network_id()));
    term::line(format_args!("valid    {} to {}{expired}", date(draft.valid_after()), date(draft.valid_until())));
    let progress = draft.progress();
    let state = if progress.is_enough() { "complete" } else { "a draft" };
    term::line(format_args!("state    {state}, {}", signatures(progress)));
    let signed = draft.signed_by();
    for signer in draft.signers() {
        let mark = if signed.contains(&signer) { "signed" } else { "missing" };
        term::line(format_args!("signer   {signer} {mark}"));
    }
}

fn relay_row(relay: &Descriptor) -> Vec<String> {
    let info = relay.info();
    let country = info.country.map_or("-".to_owned(), |c| String::from_utf8_lossy(&c).into_owned());
    let mut address = info.addresses.first().map_or("-".to_owned(), ToString::to_string);
    if info.addresses.len() > 1 {
        address.push_str(&format!(" +{}", info.addresses.len() - 1));
    }
    let exit = match &info.exit {
        None => "-".to_owned(),
        Some(exit) => exit
            .ports
            .ranges()
            .map(|range| match range.into_inner() {
                (first, last) if first == last => first.to_string(),
                (1, u16::MAX) => "all ports".to_owned(),
                (first, last) => format!("{first}-{last}"),
            })
            .collect::<Vec<_>>()
            .join(","),
    };
    let meeting = if info.meeting { "yes" } else { "-" };
    let expires = date(relay.terms().expires);
    vec![
        info.nickname.clone(),
        relay.id().to_string(),
        info.operator.clone(),
        country,
        address,
        exit,
        meeting.to_owned(),
        expires,
    ]
}

fn relay_json(relay: &Descriptor) -> Value {
    let info = relay.info();
    json!({
        "nickname": info.nickname,
        "id": relay.id().to_string(),
        "operator": info.operator,
        "family": info.family,
        "country": info.country.map(|c| String::from_utf8_lossy(&c).into_owned()),
        "addresses": info.addresses,
        "exit": info.exit.as_ref().map(|exit| json!({
            "ipv4": exit.v4,
            "ipv6": exit.v6,
            "ports": exit.ports.ranges().map(|r| [*r.start(), *r.end()]).collect::<Vec<_>>(),
        })),
        "meeting": info.meeting,
        "published": relay.terms().published,
        "expires": relay.terms().expires,
    })
}

fn summary(file: &Path, draft: &Draft) -> Value {
    let progress = draft.progress();
    let signed = draft.signed_by();
    json!({
        "file": file,
        "name": draft.name(),
        "id": draft.network_id().to_string(),
        "test_network": draft.is_test_network(),
        "valid_after": draft.valid_after(),
        "valid_until": draft.valid_until(),
        "complete": progress.is_enough(),
        "signatures": progress.have,
        "signatures_needed": progress.need,
        "signers": draft.signers().iter().map(|signer| json!({
            "key": signer.to_string(), "signed": signed.contains(signer),
        })).collect::<Vec<_>>(),
        "relays": draft.descriptors().len(),
    })
}

fn report(file: &Path, draft: &Draft, json: bool, next: &str) {
    if json {
        term::json(&summary(file, draft));
        return;
    }
    term::line(format_args!(
        "{}: network {}, {} relays, {}",
        file.display(),
        draft.name(),
        draft.descriptors().len(),
        signatures(draft.progress()),
    ));
    term::progress(format_args!("next: {next}"));
}

fn signatures(progress: Progress) -> String {
    format!("{} of {} signatures", progress.have, progress.need)
}

fn load_draft(path: &Path) -> Outcome<Draft> {
    let bytes = files::read(path, "network", "begin one with: zmesh network init")?;
    Draft::from_text(&bytes).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(
        format_args!("{} cannot be used", path.display()),
        error,
        "nothing was changed; ask whoever gave it to you for a good one",
    )
}

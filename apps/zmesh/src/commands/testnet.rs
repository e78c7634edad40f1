//! `zmesh testnet`: relays of a network of their own, on this machine.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::stop::Stop;
use crate::term;
use crate::testnet::{Directory, EPOCH_DEFAULT, EPOCH_LEAST, Plan, Testnet, shortage};

/// Relays in a path unless somebody asks for fewer.
const HOPS: usize = 3;

/// Runs until Ctrl-C or SIGTERM. Its exits reach addresses of this machine, and its relays are all of one operator:
/// good for trying things, worthless for hiding.
///
/// Its relays agree on a document every epoch, as those of a real network do; people join by a line. With --file they read a network
/// document from a file instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh testnet --dir net
  zmesh proxy --bootstrap net/bootstrap")]
pub(crate) struct Args {
    /// A new directory, or one of an earlier testnet, which is made anew.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// How many relays, exits included.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    relays: u16,
    /// How many of them are exits.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    exits: u16,
    /// The length of an epoch: how often the relays agree on a new document.
    #[arg(long, value_name = "SECONDS", default_value_t = EPOCH_DEFAULT, value_parser = clap::value_parser!(u32).range(i64::from(EPOCH_LEAST)..=600))]
    epoch: u32,
    /// Without agreement: the relays and their users read a network document from a file. It is there at once.
    #[arg(long, visible_alias = "offline", conflicts_with = "epoch")]
    file: bool,
    /// Say as JSON, one value a line, when it is usable, and the relays' counters when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let directory = if args.file { Directory::File } else { Directory::Agreed { epoch: args.epoch, measure: true } };
    let plan = Plan { relays: args.relays.into(), exits: args.exits.into(), directory };
    let mut testnet = Testnet::prepare(&args.dir, plan)?;
    if let Some(lack) = shortage(plan.relays, HOPS) {
        term::warning(format_args!(
            "{lack}; give --relays {HOPS} or more, or use it by zmesh proxy --hops {}",
            plan.relays
        ));
    }
    term::progress(format_args!("starting {} relays", args.relays));
    let mut outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(false),
        outcome = testnet.start() => outcome.map(|()| true),
    };
    if let Ok(true) = outcome {
        ready(&testnet, args.json);
        outcome = loop {
            tokio::select! {
                biased;
                () = stop.wait() => break Ok(true),
                failure = testnet.watch() => {
                    if testnet.running() == 0 {
                        break Err(failure);
                    }
                    term::warning(failure);
                }
            }
        };
    }
    let relays = testnet.stop().await;
    if args.json {
        term::json(&json!({ "stopped": true, "relays": relays }));
    }
    outcome.map(drop)
}

fn ready(testnet: &Testnet, json: bool) {
    let (option, file) = testnet.option();
    let line = testnet.bootstrap().map(|(line, _)| line);
    if json {
        let relays: Vec<Value> = testnet.relays();
        let network = if line.is_none() { Some(&file) } else { None };
        let bootstrap = if line.is_some() { Some(&file) } else { None };
        term::json(&json!({
            "ready": true, "role": "testnet", "network": network, "bootstrap": bootstrap, "line": line, "relays": relays,
        }));
        return;
    }
    match line {
        Some(line) => {
            term::line(format_args!("{} relays are usable and agree; people join by the line", testnet.running()));
            term::line(line);
            term::line(format_args!("which is also in {}", file.display()));
        }
        None => {
            term::line(format_args!("{} relays are usable; the network document is", testnet.running()));
            term::line(file.display());
        }
    }
    let program = term::program();
    term::line(format_args!("try it:  {program} proxy {option} {}", file.display()));
    term::line("Ctrl-C stops them");
}

//! `zmesh testnet`: relays of a network of their own, on this machine.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::stop::Stop;
use crate::term;
use crate::testnet::{Plan, Testnet};

/// Runs until Ctrl-C or SIGTERM. Its exits reach addresses of this machine, and its relays are all of one operator:
/// good for trying things, worthless for hiding.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh testnet --dir net
  zmesh proxy --network net/network")]
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
    /// Say as JSON, one value a line, when it is usable, and the relays' counters when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let plan = Plan { relays: args.relays.into(), exits: args.exits.into() };
    let mut testnet = Testnet::prepare(&args.dir, plan)?;
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
    let file = testnet.network_file();
    if json {
        let relays: Vec<Value> = testnet.relays();
        term::json(&json!({ "ready": true, "role": "testnet", "network": file, "relays": relays }));
        return;
    }
    term::line(format_args!("{} relays are usable; the network document is", testnet.running()));
    term::line(file.display());
    term::line(format_args!("try it:  zmesh proxy --network {}", file.display()));
    term::line("Ctrl-C stops them");
}

//! What weighing relays gains and costs, over a synthetic network.
#![allow(clippy::print_stdout, reason = "a program that people run in a terminal")]

use clap::Parser;
use zmesh_tests::paths::report::{Effort, Report};

/// Prints round-trip times against entropy for several ways to choose paths, and how often an adversary stands at both ends.
///
/// Example: zmesh-paths --relays 1000 --seed 1
#[derive(Debug, Parser)]
struct Options {
    /// Relays in the network.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(20..=4096))]
    relays: u16,
    /// The seed of everything but the times that drawing takes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Fewer guards, paths and adversaries: shows that everything works, the figures are rough.
    #[arg(long)]
    quick: bool,
}

fn main() {
    let options = Options::parse();
    let effort = if options.quick {
        Effort { guards: 6, paths: 200, adversaries: 1 }
    } else {
        Effort { guards: 48, paths: 500, adversaries: 4 }
    };
    let report = Report::new(options.relays.into(), options.seed, effort);
    if options.json {
        println!("{}", serde_json::json!(report));
    } else {
        println!("{report}");
    }
}

//! `make bench`: one table, a peer's figure beside ours from the same run on the same machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run in a terminal")]

mod api;
mod call;
mod end_to_end;
mod links;
mod primitives;

use std::process::ExitCode;

use clap::Parser;
use zmesh_tests::fec_table::{self, Comparison};
use zmesh_tests::table::Table;

/// Measures zMesh beside its peers and prints one table.
///
/// Example: zmesh-bench --quick --json
#[derive(Debug, Parser)]
struct Options {
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
    /// Short runs: shows that everything works, the figures are rough.
    #[arg(long)]
    quick: bool,
    /// Measure only one part.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// The `zmesh` program; without it, the one beside this program.
    #[arg(long)]
    zmesh: Option<std::path::PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Cryptography, operation by operation.
    Primitives,
    /// Real processes, beside a private Tor network.
    EndToEnd,
    /// What a call costs each side, and how long sound takes.
    Call,
    /// Link repair, beside block codes over emulated networks.
    Repair,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let wants = |part| options.only.is_none_or(|only| only == part);
    let mut table = Table::default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if wants(Part::Primitives) {
        table.rows.extend(primitives::rows(options.quick));
    }
    if wants(Part::EndToEnd) {
        table.rows.extend(end_to_end::rows(options.quick, options.zmesh.as_deref()));
    }
    if wants(Part::Call) {
        table.rows.extend(call::rows(options.quick, options.zmesh.as_deref()));
    }
    let repair = wants(Part::Repair).then(|| Comparison::measure(options.quick));
    if let Some(repair) = &repair {
        table.rows.extend(fec_table::primitives(options.quick));
        table.rows.extend(repair.rows());
    }
    if options.json {
        let mut json = table.to_json();
        json["repair"] = serde_json::json!(repair);
        json["cores"] = cores.into();
        json["load_average_at_start"] = load.into();
        println!("{json}");
    } else {
        println!(
            "{cores} cores; load average at the start {load}, so other work on this machine took part if it is not near 0"
        );
        println!("{table}");
        if let Some(repair) = repair {
            println!("{repair}");
        }
    }
    ExitCode::SUCCESS
}

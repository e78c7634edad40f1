//! The comparison of link repair alone, without the rest of `make bench`.
#![allow(clippy::print_stdout, reason = "a program that people run in a terminal")]

use clap::Parser;
use zmesh_tests::fec_table::{Comparison, primitives};
use zmesh_tests::table::Table;

/// Measures link repair beside block codes over the emulator's profiles and prints the tables.
///
/// Example: zmesh-fec-table --quick
#[derive(Debug, Parser)]
struct Options {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    /// Short runs: shows that everything works, the figures are rough.
    #[arg(long)]
    quick: bool,
}

fn main() {
    let options = Options::parse();
    let table = Table { rows: primitives(options.quick) };
    let comparison = Comparison::measure(options.quick);
    if options.json {
        println!("{}", serde_json::json!({ "operations": table.to_json(), "comparison": comparison }));
    } else {
        println!("{table}\n{comparison}");
    }
}

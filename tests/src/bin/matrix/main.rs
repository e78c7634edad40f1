//! `make matrix`: 1, 2 and 3 hops, loss repair on and off, loss on every link, native and portable cryptography.
//!
//! The network is simulated in virtual time: real nodes, real links, real QUIC, real loss repair, and processor time charged as measured.
//! So the table is the same for the same seed and costs, whatever else the machine does. Only the costs are measured on this machine.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run in a terminal")]

mod cell;
mod costs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use cell::{Figures, Setting};
use costs::{Machine, Measured};

/// Prints throughput, echo round trips and a call's loss for every combination.
///
/// Example: zmesh-matrix --native target/costs-native.json --portable target/costs-portable.json
#[derive(Debug, Parser)]
struct Options {
    /// What cryptography costs as this machine is: the output of zmesh-costs.
    #[arg(long, value_name = "JSON")]
    native: Option<PathBuf>,
    /// The same without the processor's AES instructions; left out, the portable half of the table is left out.
    #[arg(long, value_name = "JSON")]
    portable: Option<PathBuf>,
    /// One-way delay of every link, in milliseconds.
    #[arg(long, default_value_t = 5)]
    delay: u64,
    /// The seed of everything.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Short runs: shows that everything works, the figures are rough.
    #[arg(long)]
    quick: bool,
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
}

/// What is lost on every link, in each direction.
const LOSSES: [(&str, f64, f64); 3] = [("0 %", 0.0, 1.0), ("1 %", 0.01, 1.0), ("5 %, runs of 1.5", 0.05, 1.5)];

fn main() -> ExitCode {
    let options = Options::parse();
    let machines = match machines(&options) {
        Ok(machines) => machines,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    let mut rows = Vec::new();
    for machine in &machines {
        for hops in 1..=3 {
            for (name, share, run) in LOSSES {
                for repair in [false, true] {
                    let setting = Setting {
                        hops,
                        repair,
                        loss: (share, run),
                        delay_ms: options.delay,
                        seed: options.seed,
                        quick: options.quick,
                        costs: machine.costs,
                    };
                    eprintln!("{}, {hops} hops, {name}, repair {} …", machine.name, on_off(repair));
                    rows.push((machine.name, hops, name, repair, cell::measure(&setting)));
                }
            }
        }
    }
    if options.json {
        print_json(&options, &machines, &rows);
    } else {
        print_table(&options, &machines, &rows);
    }
    ExitCode::SUCCESS
}

type Row = (&'static str, usize, &'static str, bool, Figures);

fn machines(options: &Options) -> Result<Vec<Machine>, String> {
    let native = options.native.as_deref().map(Measured::read).transpose()?;
    let portable = options.portable.as_deref().map(Measured::read).transpose()?;
    Ok(costs::machines(native, portable))
}

fn on_off(repair: bool) -> &'static str {
    if repair { "on" } else { "off" }
}

fn print_table(options: &Options, machines: &[Machine], rows: &[Row]) {
    println!(
        "Every link: {} ms one way, no rate limit, the loss of the column in each direction. Virtual time, seed {}.",
        options.delay, options.seed
    );
    for machine in machines {
        println!("{}: {}", machine.name, machine.note);
    }
    println!("WASM: left out; no build of the node for it exists yet.\n");
    let head = [
        "build",
        "hops",
        "loss of each link",
        "repair",
        "download",
        "echo p50",
        "echo p99",
        "echoes lost",
        "call's loss",
    ];
    let rule = head.map(|cell| "-".repeat(cell.len()));
    println!("| {} |\n| {} |", head.join(" | "), rule.join(" | "));
    for (machine, hops, loss, repair, figures) in rows {
        let cells = [
            (*machine).to_owned(),
            hops.to_string(),
            (*loss).to_owned(),
            on_off(*repair).to_owned(),
            format!("{:.2} MB/s", figures.throughput / 1e6),
            format!("{:.1} ms", figures.echo_p50),
            format!("{:.1} ms", figures.echo_p99),
            format!("{:.2} %", figures.echo_lost * 100.0),
            format!("{:.2} %", figures.call_lost * 100.0),
        ];
        let cells: Vec<String> =
            cells.iter().zip(&head).map(|(cell, head)| format!("{cell:w$}", w = head.len())).collect();
        println!("| {} |", cells.join(" | "));
    }
}

fn print_json(options: &Options, machines: &[Machine], rows: &[Row]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(machine, hops, loss, repair, figures)| {
            json!({
                "build": machine, "hops": hops, "loss": loss, "repair": repair,
                "bytes_per_second": figures.throughput,
                "echo_p50_ms": figures.echo_p50, "echo_p99_ms": figures.echo_p99, "echo_lost": figures.echo_lost,
                "call_lost": figures.call_lost,
            })
        })
        .collect();
    let machines: Vec<_> =
        machines.iter().map(|machine| json!({ "name": machine.name, "note": machine.note })).collect();
    println!(
        "{}",
        json!({ "delay_ms": options.delay, "seed": options.seed, "builds": machines, "rows": rows, "wasm": null })
    );
}

//! `make lab`: builds each kind of translator of addresses from network namespaces and nft, runs real nodes behind them, and
//! prints for each pair whether they reach each other, how, and after what time.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is its output")]

mod call;
mod kinds;
mod matrix;
mod node;
mod shell;
mod weights;
mod world;

use std::process::ExitCode;

/// Which pairs of translators two zMesh nodes get through. Needs root and nft; everything happens inside network
/// namespaces that it makes and removes.
#[derive(clap::Parser, Debug)]
#[command(name = "zmesh-lab")]
struct Args {
    /// Only these kinds, by name, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "KIND")]
    only: Vec<String>,
    /// Print the matrix as one line of JSON as well.
    #[arg(long)]
    json: bool,
    /// How long a pair may take, in seconds.
    #[arg(long, default_value_t = 12)]
    patience: u64,
    /// Run a node with this setting; for the lab itself.
    #[arg(long, hide = true, value_name = "FILE")]
    node: Option<std::path::PathBuf>,
    /// Run one side of a call with this setting; for the lab itself.
    #[arg(long, hide = true, value_name = "FILE")]
    call: Option<std::path::PathBuf>,
}

fn main() -> ExitCode {
    let args = <Args as clap::Parser>::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives a runtime");
    if let Some(file) = args.node {
        return runtime.block_on(node::run(&file));
    }
    if let Some(file) = args.call {
        return runtime.block_on(call::run(&file));
    }
    if let Err(why) = shell::able() {
        println!("lab skipped: {why}");
        return ExitCode::SUCCESS;
    }
    match runtime.block_on(matrix::run(&args.only, args.patience, args.json)) {
        Ok(complete) => {
            if complete {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(why) => {
            eprintln!("lab: {why}");
            ExitCode::FAILURE
        }
    }
}

//! `make lab`: builds each kind of translator of addresses from network namespaces and nft, runs real nodes behind them, and
//! prints for each pair whether they reach each other, how, and after what time.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is its output")]

mod call;
mod kinds;
mod matrix;
mod node;
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
    if let Err(why) = zmesh_netns::able() {
        println!("lab skipped: {why}");
        return ExitCode::SUCCESS;
    }
    zmesh_netns::clean();
    // Whatever ends it, what it made is dropped and thereby removed.
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = matrix::run(&args.only, args.patience, args.json) => Some(ended),
            () = signalled() => None,
        }
    });
    match ended {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(why)) => {
            eprintln!("lab: {why}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("lab: stopped, and its namespaces removed");
            ExitCode::from(130)
        }
    }
}

/// Waits for SIGINT or SIGTERM.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

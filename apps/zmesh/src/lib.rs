//! The zMesh program: arguments, wiring, and words for people. Everything else is in the crates below.
//!
//! It is a library so that what it reads from people ([`config`], [`invite_line`]) can be fuzzed.

mod commands;
pub mod config;
mod demo;
mod exit;
mod failure;
mod files;
mod guards;
pub mod invite_line;
mod logs;
mod network_file;
mod operation;
mod process;
mod randomness;
mod stop;
mod term;
mod testnet;
mod time;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Command;

/// Calls and connections through an anonymity network that is quick enough to talk over.
#[derive(Debug, Parser)]
#[command(name = "zmesh", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  zmesh demo                                   see it all work on this machine, about a minute
  zmesh testnet --dir net                      a network of relays on this machine, until Ctrl-C
  zmesh proxy --bootstrap net/bootstrap        SOCKS5 and HTTP proxy into it
  zmesh voice answer --bootstrap net/bootstrap wait for one private call; prints the invite

Exit codes: 0 done, 1 failed, 2 misused.")]
struct Cli {
    /// Say more on stderr: -v for what happens, -vv for details. Never destinations, addresses or peers.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// Runs the program: reads its arguments, does what they say, and gives the exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    logs::start(cli.verbose);
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            term::error(&failure);
            failure.exit_code()
        }
    }
}

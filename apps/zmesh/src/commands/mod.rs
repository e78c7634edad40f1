//! The commands, one file each.

mod config;
mod keys;
mod network;

use clap::Subcommand;

use crate::failure::Outcome;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and show keys, and describe a relay to others.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Put a network together from relays' descriptors, sign it, show it.
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Print configuration files.
    #[command(subcommand)]
    Config(config::Config),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Keys(command) => keys::run(command),
        Command::Network(command) => network::run(command),
        Command::Config(command) => config::run(command),
    }
}

//! `zmesh config`: configuration files to start from.

use clap::{Subcommand, ValueEnum};

use crate::config::RELAY_TEMPLATE;
use crate::failure::Outcome;
use crate::term;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print a commented configuration file with every key and its default.
    #[command(after_help = "Example:\n  zmesh config print relay > relay.toml")]
    Print {
        /// For which role.
        role: Role,
    },
}

/// Who has a configuration file.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// `zmesh relay`.
    Relay,
}

pub(crate) fn run(command: Config) -> Outcome {
    match command {
        Config::Print { role: Role::Relay } => {
            term::line(RELAY_TEMPLATE.trim_end());
            Ok(())
        }
    }
}

//! Logs on stderr: what our own crates say, and they redact. Libraries are silent, for they would name addresses.

use std::io::{self, IsTerminal};

use tracing::Level;
use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, more with `verbose`, or the level that `ZMESH_LOG` names.
pub(crate) fn start(verbose: u8) {
    let by_environment = std::env::var("ZMESH_LOG").ok().and_then(|level| level.parse().ok());
    let level = by_environment.unwrap_or(match verbose {
        0 => Level::WARN,
        1 => Level::INFO,
        2 => Level::DEBUG,
        _ => Level::TRACE,
    });
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("off,zmesh={level}")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 0)
        .init();
}

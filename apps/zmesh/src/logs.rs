//! Logs on stderr. The crates below redact what they log; nothing here turns that off.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, more with `verbose`, or what `ZMESH_LOG` says (the syntax of `RUST_LOG`).
pub(crate) fn start(verbose: u8) {
    let default = match verbose {
        0 => "warn",
        1 => "warn,zmesh=info,zmesh_overlay=info,zmesh_proxy=info,zmesh_exits=info,zmesh_voice=info",
        _ => {
            "warn,zmesh=debug,zmesh_overlay=debug,zmesh_proto=debug,zmesh_proxy=debug,zmesh_exits=debug,zmesh_voice=debug"
        }
    };
    let filter = EnvFilter::try_from_env("ZMESH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(verbose > 0)
        .init();
}

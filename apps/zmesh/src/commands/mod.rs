//! The commands, one file each.

mod chunk;
mod config;
mod demo;
mod keys;
pub(crate) mod narrate;
pub(crate) mod network;
mod path;
mod proxy;
mod reach;
pub(crate) mod relay;
mod service;
mod status;
mod testnet;
mod voice;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Subcommand;

use crate::failure::{Failure, Outcome};

pub(crate) use keys::describe as describe_relay;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it all work on this machine: a network, a call, a download, and figures.
    Demo(demo::Args),
    /// A proxy (SOCKS5 and HTTP CONNECT) through which any program uses the network.
    Proxy(proxy::Args),
    /// A private call between two people.
    #[command(subcommand, after_help = "Example:\n  zmesh voice answer --bootstrap line")]
    Voice(voice::Voice),
    /// Publish a file for whoever is given its address, or fetch one; relays keep it and cannot read it.
    #[command(subcommand, after_help = "Example:\n  zmesh chunk put notes.pdf --bootstrap line")]
    Chunk(chunk::Chunk),
    /// Publish a local TCP port as an anonymous service: nobody learns where it is.
    Service(service::Args),
    /// A network of relay processes on this machine, to try things on.
    Testnet(testnet::Args),
    /// Run a relay: forward for others.
    Relay(relay::Args),
    /// What a running relay knows of itself.
    Status(status::Args),
    /// Make and show keys, and describe a relay to others.
    #[command(subcommand, after_help = "Example:\n  zmesh keys generate --out keys")]
    Keys(keys::Keys),
    /// Put a network together from relays' descriptors, sign it, show it.
    #[command(subcommand, after_help = "Example:\n  zmesh network show line")]
    Network(network::NetworkCommand),
    /// See how the relays of a circuit are chosen.
    #[command(subcommand, after_help = "Example:\n  zmesh path explain --bootstrap line")]
    Path(path::PathCommand),
    /// Print configuration files.
    #[command(subcommand, after_help = "Example:\n  zmesh config print relay > relay.toml")]
    Config(config::Config),
}

/// Runs a command to its end.
pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Proxy(args) => block_on(proxy::run(args)),
        Command::Voice(command) => block_on(voice::run(command)),
        Command::Chunk(command) => block_on(chunk::run(command)),
        Command::Service(args) => block_on(service::run(args)),
        Command::Testnet(args) => block_on(testnet::run(args)),
        Command::Relay(args) => block_on(relay::run(args)),
        Command::Status(args) => status::run(&args),
        Command::Keys(command) => keys::run(command),
        Command::Network(command) => block_on(network::run(command)),
        Command::Path(command) => block_on(path::run(command)),
        Command::Config(command) => config::run(command),
    }
}

fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("cannot start", error, "the operating system refuses threads"))?;
    let outcome = runtime.block_on(command);
    // Look-ups that the system still has under way must not hold the end up.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

/// An address with its port, as options take it.
fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "say IP address and port, as in 127.0.0.1:8080 or [::1]:8080".to_owned())
}

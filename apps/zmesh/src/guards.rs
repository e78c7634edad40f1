//! The node of a command that builds circuits: where the guards of this user are kept, and the ways in where UDP is blocked.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use zmesh_overlay::{Fallback, NodeBuilder};

use crate::config::shipped_fallbacks;
use crate::failure::Outcome;
use crate::files;
use crate::network_file::Way;

/// The options of commands that build circuits.
#[derive(Clone, Debug, Args)]
pub(crate) struct GuardOption {
    /// Use guards of this run only, and leave nothing on disk. Otherwise the same few first relays serve for weeks, and a file
    /// of their ids is kept (~/.local/state/zmesh): fewer relays ever see your address.
    #[arg(long)]
    ephemeral: bool,
    /// The local address for UDP, where somebody has to know it beforehand. Without it: any port.
    #[arg(long, value_name = "ADDRESS", hide = true)]
    udp: Option<SocketAddr>,
    /// A relay that takes links over WebSocket over TLS, for networks that let no UDP through; once for each. It is used while UDP leads
    /// nowhere, as are those that come with the program.
    #[arg(
        long = "fallback",
        value_name = "RELAY@wss://HOST:PORT/PATH",
        env = "ZMESH_FALLBACKS",
        value_delimiter = ' '
    )]
    fallbacks: Vec<Fallback>,
}

impl GuardOption {
    /// A node of this network with the guards and the local address that the options name.
    pub(crate) fn node(&self, way: &Way) -> Outcome<NodeBuilder> {
        let fallbacks = self.fallbacks.iter().cloned().chain(shipped_fallbacks()).collect();
        let builder = self.udp.into_iter().fold(way.node().fallbacks(fallbacks), NodeBuilder::bind);
        let Some(path) = self.file(&way.network_id(), way.is_test_network()) else { return Ok(builder) };
        if let Some(folder) = path.parent() {
            files::directory(folder)?;
        }
        Ok(builder.guard_file_if_real(path))
    }

    /// The file of this network's guards, if they are kept. A test network is thrown away, and so are its guards; whether one is behind
    /// a bootstrap line turns out later.
    pub(crate) fn file(&self, network: &[u8; 32], test_network: bool) -> Option<PathBuf> {
        if self.ephemeral || test_network {
            return None;
        }
        let id = data_encoding::HEXLOWER.encode(&network[..8]);
        Some(state_folder()?.join("zmesh").join(format!("guards-{id}")))
    }
}

fn state_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local").join("state")))
}

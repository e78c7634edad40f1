//! Where the guards of this user are kept.

use std::path::PathBuf;

use clap::Args;
use zmesh_overlay::{Network, NodeBuilder};

use crate::failure::Outcome;
use crate::files;

/// The option of commands that build circuits.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct GuardOption {
    /// Use guards of this run only, and leave nothing on disk. Otherwise the same few first relays serve for weeks, and a file
    /// of their ids is kept (~/.local/state/zmesh): fewer relays ever see your address.
    #[arg(long)]
    ephemeral: bool,
}

impl GuardOption {
    /// A node of this network with the guards that the option names. A test network is thrown away, and so are its guards.
    pub(crate) fn apply(self, builder: NodeBuilder, network: &Network) -> Outcome<NodeBuilder> {
        Self::keep_in(builder, self.file(network))
    }

    /// The same for a network of which nothing is known yet but its id.
    pub(crate) fn apply_to(self, builder: NodeBuilder, network: &[u8; 32]) -> Outcome<NodeBuilder> {
        Self::keep_in(builder, if self.ephemeral { None } else { file_of(network) })
    }

    fn keep_in(builder: NodeBuilder, path: Option<PathBuf>) -> Outcome<NodeBuilder> {
        let Some(path) = path else { return Ok(builder) };
        if let Some(folder) = path.parent() {
            files::directory(folder)?;
        }
        Ok(builder.guard_file(path))
    }

    /// The file of this network's guards, if they are kept.
    pub(crate) fn file(self, network: &Network) -> Option<PathBuf> {
        if self.ephemeral || network.is_test_network() {
            return None;
        }
        file_of(&network.network_id().0)
    }
}

fn file_of(network: &[u8; 32]) -> Option<PathBuf> {
    let id = data_encoding::HEXLOWER.encode(&network[..8]);
    Some(state_folder()?.join("zmesh").join(format!("guards-{id}")))
}

pub(crate) fn state_folder() -> Option<PathBuf> {
    std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".local").join("state")))
}

//! Which network a command uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use zmesh_overlay::Network;
use zmesh_proto::wire::document::DocumentError;

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::time::{date, unix_now};

/// The option that most commands have.
#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkOption {
    /// The network document. Without it: ~/.config/zmesh/network.
    #[arg(long, value_name = "FILE", env = "ZMESH_NETWORK")]
    network: Option<PathBuf>,
}

impl NetworkOption {
    /// The network that was named, or the user's own.
    pub(crate) fn load(&self) -> Outcome<Arc<Network>> {
        match (&self.network, default_path()) {
            (Some(path), _) => load(path),
            (None, Some(path)) if path.exists() => load(&path),
            (None, _) => Err(Failure::misused(
                "no network is known",
                "there is no --network FILE and no ~/.config/zmesh/network",
                "get a network document, or try one on this machine with: zmesh testnet --dir net",
            )),
        }
    }

    /// Whether there is a network without an invite that brings one.
    pub(crate) fn is_known(&self) -> bool {
        self.network.is_some() || default_path().is_some_and(|path| path.exists())
    }
}

/// Reads and verifies a network document.
pub(crate) fn load(path: &Path) -> Outcome<Arc<Network>> {
    let bytes = files::read(path, "network document", "zmesh testnet --dir net makes one to try")?;
    decode(&bytes, &format!("the network document {}", path.display()))
}

/// Verifies a network document; `what` names it in a failure.
pub(crate) fn decode(bytes: &[u8], what: &str) -> Outcome<Arc<Network>> {
    Network::decode(bytes, unix_now()).map(Arc::new).map_err(|error| {
        let what = format_args!("{what} cannot be used");
        match error {
            DocumentError::Expired { since } => Failure::failed(
                what,
                format_args!("it expired on {}", date(since)),
                "get a newer one from those who sign it",
            ),
            DocumentError::NotYetValid { from } => Failure::failed(
                what,
                format_args!("it is not valid before {}", date(from)),
                "check this machine's clock",
            ),
            DocumentError::TooFewSignatures { .. } => {
                Failure::failed(what, error, "its signers have to sign it: zmesh network sign")
            }
            error => Failure::failed(what, error, "get a good one from those who sign it"),
        }
    })
}

fn default_path() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(base.join("zmesh").join("network"))
}

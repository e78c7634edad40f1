//! Which network a command uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use zmesh_overlay::Network;
use zmesh_proto::wire::document::{Document, DocumentError};

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

/// A network with the document that it came from.
pub(crate) struct Known {
    pub(crate) network: Arc<Network>,
    /// The document's binary, for handing on.
    pub(crate) document: Vec<u8>,
}

impl NetworkOption {
    /// The network that was named, or the user's own.
    pub(crate) fn load(&self) -> Outcome<Arc<Network>> {
        Ok(self.load_with_document()?.network)
    }

    /// The same with its document.
    pub(crate) fn load_with_document(&self) -> Outcome<Known> {
        match (&self.network, default_path()) {
            (Some(path), _) => read(path),
            (None, Some(path)) if path.exists() => read(&path),
            (None, _) => Err(Failure::misused(
                "no network is known",
                "there is no --network FILE and no ~/.config/zmesh/network",
                "get a network document, or try one on this machine with: zmesh testnet --dir net",
            )),
        }
    }

    /// Whether a network was named.
    pub(crate) fn is_named(&self) -> bool {
        self.network.is_some()
    }
}

/// Reads and verifies a network document.
pub(crate) fn load(path: &Path) -> Outcome<Arc<Network>> {
    Ok(read(path)?.network)
}

fn read(path: &Path) -> Outcome<Known> {
    let bytes = files::read(path, "network document", "zmesh testnet --dir net makes one to try")?;
    let what = format!("the network document {}", path.display());
    let document = Document::from_text(&bytes).map_err(|error| unusable(&what, error))?;
    let binary = document.encode();
    Ok(Known { network: from_document(document, &what)?, document: binary })
}

/// Takes a document into use if it holds now; `what` names it in a failure.
pub(crate) fn from_document(document: Document, what: &str) -> Outcome<Arc<Network>> {
    Network::from_document(document, unix_now()).map(Arc::new).map_err(|error| unusable(what, error))
}

fn unusable(what: &str, error: DocumentError) -> Failure {
    let what = format_args!("{what} cannot be used");
    match error {
        DocumentError::Expired { since } => Failure::failed(
            what,
            format_args!("it expired on {}", date(since)),
            "get a newer one from those who sign it",
        ),
        DocumentError::NotYetValid { from } => {
            Failure::failed(what, format_args!("it is not valid before {}", date(from)), "check this machine's clock")
        }
        DocumentError::TooFewSignatures { .. } => {
            Failure::failed(what, error, "its signers have to sign it: zmesh network sign")
        }
        error => Failure::failed(what, error, "get a good one from those who sign it"),
    }
}

fn default_path() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(base.join("zmesh").join("network"))
}

//! Which network a command uses: a network document in a file, or a bootstrap line by which the newest document is fetched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use zmesh_overlay::{Bootstrap, BootstrapError, Network, Node, NodeBuilder};
use zmesh_proto::wire::control::Genesis;
use zmesh_proto::wire::document::{Document, DocumentError};

use crate::commands::narrate;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::invite_line::Carried;
use crate::time::{date, unix_now};

/// The option that most commands have.
#[derive(Clone, Debug, Args)]
pub(crate) struct NetworkOption {
    /// The network document. Without it and a bootstrap line: ~/.config/zmesh/network, else ~/.config/zmesh/bootstrap.
    #[arg(long, value_name = "FILE", env = "ZMESH_NETWORK")]
    network: Option<PathBuf>,
    /// A bootstrap line (zmesh:net/1/…), or a file with one, instead of a network document: the newest document is fetched,
    /// verified, and kept up to date.
    #[arg(long, value_name = "LINE", env = "ZMESH_BOOTSTRAP", conflicts_with = "network")]
    bootstrap: Option<String>,
    /// Where the newest document is kept between runs. Without it: ~/.local/state/zmesh.
    #[arg(long, value_name = "DIR", env = "ZMESH_STATE")]
    state: Option<PathBuf>,
}

/// How bootstrap lines begin, of whatever version.
const LINE_PREFIX: &str = "zmesh:net/";

/// Whether text is meant to be a bootstrap line.
pub(crate) fn is_line(text: &str) -> bool {
    text.trim_start().starts_with(LINE_PREFIX)
}

/// How a command comes by its network.
pub(crate) enum Way {
    /// From a document.
    Document(Known),
    /// By a bootstrap line, with a place to keep what comes.
    Line(Bootstrap, Option<PathBuf>),
}

impl Way {
    /// A node of this network; the first document and every warning are told to people.
    pub(crate) fn node(&self) -> NodeBuilder {
        match self {
            Self::Document(known) => Node::builder().network(Arc::clone(&known.network)),
            Self::Line(line, directory) => {
                let builder = Node::builder().bootstrap(line.clone()).on_directory(narrate::documents);
                match directory {
                    Some(directory) => builder.directory(directory.clone()),
                    None => builder,
                }
            }
        }
    }

    /// What an invite carries, so that its line is all that the other side needs.
    pub(crate) fn carried(&self) -> Carried {
        match self {
            Self::Document(known) => Carried::Document(known.document.clone()),
            Self::Line(line, _) => Carried::Bootstrap(line.clone()),
        }
    }

    /// Whether it is known to be a test network. A line does not say: what depends on it waits for the genesis.
    pub(crate) fn is_test_network(&self) -> bool {
        matches!(self, Self::Document(known) if known.network.is_test_network())
    }

    /// The network's id.
    pub(crate) fn network_id(&self) -> [u8; 32] {
        match self {
            Self::Document(known) => known.network.network_id().0,
            Self::Line(line, _) => line.network().0,
        }
    }
}

/// A network with the document that it came from.
pub(crate) struct Known {
    pub(crate) network: Arc<Network>,
    /// The document's binary, for handing on.
    pub(crate) document: Vec<u8>,
}

impl NetworkOption {
    /// The network that was named, or the user's own.
    pub(crate) fn way(&self) -> Outcome<Way> {
        if let Some(path) = &self.network {
            return Ok(Way::Document(read(path)?));
        }
        if let Some(line) = &self.bootstrap {
            return self.by_line(parse_line(line)?);
        }
        let (document, line) = (config_path("network"), config_path("bootstrap"));
        match (document.filter(|path| path.exists()), line.filter(|path| path.exists())) {
            (Some(path), _) => Ok(Way::Document(read(&path)?)),
            (None, Some(path)) => self.by_line(read_line(&path)?),
            (None, None) => Err(Failure::misused(
                "no network is known",
                "there is no --network FILE, no --bootstrap LINE and nothing in ~/.config/zmesh",
                "get a bootstrap line or a network document, or try one on this machine with: zmesh testnet --dir net",
            )),
        }
    }

    /// The network of a line.
    pub(crate) fn by_line(&self, line: Bootstrap) -> Outcome<Way> {
        let state = self.state_directory();
        if let Some(file) = state.as_deref().filter(|state| state.exists() && !state.is_dir()) {
            return Err(Failure::misused(
                format_args!("documents cannot be kept in {}", file.display()),
                "it is a file, not a directory",
                "name a directory with --state, or take that file away",
            ));
        }
        Ok(Way::Line(line, state))
    }

    fn state_directory(&self) -> Option<PathBuf> {
        let state = || {
            let base = std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
            base.or_else(|| std::env::home_dir().map(|home| home.join(".local").join("state")))
        };
        self.state.clone().or_else(|| Some(state()?.join("zmesh")))
    }

    /// Whether a network was named.
    pub(crate) fn is_named(&self) -> bool {
        self.network.is_some() || self.bootstrap.is_some()
    }
}

/// Reads and verifies a network document.
pub(crate) fn load(path: &Path) -> Outcome<Arc<Network>> {
    Ok(read(path)?.network)
}

/// Reads the beginning of a network whose voters agree on documents.
pub(crate) fn load_genesis(path: &Path) -> Outcome<Genesis> {
    let next = "get it from those who made the network, or make one with: zmesh network genesis";
    let bytes = files::read(path, "genesis", next)?;
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::misused(format_args!("the genesis {} cannot be used", path.display()), why, next)
    };
    Genesis::from_text(&bytes).map_err(|error| unusable(&error))?.map_err(|error| unusable(&error))
}

fn read(path: &Path) -> Outcome<Known> {
    let bytes = files::read(
        path,
        "network document",
        "a relay of a network that agrees needs [directory] genesis instead; zmesh testnet --dir net --file makes a document to try",
    )?;
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

/// Reads a bootstrap line, or the file that holds one.
pub(crate) fn parse_line(text: &str) -> Outcome<Bootstrap> {
    match text.parse() {
        Ok(line) => Ok(line),
        Err(BootstrapError::NotALine) => read_line(Path::new(text)),
        Err(error) => Err(unusable_line(&error)),
    }
}

fn read_line(path: &Path) -> Outcome<Bootstrap> {
    let bytes = files::read(path, "bootstrap line", "give a line that begins with zmesh:net/, or a file with one")?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    text.parse().map_err(|error| unusable_line(&error))
}

fn unusable_line(error: &BootstrapError) -> Failure {
    Failure::misused("the bootstrap line cannot be used", error, "ask for it again")
}

/// A file of the user's configuration.
fn config_path(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".config")))?;
    Some(base.join("zmesh").join(name))
}

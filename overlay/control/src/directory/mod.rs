//! A directory node: it keeps up with the network's documents, gathers descriptors, publishes this relay's own, and gives
//! all of it to its peers.
//!
//! [`DirectoryNode::start`] runs it on tasks of the runtime; [`DirectoryHandle`] says what it holds.

mod beat;
mod calls;
mod copies;
mod fetching;
mod follow;
mod gather;
mod give;
mod node;
mod proofs;
mod pulse;
mod question;
mod sightings;
#[cfg(test)]
mod tests;
mod vote;
mod wishes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use zmesh_proto::directory::{Health, Held, Measure};
use zmesh_proto::keys::SignerKey;
use zmesh_proto::wire::bootstrap::Checkpoint;
use zmesh_proto::wire::control::{Genesis, Snapshot, Voter};
use zmesh_proto::wire::descriptor::Descriptor;
use zmesh_proto::wire::document::{NetworkId, SignerId};
use zmesh_sphinx::RelayId;

pub use pulse::Condition;
pub use question::{Answer, Question, QuestionError};

use crate::{Builder, StartError, Status, Store, StoreError};

/// Makes this relay's descriptor at a time (unix seconds); `None` while there is nothing to describe.
pub type Describe = Box<dyn FnMut(u64) -> Option<Descriptor> + Send>;

/// What a voter measured of other relays, as far as it got.
pub type Measures = watch::Receiver<Arc<BTreeMap<RelayId, Measure>>>;

/// A document that the node holds, and those before it that others may still have.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The newest, with all that it was verified by.
    pub held: Held,
    /// Earlier ones, the latest first; 8 at most.
    pub earlier: Vec<Snapshot>,
}

/// Settings of a directory node.
pub struct DirectoryNode {
    pub(crate) control: Builder,
    pub(crate) genesis: Genesis,
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) describe: Option<Describe>,
    pub(crate) refresh: Duration,
    pub(crate) voter: Option<SignerKey>,
    pub(crate) begins: bool,
    pub(crate) pulse: Option<pulse::Pulse>,
    pub(crate) wishes: (Vec<Voter>, Vec<SignerId>),
    pub(crate) measures: Option<Measures>,
}

impl std::fmt::Debug for DirectoryNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryNode([redacted])")
    }
}

impl DirectoryNode {
    /// A node of the network with this genesis, over a control node with these settings, which has to be made for the same
    /// network.
    #[must_use]
    pub fn new(genesis: Genesis, control: Builder) -> Self {
        let refresh = Duration::from_secs(100);
        Self {
            control,
            genesis,
            store: None,
            describe: None,
            refresh,
            voter: None,
            begins: false,
            pulse: None,
            wishes: (Vec::new(), Vec::new()),
            measures: None,
        }
    }

    /// Where peers, descriptors and the newest document are kept over restarts.
    #[must_use]
    pub fn store(mut self, store: Arc<Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Publishes a relay's descriptor, made anew each `refresh`, which should be less than half of its life, and tells it in greetings.
    #[must_use]
    pub fn describe(mut self, describe: Describe, refresh: Duration) -> Self {
        self.describe = Some(describe);
        self.refresh = refresh;
        self
    }

    /// Has the node vote with this key, if the network's document names it as a voter's. It needs a store. With a store that remembers
    /// no votes it sits out until a document follows that it cannot have voted on before; see [`DirectoryNode::begin_network`].
    #[must_use]
    pub fn voter(mut self, key: SignerKey) -> Self {
        self.voter = Some(key);
        self
    }

    /// Whom this voter would have vote besides those who do, and whom not any more. Its ballots name a wanted one while it sees its relay
    /// up as much as was agreed (`voter-uptime`); the document follows when more than two thirds of all voters say the same.
    #[must_use]
    pub fn wishes(mut self, wanted: Vec<Voter>, unwanted: Vec<SignerId>) -> Self {
        self.wishes = (wanted, unwanted);
        self
    }

    /// What the voter's ballots say of capacities and places. Ballots take what is there when they are made, and never wait for it; without
    /// this they say nothing of either.
    #[must_use]
    pub fn measures(mut self, measures: Measures) -> Self {
        self.measures = Some(measures);
        self
    }

    /// Says that the network begins now: no document was agreed on yet and this voter's key never voted, so that it may vote although
    /// its store is empty. It changes nothing where the store holds votes or a document. To be said by people, at the first start of a
    /// network's voters, and never by default: a voter whose store was deleted would vote twice.
    #[must_use]
    pub fn begin_network(mut self) -> Self {
        self.begins = true;
        self
    }

    /// Has the node say once an epoch how its relay does, in coarse steps, while the newest document lists it. The key is that of the
    /// relay's identity; `condition` is looked at each second.
    #[must_use]
    pub fn heartbeat(mut self, key: SignerKey, condition: watch::Receiver<Condition>) -> Self {
        self.pulse = Some(pulse::Pulse::new(key, condition));
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// See [`StartError`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<DirectoryHandle, StartError> {
        node::start(self)
    }
}

/// A running directory node. Dropping the handle ends it.
#[derive(Debug)]
pub struct DirectoryHandle {
    documents: watch::Receiver<Option<Arc<Documents>>>,
    listening: watch::Receiver<Vec<SocketAddr>>,
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// What a running node is told.
pub(crate) enum Command {
    Report(oneshot::Sender<DirectoryStatus>),
    Publish(Box<Snapshot>),
    Stop,
}

/// What a directory node knows, without anything that names a peer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct DirectoryStatus {
    /// The control plane below it.
    pub control: Status,
    /// Descriptors that it holds.
    pub descriptors: usize,
    /// The epoch of its newest document; 0 for none.
    pub epoch: u64,
    /// Relays in it.
    pub relays: usize,
    /// Who votes on the next one.
    pub voters: usize,
    /// Whether this node is one of them.
    pub votes: bool,
    /// In which round of votes it is; `None` before the first.
    pub round: Option<u32>,
    /// The newest document as a checkpoint for a bootstrap line.
    pub checkpoint: Option<Checkpoint>,
    /// What the relays of the network say of themselves.
    pub health: Health,
    /// Voters against which it keeps proof that they said two things where they may say one.
    pub convicted: usize,
}

/// The newest document in a store that no node runs with, as a checkpoint for a bootstrap line; `None` if it holds none of this network
/// that verifies.
///
/// # Errors
/// The store cannot be read.
pub fn stored_checkpoint(store: &Store, network: NetworkId) -> Result<Option<Checkpoint>, StoreError> {
    Ok(node::stored(store, network)?.map(|held| held.checkpoint()))
}

impl DirectoryHandle {
    /// The newest documents; changes when there is a newer one.
    #[must_use]
    pub fn documents(&self) -> watch::Receiver<Option<Arc<Documents>>> {
        self.documents.clone()
    }

    /// Where the node listens for others by QUIC.
    #[must_use]
    pub fn listening(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.listening.clone()
    }

    /// What it knows now; `None` if it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn status(&self) -> Option<DirectoryStatus> {
        let (tell, told) = oneshot::channel();
        self.commands.send(Command::Report(tell)).await.ok()?;
        told.await.ok()
    }

    /// Gives a document to the network that was not agreed on by voting here: the first one of a network, signed by hand.
    /// Whether it is good is found out as with any other.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn publish(&self, snapshot: Snapshot) {
        // Ended nodes publish nothing.
        let _ = self.commands.send(Command::Publish(Box::new(snapshot))).await;
    }

    /// Ends the node, after it has written down what it knows.
    ///
    /// # Cancel safety
    /// Dropping the future ends the node at once.
    pub async fn stop(mut self) {
        let _ = self.commands.send(Command::Stop).await;
        let _ = (&mut self.task).await;
    }
}

impl Drop for DirectoryHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

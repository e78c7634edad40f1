//! What a client tells of its network's documents.

use zmesh_proto::directory::{ChainError, Lie, Split, Warning};
use zmesh_proto::node::DescriptorFailure;
use zmesh_proto::wire::descriptor::DescriptorError;

use super::SourceError;
use crate::RelayId;
use crate::shard::FetchStop;

/// What happens to the documents of a node that was started with a bootstrap line.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DirectoryEvent {
    /// An entry relay is asked for its own descriptor, over a link.
    Entering {
        /// Which of them, from 1.
        number: usize,
        /// How many there are to try.
        of: usize,
    },
    /// The newest document is coming.
    Fetching {
        /// Bytes that have come.
        done: usize,
        /// Bytes that there are.
        total: usize,
    },
    /// The document and its descriptors are verified.
    Verifying,
    /// An entry relay did not do, and another one is tried.
    EntryFailed {
        /// Which relay.
        relay: RelayId,
        /// What was wrong.
        fault: EntryFault,
    },
    /// Circuits can be built.
    Ready {
        /// The epoch of the document.
        epoch: u64,
        /// How many relays it has.
        relays: usize,
        /// Whether it was on the disk.
        stored: bool,
    },
    /// A newer document is in use. Circuits that are open go on.
    Updated {
        /// Its epoch.
        epoch: u64,
        /// How many relays it has.
        relays: usize,
        /// By what it came.
        by: UpdateBy,
    },
    /// Heads were compared.
    Compared {
        /// Relays whose newest document is the one in use.
        agree: usize,
        /// Relays that were asked.
        asked: usize,
    },
    /// A relay gave as the newest document what no honest relay gives.
    RelayLied {
        /// Which relay.
        relay: RelayId,
        /// What it gave.
        lie: Lie,
    },
    /// Enough voters signed two documents where there may be one: the proof, which convinces everybody who knows them.
    TwoHistories(Split),
    /// A newer document could not be had from a relay that named it.
    FetchFailed {
        /// Which relay.
        relay: RelayId,
        /// Why.
        reason: String,
    },
    /// Something is wrong between this node and its network: one line for people. Told when it begins or changes.
    Warned(Warning),
    /// What the last warning said no longer holds.
    Recovered,
    /// The document could not be written to the disk, or what was there could not be used.
    Storage {
        /// Why.
        reason: String,
    },
}

/// By what a newer document came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpdateBy {
    /// What had changed, from one relay.
    Difference,
    /// The whole snapshot, in chunks from several relays.
    Chunks,
    /// The whole snapshot, from one relay.
    Stream,
}

/// What was wrong with an entry relay.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// It gave no descriptor.
    #[error("{0}")]
    NoDescriptor(DescriptorFailure),
    /// Its descriptor could not be asked for.
    #[error("it could not be asked: {0}")]
    NotAsked(String),
    /// Its descriptor is bad.
    #[error("its descriptor is bad: {0}")]
    BadDescriptor(#[from] DescriptorError),
    /// It gave another relay's descriptor.
    #[error("it gave the descriptor of another relay")]
    OtherRelay,
    /// It gave no document.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It gave the genesis of another network.
    #[error("it gave the genesis of another network")]
    OtherGenesis,
    /// It gave documents that do not verify.
    #[error("it gave documents that do not verify: {0}")]
    Refused(ChainError),
    /// What the line trusts is too long ago to be trusted alone. It is not the relay's fault.
    #[error("the line is too old, which is not the fault of this relay: {0}")]
    LineTooOld(ChainError),
    /// It gave a history that begins at the genesis and leads past the document that was known.
    #[error("it gave another history of the network than the one that is known up to epoch {epoch}")]
    OtherHistory {
        /// The epoch of the document that was known.
        epoch: u64,
    },
    /// It gave bytes that are no document.
    #[error("it gave bytes that are no document: {0}")]
    Malformed(String),
    /// It gave a document that no longer holds, or an older one than is known.
    #[error("it gave the old document of epoch {epoch}")]
    Old {
        /// Its epoch.
        epoch: u64,
    },
    /// The node was shut down.
    #[error("the node is shut down")]
    ShutDown,
}

impl From<FetchStop> for EntryFault {
    fn from(stop: FetchStop) -> Self {
        match stop {
            FetchStop::Failed(failure) => Self::NoDescriptor(failure),
            FetchStop::Refused(reason) => Self::NotAsked(reason),
            FetchStop::ShutDown => Self::ShutDown,
        }
    }
}

/// Why a node that was started with a bootstrap line has no network.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// No entry relay and no relay that was known before gave a document that can be used.
    #[error("none of {} relays gave a document of the network that can be used; the last one: {}", .faults.len(), last(.faults))]
    NoEntry {
        /// Every relay that was tried, with what was wrong.
        faults: Vec<(RelayId, EntryFault)>,
    },
    /// The place for documents cannot be used.
    #[error("the directory for documents cannot be used: {0}")]
    Storage(String),
}

fn last(faults: &[(RelayId, EntryFault)]) -> String {
    faults.last().map_or_else(|| "there are none".to_owned(), |(_, fault)| fault.to_string())
}

//! The zMesh node: UDP driver, QUIC over circuits and the circuit socket API.
//!
//! Start with [`Node::builder`] to send through the network, with [`Relay::builder`] to forward for others.

mod api;
mod carrier;
mod chunks;
mod clock;
mod directory;
pub mod egress;
mod entropy;
mod exit;
mod guard_file;
mod local;
mod measuring;
mod origin;
mod quic;
mod replay_file;
mod service;
mod shard;
#[cfg(feature = "testnet")]
pub mod testnet;

#[cfg(test)]
mod tests;

pub use api::*;
pub use carrier::{Fallback, FallbackError, WebSocketServer};
pub use chunks::{
    Address, AddressError, ChunkError, ChunkMetrics, ChunkOptions, ChunkProgress, ChunkStore, Fetched, Published,
    Shortage,
};
pub use directory::{
    DirectoryError, DirectoryEvent, DocumentMetrics, EntryFault, Publication, PublishError, SourceError, UpdateBy,
};
pub use measuring::{Figures, Measuring};
pub use service::{
    DialError, ListenError, Listener, ListenerStats, ServiceAddress, ServiceAddressError, ServiceKey, ServiceOptions,
};
pub use zmesh_proto::directory::{Lie, Network, Warning};
pub use zmesh_proto::keys::RelayKeys;
pub use zmesh_proto::nat::{NatReport, Reachability, Way, WayKind};
pub use zmesh_proto::wire::bootstrap::{Bootstrap, BootstrapError};
pub use zmesh_sphinx::RelayId;

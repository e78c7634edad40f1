//! What a relay counts.

use zmesh_proto::node::Metrics;

use crate::chunks::ChunkMetrics;
use crate::directory::DocumentMetrics;

/// A relay's counters at one moment. Serialized, those of the node stand beside the others.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct RelayMetrics {
    /// Cells, circuits, links, queues, drops.
    #[serde(flatten)]
    pub node: Metrics,
    /// Datagrams that the shard received.
    pub datagrams_received: u64,
    /// Datagrams that the shard handed to the operating system.
    pub datagrams_sent: u64,
    /// Datagrams that the operating system did not take.
    pub datagrams_unsent: u64,
    /// Bytes of datagrams received, without the headers of UDP and IP.
    pub bytes_received: u64,
    /// Bytes of datagrams that the operating system took.
    pub bytes_sent: u64,
    /// QUIC sessions up at this exit.
    #[serde(rename = "exit_sessions")]
    pub sessions: usize,
    /// Streams open at this exit.
    #[serde(rename = "exit_streams")]
    pub streams: usize,
    /// Descriptors of services that it keeps.
    pub service_descriptors: usize,
    /// Services to which it passes introductions on.
    pub service_introductions: usize,
    /// What it keeps.
    #[serde(flatten)]
    pub chunks: ChunkMetrics,
    /// What it gives of documents.
    #[serde(flatten)]
    pub documents: DocumentMetrics,
}

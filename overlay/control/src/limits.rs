//! Every bound of the control plane, in one place.

use std::time::Duration;

/// How much of everything a node takes. The defaults suit a small server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Of these, begun by others. The rest is kept for those that this node chose, so that nobody can fill all.
    pub inbound: u32,
    /// Handshakes of others at once.
    pub pending_inbound: u32,
    /// Own attempts at once.
    pub pending_outbound: u32,
    /// Connections with one peer.
    pub per_peer: u32,
    /// Connections with one IPv4 address or IPv6 /64, handshakes included.
    pub per_address: u32,
    /// Handshakes of others at once with one of these by QUIC, and as many by TCP. An address that is forged gets no further than that,
    /// and takes no place of the one whose it is by the other.
    pub pending_per_address: u32,
    /// Connections with one IPv4 /24 or IPv6 /48.
    pub per_network: u32,
    /// New connections of one IPv4 address or IPv6 /64 in a minute, handshakes done; twice as many of one /24 or /48.
    pub arrivals_per_minute: u32,
    /// Connections that come by relays of libp2p.
    pub relayed: u32,
    /// How long it waits for others to confirm an address before it asks a relay for a place to be met at.
    pub confirm_time: Duration,
    /// When the whole process takes more memory than this, in bytes, nobody new is let in.
    pub memory: Option<usize>,
    /// Peers that this node keeps connections to by itself.
    pub wanted_peers: usize,
    /// How often the mesh of gossip is looked after.
    pub heartbeat: Duration,
    /// Bytes of messages that are not accepted, which one peer may bring first in a second, over ten seconds.
    pub bytes_per_second: u32,
    /// Messages likewise.
    pub messages_per_second: u32,
    /// Questions that one peer may ask in a minute.
    pub asks_per_minute: u32,
    /// Bytes of answers on their way at once, without those that are shared.
    pub answers_in_flight: usize,
    /// Answers on their way at once of which one copy is for all: documents.
    pub shared_answers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            inbound: 160,
            pending_inbound: 256,
            pending_outbound: 24,
            per_peer: 2,
            per_address: 8,
            pending_per_address: 4,
            per_network: 16,
            arrivals_per_minute: 30,
            relayed: 16,
            confirm_time: Duration::from_secs(30),
            memory: None,
            wanted_peers: 12,
            heartbeat: Duration::from_secs(1),
            bytes_per_second: 128 << 10,
            messages_per_second: 64,
            asks_per_minute: 60,
            answers_in_flight: 96 << 20,
            shared_answers: 64,
        }
    }
}

impl Limits {
    /// For many nodes on one machine: a test network has one address.
    #[must_use]
    pub fn one_machine() -> Self {
        Self {
            per_address: 512,
            pending_per_address: 256,
            per_network: 512,
            arrivals_per_minute: 6_000,
            heartbeat: Duration::from_millis(300),
            asks_per_minute: 6_000,
            ..Self::default()
        }
    }
}

/// The longest question, in bytes.
pub const QUESTION_MAX: usize = 4 << 10;
/// The longest answer, in bytes: a document with all descriptors, and what goes around it.
pub const ANSWER_MAX: usize = zmesh_proto::wire::control::SNAPSHOT_MAX + 1_024;
/// The longest greeting, in bytes.
pub(crate) const HELLO_MAX: usize = 8 << 10;
/// How long a new peer may take to greet.
pub(crate) const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a question may take.
pub(crate) const ASK_TIME: Duration = Duration::from_secs(30);
/// Streams on a connection.
pub(crate) const STREAMS: u32 = 64;
/// Streams on a connection whose protocol is not agreed on yet.
pub(crate) const STREAMS_PENDING: usize = 16;
/// Bytes that a peer may send ahead on a stream, and on a connection.
pub(crate) const STREAM_WINDOW: u32 = 512 << 10;
pub(crate) const CONNECTION_WINDOW: u32 = 2 << 20;
/// How long an unused connection is kept.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// Peers of which one remembers something.
pub(crate) const KNOWN_PEERS: usize = 1_024;
/// Addresses of a peer.
pub(crate) const ADDRESSES: usize = 4;
/// How long a peer that nobody reached is remembered, in seconds.
pub(crate) const FORGET_AFTER: u64 = 14 * 86_400;

//! The words of the link API: configuration, identities, inputs, outputs, errors.

use std::net::SocketAddr;
use std::time::Duration;

use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::wire::cell::Cell;
use crate::wire::frame::signal::SIGNAL_LEN;
use crate::wire::frame::{DocPart, SETUP_PACKET_LEN, SETUP_REPLY_LEN};

/// A relay's X25519 link secret. Erased on drop, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LinkSecret([u8; 32]);

impl LinkSecret {
    /// Draws a fresh secret.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// Takes 32 bytes as a secret; X25519 clamps them on use.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret's bytes, to be stored by the caller under its own care.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key that goes into the relay's descriptor.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(self.0)).to_bytes()
    }
}

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSecret([redacted])")
    }
}

/// Who this node is on its links.
#[derive(Clone, Debug)]
pub enum LocalIdentity {
    /// An origin: no lasting key, opens links by Noise NK, accepts none.
    Anonymous,
    /// A relay: opens links by Noise IK and accepts IK and NK.
    Relay {
        /// The relay's Ed25519 identity.
        identity: [u8; 32],
        /// The secret of its link key.
        link_secret: LinkSecret,
    },
}

/// A neighbour that a link may be opened to, as its descriptor says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkPeer {
    /// The relay's Ed25519 identity.
    pub identity: [u8; 32],
    /// The relay's X25519 link key.
    pub link_key: [u8; 32],
    /// Where it listens, best first. A carrier that is not UDP maps its own endpoints to such addresses.
    pub addresses: Vec<SocketAddr>,
}

/// How the links of a node behave. [`LinkConfig::new`] gives defaults that suit a relay.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Who this node is.
    pub local: LocalIdentity,
    /// How many links may exist at once.
    pub max_links: usize,
    /// How many accepted links one IPv4 address or IPv6 /64 may hold, four times as many an IPv6 /48. Addresses of this
    /// machine itself (loopback) are not bounded.
    pub max_links_per_source: usize,
    /// Limit on bytes sent per second over all links; `None` for no limit.
    pub rate_limit: Option<u64>,
    /// Whether this machine encrypts AES-256-GCM faster than ChaCha20-Poly1305.
    pub prefer_aes: bool,
    /// Answered handshakes that wait for the initiator's first datagram, at most, besides renewals; beyond, the oldest
    /// of the network with the most gives way.
    pub max_half_open: usize,
    /// First messages of strangers that wait for public-key work, at most; one more is dropped. A quarter more may wait
    /// from addresses of links that exist.
    pub max_queued_handshakes: usize,
    /// From this many waiting first messages on, strangers must prove their address by a cookie.
    pub cookie_threshold: usize,
    /// Silence after which a PING is sent.
    pub keepalive: Duration,
    /// How long an answer to a PING is waited for before it counts as missed.
    pub probe_timeout: Duration,
    /// So many missed answers in a row end the link.
    pub missed_probes: u32,
    /// Age of a session at which the initiator makes a new one.
    pub rekey_after: Duration,
    /// Age of a session at which it is no longer used.
    pub expire_after: Duration,
    /// How long a link may take to come up.
    pub handshake_timeout: Duration,
    /// Control frames that may wait on one link.
    pub max_queued_control: usize,
    /// Whether cells that are lost on a link are repaired there. Both sides understand repairs either way; this is about
    /// what this node sends.
    pub repair: bool,
}

impl LinkConfig {
    /// The defaults for a node with this identity.
    #[must_use]
    pub fn new(local: LocalIdentity) -> Self {
        Self {
            local,
            max_links: 4096,
            max_links_per_source: 32,
            rate_limit: None,
            prefer_aes: true,
            max_half_open: 4096,
            max_queued_handshakes: 128,
            cookie_threshold: 32,
            keepalive: Duration::from_secs(10),
            probe_timeout: Duration::from_millis(1200),
            missed_probes: 3,
            rekey_after: Duration::from_secs(90),
            expire_after: Duration::from_secs(180),
            handshake_timeout: Duration::from_secs(10),
            max_queued_control: 512,
            repair: true,
        }
    }
}

/// A link of this node. Stays the same over rekeys and over a change of the peer's address; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl LinkId {
    /// The link as a number, unlike that of any other link of this node.
    pub(crate) fn as_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// A frame that is retried until the peer has it, and delivered once.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "the largest one is the one that is common")]
pub enum Control {
    /// Opens a circuit.
    Setup {
        /// The new circuit's number on this link.
        circuit: u32,
        /// The set-up packet.
        packet: [u8; SETUP_PACKET_LEN],
    },
    /// Answers a set-up.
    SetupReply {
        /// The circuit's number on this link.
        circuit: u32,
        /// The reply.
        reply: [u8; SETUP_REPLY_LEN],
    },
    /// Ends a circuit.
    Destroy {
        /// The circuit's number on this link.
        circuit: u32,
        /// Why, as the circuit layer numbers it.
        reason: u8,
    },
    /// A word about reaching a node that cannot be linked to directly, see [`Signal`](crate::wire::frame::signal::Signal).
    Signal(Box<[u8; SIGNAL_LEN]>),
}

impl Control {
    /// The circuit that the frame is about; 0 for one that is about none, so that those keep their order.
    #[must_use]
    pub fn circuit(&self) -> u32 {
        match self {
            Self::Setup { circuit, .. } | Self::SetupReply { circuit, .. } | Self::Destroy { circuit, .. } => *circuit,
            Self::Signal(_) => 0,
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Setup { .. } => "Setup",
            Self::SetupReply { .. } => "SetupReply",
            Self::Destroy { .. } => "Destroy",
            Self::Signal(_) => "Signal",
        };
        f.debug_struct(name).field("circuit", &self.circuit()).finish_non_exhaustive()
    }
}

/// What arrived on a link for the layer above.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Inbound {
    /// A cell, at most once.
    Cell(LinkId, Cell),
    /// A control frame, exactly once.
    Control(LinkId, Control),
    /// The peer says that this node's datagrams come from this address.
    Observed(LinkId, SocketAddr),
    /// The peer asks for this part of this node's descriptor.
    DescriptorAsked(LinkId, u8),
    /// A part of the peer's descriptor.
    DescriptorPart(LinkId, DescriptorPart),
}

/// A part of a peer's own descriptor, not verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DescriptorPart {
    /// Which part, from 0.
    pub part: u8,
    /// Length of the whole descriptor in bytes, 0 when the peer has none to give.
    pub whole_len: usize,
    /// The same for all parts of one descriptor.
    pub tag: u32,
    /// The part's bytes.
    pub bytes: Vec<u8>,
}

impl From<DocPart<'_>> for DescriptorPart {
    fn from(part: DocPart<'_>) -> Self {
        Self { part: part.part(), whole_len: part.whole_len(), tag: part.tag(), bytes: part.bytes().to_vec() }
    }
}

/// Who is at the other end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkPeerInfo {
    /// The peer's Ed25519 identity. On a link that this node opened it is proven. On an accepted link it is the peer's
    /// claim: it holds when the network document gives this identity the [`link_key`](Self::link_key) below.
    pub identity: Option<[u8; 32]>,
    /// The peer's X25519 link key, proven; `None` for an origin.
    pub link_key: Option<[u8; 32]>,
    /// Whether this node opened the link.
    pub initiator: bool,
}

/// What happened to a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// The link carries cells from now on.
    Up(LinkId, LinkPeerInfo),
    /// The link is gone, and its id with it. Not sent after [`close`](super::Links::close).
    Down(LinkId, LinkError),
}

/// Why a link ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// No answer to the handshake in time.
    #[error("the peer did not answer the handshake")]
    HandshakeTimeout,
    /// The peer went silent.
    #[error("the peer no longer answers")]
    Dead,
    /// The peer closed the link.
    #[error("the peer closed the link")]
    ClosedByPeer,
    /// The session grew too old without a new handshake.
    #[error("the session could not be renewed in time")]
    Expired,
    /// The peer no longer knows the link that was to be rekeyed.
    #[error("the peer has forgotten the link")]
    Forgotten,
    /// The link was idle, and another needed its place.
    #[error("an idle link gave way to another")]
    Evicted,
    /// The peer broke the protocol inside an authenticated datagram.
    #[error("the peer broke the protocol")]
    Misbehaved,
}

/// Why a call on [`Links`](super::Links) failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// As many links as the configuration allows exist already.
    #[error("too many links")]
    TooManyLinks,
    /// The link does not exist, or no longer.
    #[error("no such link")]
    UnknownLink,
    /// The peer has no address.
    #[error("the peer has no address")]
    NoAddress,
    /// The peer is this node itself.
    #[error("a node opens no link to itself")]
    OwnIdentity,
    /// As many control frames as the configuration allows wait on this link.
    #[error("too many control frames wait on this link")]
    ControlQueueFull,
}

/// How a link fares.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LinkStats {
    /// Whether the link is up.
    pub up: bool,
    /// Whether this node opened it.
    pub initiator: bool,
    /// The peer's address.
    pub address: SocketAddr,
    /// Smoothed round-trip time; `None` before the first sample.
    pub rtt: Option<Duration>,
    /// The smallest recent round-trip time.
    pub min_rtt: Option<Duration>,
    /// The standing queue on the path, as last estimated.
    pub queue_delay: Duration,
    /// The congestion window in bytes.
    pub window: u64,
    /// Bytes sent and not yet reported.
    pub in_flight: u64,
    /// Share of datagrams lost lately, 0 to 1.
    pub loss: f32,
    /// Datagrams sent on this link.
    pub datagrams_sent: u64,
    /// Datagrams accepted on this link.
    pub datagrams_received: u64,
    /// Control frames sent again.
    pub retransmits: u64,
    /// Control frames that wait or are unacknowledged.
    pub control_queued: usize,
    /// Completed rekeys.
    pub rekeys: u64,
}

/// An id for tests of what keeps ids.
#[cfg(test)]
pub(crate) fn test_id(index: u32) -> LinkId {
    LinkId { index, generation: 0 }
}

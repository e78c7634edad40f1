//! Links: authenticated, encrypted datagram channels between neighbouring nodes.

mod counters;
mod handshake;
mod links;
mod output;
mod types;

pub use counters::LinkCounters;
pub use handshake::{HandshakeDone, HandshakeJob};
pub use links::Links;
pub use output::Transmit;
pub use types::{
    Control, Error, Inbound, LinkConfig, LinkError, LinkEvent, LinkId, LinkPeer, LinkPeerInfo,
    LinkSecret, LinkStats, LocalIdentity,
};

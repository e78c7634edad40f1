//! Links: authenticated, encrypted datagram channels between neighbouring nodes.
//!
//! [`Links`] holds all links of one node. `specs/03-link.md` fixes every byte; this is where to find what:
//!
//! | file | what |
//! |---|---|
//! | `links` | the table of links, routing of datagrams, handshakes of both sides |
//! | `link` | one link: what it sends, takes and does in time |
//! | `handshake`, `suite`, `cookie`, `guests`, `crowd` | Noise messages as jobs; suites; cookies; bounds on strangers |
//! | `session`, `window` | keys of one handshake, replay window |
//! | `sent`, `received`, `congestion`, `bucket` | feedback, congestion control, pacing |
//! | `control` | reliable control frames |
//! | `repair` | cells sent again, and combinations of cells, for what was lost |
//! | `route`, `links::reach` | ways that are no places in the network; other addresses of a peer |
//! | `output` | sealed datagrams in runs for segmentation offload |
//!
//! What an observer of a link sees: two lengths of datagram, random receiver indexes, counters, and that a handshake is
//! by a relay (IK) or an origin (NK). What a thief of a relay's link secret learns from recorded handshakes: which
//! relays opened links to it, since message 1 of IK hides the initiator's key behind the responder's alone; no cell.

mod bucket;
mod clock;
mod congestion;
mod control;
mod cookie;
mod counters;
mod crowd;
mod guests;
mod handshake;
#[expect(clippy::module_inception, reason = "a link is what the module is about")]
mod link;
mod links;
mod output;
mod received;
mod repair;
pub mod route;
mod sent;
mod session;
mod shared;
mod suite;
mod types;
mod window;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use types::test_id;

pub use counters::LinkCounters;
pub use handshake::{HandshakeDone, HandshakeJob};
pub use links::Links;
pub(crate) use suite::{sealed_initiator, sealed_responder};

pub use output::{MAX_RUN_BYTES, MAX_SEGMENTS, Transmit};
pub use types::{
    Control, DescriptorPart, Error, Inbound, LinkConfig, LinkError, LinkEvent, LinkId, LinkPeer, LinkPeerInfo,
    LinkSecret, LinkStats, LocalIdentity,
};

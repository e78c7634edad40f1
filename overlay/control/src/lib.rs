//! The control plane of zMesh: how relays and directory nodes find each other and talk without a centre.
//!
//! libp2p over QUIC and TCP: Kademlia and identify find peers, gossip carries messages by topic, every message is judged
//! by its owner before it goes on, and a store keeps peers with their standing over restarts. **Origins never join**: they
//! fetch documents over a guard link or a circuit and link nothing of this crate into what they do. Who needs the control
//! plane for a moment takes an identity that ends with the session.
//!
//! Start with [`Control::builder`]. `specs/15-control.md` says what goes over the wire.

mod address;
mod book;
mod clock;
mod control;
pub mod directory;
mod entropy;
mod error;
mod event;
mod framing;
mod gate;
mod gossip;
pub mod hello;
mod identity;
mod limits;
mod mapping;
mod meter;
mod names;
mod plane;
mod reach;
mod reputation;
mod settings;
mod store;
mod transport;

pub use address::{Contact, NoContact};
pub use control::Control;
pub use error::{AskError, PublishError, StartError};
pub use event::{AskId, Event, MessageTag, QuestionId, Status};
pub use hello::Claims;
pub use identity::{NoIdentity, PeerIdentity};
pub use limits::{ANSWER_MAX, Limits, QUESTION_MAX};
pub use settings::Builder;
pub use store::{Store, StoreError};
pub use zmesh_proto::wire::control::{Reason, Topic, Verdict};

/// Reads what the store keeps of a peer and writes it again, for fuzzing: whether it was a record.
///
/// # Panics
/// When a record does not come back as it was written.
#[doc(hidden)]
#[must_use]
pub fn fuzz_record(bytes: &[u8]) -> bool {
    let Some(record) = store::Record::decode(bytes) else { return false };
    let again = store::Record::decode(&record.encode());
    assert!(again.as_ref() == Some(&record), "a record comes back as it was written");
    true
}

//! What the control plane carries: genesis, epoch documents, snapshots and differences, and the messages by which voters
//! agree.
//!
//! Everything here is protobuf in one canonical form ([`canonical`]), bounded in size, and signed in a context of its own.
//! A value of one of these types has kept every rule that can be checked without knowing the network; who may have signed
//! it is asked of a [`VoterSet`]. `specs/12-agreement.md` has the bytes.

pub mod canonical;
mod entry;
mod epoch;
mod genesis;
mod header;
mod heartbeat;
mod parameters;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod topic;
pub mod vote;
mod voters;

pub(crate) use entry::write_table;
pub use entry::{RELAY_ENTRY_LEN, RelayEntry, RelayFlags};
pub(crate) use epoch::descriptor_hash;
pub use epoch::{DIFFERENCE_MAX, DOCUMENT_MAX, Difference, EpochDocument, SNAPSHOT_MAX, Snapshot};
pub use genesis::{EPOCH_LENGTH_MAX, EPOCH_LENGTH_MIN, Genesis, GenesisTerms};
pub use header::{Certificate, HEADER_MAX, Header, HeaderHash, SIGNED_HEADER_MAX, SignedHeader, precommit_message};
pub(crate) use header::{HeaderFields, table_hash};
pub use heartbeat::{HEARTBEAT_MAX, Heartbeat, Unverified, Vitals};
pub use parameters::Parameters;
pub use topic::{Reason, Topic, Verdict};
pub use voters::{VOTERS_MAX, Voter, VoterSet};

pub use canonical::FormError;

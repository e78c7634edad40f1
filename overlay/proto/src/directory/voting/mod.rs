//! How voters agree on the next document.
//!
//! [`Voting`] is the machine of one node, voter or not. Each document is one *instance*: the successor of the document before, whatever
//! its epoch will be, so that a document can only ever have one successor. An instance has two parts.
//!
//! *Gathering*, by the clock: voters commit to secrets, then open them and cast ballots. What a document says is a function of the
//! ballots and secrets that it names ([`count`]), so a proposer chooses nothing but which of them it has seen, and voters refuse a
//! proposal that leaves out what they saw in time.
//!
//! *Rounds*, as Tendermint has them (Buchman, Kwon and Milosevic, *The latest gossip on BFT consensus*, 2018): in each, proposals, a
//! prevote and a precommit. A voter that precommits a document is locked on it until it sees that enough others prevoted another one
//! later. With fewer than a third of the voters faulty no two documents gather enough precommits. Unlike there, everybody may propose
//! in a round, in the order of a lottery ([`lottery`](crate::keys::vrf_prove)) that nobody can foresee: a silent proposer costs
//! nothing, and nobody knows beforehand whom to attack.

mod count;
mod fair;
mod instance;
mod lottery;
mod machine;
mod memory;
mod receive;
mod rounds;
mod sync;
#[cfg(test)]
mod tests;
mod timing;
mod value;

pub use count::{Counted, count};
pub use machine::{Event, Transmit, Voting};
pub use memory::{Memory, MemoryError};
pub use sync::HAVE_MAX;
pub use timing::Timing;

//! Reaching nodes behind translators of addresses (NAT) and firewalls, on the socket that links use.
//!
//! `specs/17-nat.md` fixes every byte. What is where:
//!
//! | file | what |
//! |---|---|
//! | `observe` | what relays say of where a node's datagrams come from; kinds of translators; the next port |
//! | `candidate`, `exchange` | addresses at which a node may be reached, and the sealed messages that carry them |
//! | `probe`, `punch` | authenticated probes, and the simultaneous open by them |
//! | `introducers` | which relays a node can be asked for at |
//! | `between` | what a relay does for two others: passing on offers, answers, and flows |
//! | `reach` | whether strangers can reach a relay |
//! | `signalling` | what carries offers and answers |
//! | `routes` | flows of which a node is an end |
//! | `machine`, `attempts`, `serve` | all of it inside one node |

mod attempts;
mod between;
pub mod candidate;
pub mod exchange;
mod introducers;
mod machine;
pub mod observe;
pub mod probe;
pub mod punch;
mod reach;
mod routes;
mod serve;
pub mod signalling;
#[cfg(test)]
mod tests;

pub use between::BetweenConfig;
pub(crate) use exchange::{ExchangeDone, ExchangeWork};
#[cfg(test)]
pub(crate) use introducers::COMPUTED;
pub use introducers::{INTRODUCERS, introducers};
pub(crate) use machine::Nat;
pub use machine::{NatConfig, NatReport, Way, WayKind};
pub use reach::{CONFIRMATIONS, Reachability};
#[cfg(test)]
pub(crate) use routes::{ROUTE_IDLE, ROUTES_OF_LINK};

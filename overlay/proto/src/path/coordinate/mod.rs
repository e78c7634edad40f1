//! A map of the network on which distance is latency, drawn by its nodes together: Vivaldi coordinates.
//!
//! Every node has a place: two dimensions and a height that stands for its access link. It measures round-trip times to a
//! few neighbours over its links, hears where they say they are, and moves a little, as if springs of the measured length
//! pulled at it (Dabek et al., *Vivaldi*, SIGCOMM 2004). A [`Filter`] for each neighbour takes the noise out of the
//! measurements (Ledlie et al., *Network coordinates in the wild*, NSDI 2007), and what a node announces follows its
//! place only when that has moved by a margin. [`Region`] is a coarse cell of the map.
//!
//! **Neighbours lie.** So a node moves once for all of its neighbours together ([`Vivaldi::round`]): nobody's pull counts for
//! more than the median one, and pulls that are far out of line with the others count for nothing; nobody moves it by sending
//! often; a step has a bound, and so has the map. Liars who are fewer than the honest neighbours can shift a node by a bounded
//! distance and cannot throw it away (see the tests for how far).
//!
//! Nothing here reads a clock or a socket: whoever drives it measures, and decides when a round is due.

mod filter;
mod region;
#[cfg(test)]
mod tests;
mod vivaldi;

pub use filter::Filter;
pub use region::Region;
pub use vivaldi::{NEIGHBOURS_MAX, Vivaldi};

//! Voters and directory nodes that agree on documents over many epochs, in virtual time.
//!
//! Each node runs the real `Voting` machine. Messages travel over a mesh as gossip does: whoever accepts one passes it on to all of its
//! neighbours but the one it came from, and each hop takes its time and may lose it. What gossip lost is asked for, as the real driver
//! does. Relays are descriptors and what voters say of them; they come and go.
//! A [`Council`] is the voters alone, for worlds that need their documents and look at something else.

mod council;
mod relays;
mod report;
mod world;

pub use council::Council;
pub use relays::{Relays, sighting};
pub use report::Report;
pub use world::{Conditions, Faults, World};

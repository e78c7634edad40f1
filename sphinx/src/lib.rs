//! The Sphinx packet, the one-round-trip circuit set-up and the cell layers of zMesh.
//!
//! This crate is pure: no I/O, no clock, no ambient randomness. Time and random numbers are arguments, so one seed replays everything.
//!
//! An origin calls [`create`] with the relays it chose and sends the [`Packet`] to the first of them. Every relay takes the packet
//! through [`Packet::peel_header`] (one group multiplication, header authenticator, slot), asks its [`ReplayFilter`], and then calls
//! [`Peeled::finish`], which yields the packet for the next relay, the relay's half of the circuit ([`HopCircuit`]) and a
//! [`ReplySeal`]. The last relay answers with [`ReplySeal::last`], every earlier one wraps what comes back with
//! [`ReplySeal::forward`], and the origin turns the reply into its own half, the [`OriginCircuit`], by [`PendingSetup::finish`].
//! From then on both sides move cells of constant size through the two halves.
//!
//! The wire formats, the key schedule and the security argument stand in `specs/01-sphinx.md` and `specs/02-cells.md`.

mod body;
mod chain;
mod error;
mod group;
mod header;
mod hop;
mod kdf;
mod number;
mod origin;
mod packet;
mod phase;
mod plain;
mod replay;
mod reply;
mod route;
mod secret;
mod setup;
mod wide_block;
mod window;

pub use error::{CellError, Error, ReplayError};
pub use group::{OnionPublic, OnionSecret};
pub use hop::{Forwarded, HopCircuit};
pub use origin::OriginCircuit;
pub use packet::{Next, Packet, Peeled, Unwrapped};
pub use plain::Plain;
pub use replay::{ReplayFilter, ReplayTag};
pub use reply::ReplySeal;
pub use route::{PathHop, RelayId};
pub use setup::{PendingSetup, create};
pub use wide_block::WideBlock;

/// Insides that the test vectors and the benchmarks of the project call directly. Nothing else should.
pub mod hazmat;

/// Most hops that one circuit can have: three of the origin's own choice and a meeting relay that somebody else chose.
pub const MAX_HOPS: usize = 4;
/// Length of a set-up packet in bytes: α 32, routing blocks 4 × 48, γ 16, body 240.
pub const PACKET_LEN: usize = 480;
/// Length of a set-up reply in bytes: four slots of 48 (ephemeral share 32, authenticator 16).
pub const REPLY_LEN: usize = 192;
/// Length of a cell's body in bytes.
pub const BODY_LEN: usize = 504;
/// Most payload bytes that one cell carries: the body without authenticator (16), kind (1) and length (2).
pub const PAYLOAD_MAX: usize = 485;
/// Length in seconds of a slot, the unit of time in which set-up packets are valid: `slot = unix seconds / SLOT_SECONDS`.
pub const SLOT_SECONDS: u64 = 300;

/// Whether a relay whose clock says `now` takes a set-up packet made for `slot`.
///
/// The slot itself and one to either side are taken, so clocks may differ by [`SLOT_SECONDS`] (plus whatever is left of the slot)
/// before an honest packet is refused. The [`ReplayFilter`] remembers exactly as long.
#[must_use]
pub fn slot_is_current(slot: u32, now: u32) -> bool {
    slot.abs_diff(now) <= 1
}

#[cfg(test)]
mod tests;

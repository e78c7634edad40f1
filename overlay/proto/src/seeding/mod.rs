//! Self-seeding chunks: what people publish, kept by relays that cannot read it, for whoever has the address.
//!
//! ```text
//! file ── seal ──▶ root and parts, encrypted under a random key ── BLAKE3 ──▶ names
//!   address = name and length of the root, and the key                       the publisher hands it on
//!   shelf of a chunk ── rendezvous hashing over the network document ──▶ the relays that keep it
//!   fetch: any few more than K symbols of anyone's give a chunk back; a hash says whether it is the right one
//! ```
//!
//! [`address`], [`seal`] and [`root`] are what publisher and reader agree on; [`placement`] says where chunks are;
//! [`cache`] is what a relay decides about its disk; [`fetch`] gathers a chunk from several seeders of which any may lie.
//! `specs/09-chunks.md` has the bytes and the bounds.

pub mod address;
pub mod cache;
pub mod fetch;
pub mod placement;
pub mod root;
pub mod seal;
#[cfg(test)]
mod tests;

pub use crate::wire::request::{ChunkId, ChunkRef, Class, SYMBOLS_MAX, Shelf, SymbolRun};

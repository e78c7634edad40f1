//! The application error codes inside QUIC (`specs/07-streams.md`).

use quinn::VarInt;

/// Nothing is wrong: the sender is done.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);
/// The application gave the stream or the request up.
pub(crate) const CANCELLED: VarInt = VarInt::from_u32(1);
/// The destination's connection broke.
pub(crate) const EGRESS: VarInt = VarInt::from_u32(2);
/// The peer broke the exit protocol.
pub(crate) const PROTOCOL: VarInt = VarInt::from_u32(3);
/// The circuit under the connection has ended.
pub(crate) const CIRCUIT: VarInt = VarInt::from_u32(4);

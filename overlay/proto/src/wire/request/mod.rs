//! What an origin asks of an exit, or of a relay that keeps chunks, spoken inside QUIC.
//!
//! Every request opens a bidirectional stream and starts with a [`Request`]; the exit answers with a [`Response`], after
//! which a `Connect` stream carries the bytes of the connection, and a `BindUdp` stream stays open for as long as the
//! flow lives. `Symbols` and `Keep` are about chunks: the answer to the first is followed by the symbols, and the
//! `Send` that answers the second is followed by the chunk, from the origin, and by one more response. `Document` is about
//! the network's documents: a `Head`, or a length with so many bytes behind it. UDP payloads travel as [`UdpDatagram`]s in QUIC DATAGRAM frames, or, where one does not fit, as
//! length-prefixed records on the stream of their flow ([`frame_record`], [`read_record`]).
//!
//! All decoders are total. Those that read from a stream tell "need more bytes" (`Ok(None)`) from "bad" (`Err`), and
//! every message has a maximum length, so a peer cannot make anyone wait or buffer for ever. `specs/06-exits.md` has the
//! bytes.

mod chunk;
mod datagram;
mod document;
mod host;
mod message;
#[cfg(test)]
mod tests;

pub use chunk::{ChunkId, ChunkRef, Class, SYMBOLS_MAX, Shelf, SymbolRun};
pub use datagram::{RECORD_HEADER, UDP_HEADER_MAX, UdpDatagram, frame_record, read_record};
pub use document::{DOCUMENT_MAX, DocumentAsk, DocumentHash, Head, SnapshotRef};
pub use host::{Host, HostError, HostName, NAME_MAX};
pub use message::{ADDRESSES_MAX, Failure, NAMES_MAX, REQUEST_MAX, RESPONSE_MAX, Request, Response};

/// The version byte of this protocol.
pub const VERSION: u8 = 1;

//! The inside of a link datagram: frames one after the other, then zero bytes.
//!
//! | type | frame | bytes with the type |
//! |---|---|---|
//! | 0 | PAD: the rest of the datagram is zero | the rest |
//! | 1 | CELLS1: one cell | 513 |
//! | 2 | CELLS2: two cells | 1,025 |
//! | 3 | FEEDBACK | 28 |
//! | 4 | PING: id `u32` | 5 |
//! | 5 | PONG: id `u32` | 5 |
//! | 6 | SETUP: id `u32` ‖ circuit `u32` ‖ packet 480 | 489 |
//! | 7 | SETUP_REPLY: id `u32` ‖ circuit `u32` ‖ reply 192 | 201 |
//! | 8 | DESTROY: id `u32` ‖ circuit `u32` ‖ reason `u8` | 10 |
//! | 9 | ACK: all up to `u32` ‖ bitmap `u64` of the 64 ids after it | 13 |
//! | 10 | REPAIR: encoding vector 11 (`zmesh-fec`) ‖ symbol 512 | 524 |
//! | 11 | CLOSE: reason `u8` | 2 |
//! | 12 | SOURCE: id `u16` ‖ cell | 515 |
//! | 13 | AGAIN1: back `u16` ‖ one cell | 515 |
//! | 14 | AGAIN2: back `u16` ‖ two cells | 1,027 |
//! | 20 | DOC_GET: part `u8` ‖ 1,030 zero bytes | 1,032 |
//! | 21 | DOC_PART: part `u8` ‖ length `u16` ‖ tag `u32` ‖ 1,024 bytes | 1,032 |
//! | 22 | OBSERVE: token `u32` | 5 |
//! | 23 | OBSERVED: token `u32` ‖ address 16 ‖ port `u16` | 23 |
//! | 24 | SIGNAL: id `u32` ‖ signal 487 (`signal`) | 492 |
//!
//! Reading allocates nothing and copies nothing: [`Frames`] walks over the plaintext and lends its parts. Anything that
//! is not exactly this ends in [`FrameError`]; a sender that produces it holds the session's key, so it is at fault.

mod document;
mod feedback;
pub mod signal;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use document::DocParts;
pub use document::{DocPart, PART_LEN, PARTS_MAX};
pub use feedback::{FEEDBACK_BITS, Feedback};
pub use writer::FrameWriter;

use zmesh_fec::Vector;

use std::net::SocketAddr;

use super::address::{ADDRESS_LEN, read_address};
use super::cell::CELL_LEN;
use signal::SIGNAL_LEN;

/// Bytes of a set-up packet.
pub const SETUP_PACKET_LEN: usize = 480;
/// Bytes of a set-up reply.
pub const SETUP_REPLY_LEN: usize = 192;
/// Bytes of a FEEDBACK frame with its type.
pub const FEEDBACK_LEN: usize = 28;
/// Bytes of a SOURCE or AGAIN1 frame with its type.
pub const SOURCE_LEN: usize = 3 + CELL_LEN;
/// Bytes of a REPAIR frame with its type.
pub const REPAIR_LEN: usize = 1 + Vector::LEN + CELL_LEN;

pub(crate) const PAD: u8 = 0;
pub(crate) const CELLS1: u8 = 1;
pub(crate) const CELLS2: u8 = 2;
pub(crate) const FEEDBACK: u8 = 3;
pub(crate) const PING: u8 = 4;
pub(crate) const PONG: u8 = 5;
pub(crate) const SETUP: u8 = 6;
pub(crate) const SETUP_REPLY: u8 = 7;
pub(crate) const DESTROY: u8 = 8;
pub(crate) const ACK: u8 = 9;
pub(crate) const REPAIR: u8 = 10;
pub(crate) const CLOSE: u8 = 11;
pub(crate) const SOURCE: u8 = 12;
pub(crate) const AGAIN1: u8 = 13;
pub(crate) const AGAIN2: u8 = 14;
pub(crate) const DOC_GET: u8 = 20;
pub(crate) const DOC_PART: u8 = 21;

/// Bytes of a DOC_GET and of a DOC_PART frame behind the type: no answer is longer than what asks for it.
const DOC_REST: usize = 7 + PART_LEN;
pub(crate) const OBSERVE: u8 = 22;
pub(crate) const OBSERVED: u8 = 23;
pub(crate) const SIGNAL: u8 = 24;

/// One frame, borrowed from the datagram's plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// One cell.
    Cells1(&'a [u8; CELL_LEN]),
    /// Two cells, often of two circuits.
    Cells2(&'a [u8; CELL_LEN], &'a [u8; CELL_LEN]),
    /// What the peer has received.
    Feedback(Feedback),
    /// Please answer with a PONG of the same id.
    Ping(u32),
    /// The answer to a PING.
    Pong(u32),
    /// A set-up packet that opens a circuit.
    Setup {
        /// The control frame's id on this link.
        id: u32,
        /// The new circuit's number.
        circuit: u32,
        /// The packet.
        packet: &'a [u8; SETUP_PACKET_LEN],
    },
    /// The answer to a set-up packet.
    SetupReply {
        /// The control frame's id on this link.
        id: u32,
        /// The circuit's number.
        circuit: u32,
        /// The reply.
        reply: &'a [u8; SETUP_REPLY_LEN],
    },
    /// The circuit is gone.
    Destroy {
        /// The control frame's id on this link.
        id: u32,
        /// The circuit's number.
        circuit: u32,
        /// Why, as the circuit layer numbers it.
        reason: u8,
    },
    /// Control frames that arrived: all ids up to `through`, and those of the 64 after it whose bit is set.
    Ack {
        /// Every id up to and including this one arrived.
        through: u32,
        /// Bit `i` (least significant first) stands for `through + 1 + i`.
        beyond: u64,
    },
    /// The peer closes the link.
    Close {
        /// Why: 0 for no reason given.
        reason: u8,
    },
    /// A cell that repairs protect.
    Source {
        /// The low 16 bits of its number among the protected cells of this direction.
        id: u16,
        /// The cell.
        cell: &'a [u8; CELL_LEN],
    },
    /// A linear combination of protected cells.
    Repair {
        /// Which cells, and by which coefficients.
        vector: Vector,
        /// The combination.
        symbol: &'a [u8; CELL_LEN],
    },
    /// The cells of a datagram that is taken for lost, once more. Nothing if that one has arrived, or is too old to know.
    Again {
        /// How many counters before this datagram the lost one was sent.
        back: u16,
        /// Its first cell.
        first: &'a [u8; CELL_LEN],
        /// Its second cell, if it had two.
        second: Option<&'a [u8; CELL_LEN]>,
    },
    /// Please give a part of your descriptor.
    DocGet {
        /// Which part, from 0.
        part: u8,
    },
    /// A part of the sender's descriptor.
    DocPart(DocPart<'a>),
    /// Please tell the address that this datagram came from.
    Observe(u32),
    /// The address that the datagram with this token came from.
    Observed {
        /// The token of the OBSERVE.
        token: u32,
        /// Where it came from.
        address: SocketAddr,
    },
    /// A message about reaching a node behind a translator of addresses.
    Signal {
        /// The control frame's id on this link.
        id: u32,
        /// The message, see [`signal::Signal`].
        signal: &'a [u8; SIGNAL_LEN],
    },
}

/// Why a datagram's inside is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame type that is unknown or reserved.
    #[error("unknown frame type {0}")]
    Kind(u8),
    /// The datagram ends inside a frame.
    #[error("datagram ends inside a frame")]
    Truncated,
    /// Padding holds a byte that is not zero.
    #[error("padding is not zero")]
    Padding,
    /// The encoding vector of a REPAIR is none.
    #[error("encoding vector: {0}")]
    Vector(#[from] zmesh_fec::Malformed),
    /// A DOC_GET or DOC_PART for a part that cannot be, or one that is not filled with zero bytes.
    #[error("no part of a descriptor")]
    Document,
    /// An address that is none.
    #[error("no address")]
    Address,
}

/// Walks over the frames of a datagram's plaintext. After an error it ends.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    /// Starts at the first frame of `plaintext`.
    #[must_use]
    pub fn new(plaintext: &'a [u8]) -> Self {
        Self { rest: plaintext }
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], FrameError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn number(&mut self) -> Result<u32, FrameError> {
        self.take().copied().map(u32::from_be_bytes)
    }

    fn short(&mut self) -> Result<u16, FrameError> {
        self.take().copied().map(u16::from_be_bytes)
    }

    fn frame(&mut self, kind: u8) -> Result<Frame<'a>, FrameError> {
        Ok(match kind {
            CELLS1 => Frame::Cells1(self.take()?),
            CELLS2 => Frame::Cells2(self.take()?, self.take()?),
            FEEDBACK => Frame::Feedback(Feedback::read(self.take()?)),
            PING => Frame::Ping(self.number()?),
            PONG => Frame::Pong(self.number()?),
            SETUP => Frame::Setup { id: self.number()?, circuit: self.number()?, packet: self.take()? },
            SETUP_REPLY => Frame::SetupReply { id: self.number()?, circuit: self.number()?, reply: self.take()? },
            DESTROY => Frame::Destroy { id: self.number()?, circuit: self.number()?, reason: self.take::<1>()?[0] },
            ACK => Frame::Ack { through: self.number()?, beyond: u64::from_be_bytes(*self.take()?) },
            REPAIR => Frame::Repair { vector: Vector::decode(self.take()?)?, symbol: self.take()? },
            CLOSE => Frame::Close { reason: self.take::<1>()?[0] },
            SOURCE => Frame::Source { id: self.short()?, cell: self.take()? },
            AGAIN1 => Frame::Again { back: self.short()?, first: self.take()?, second: None },
            AGAIN2 => Frame::Again { back: self.short()?, first: self.take()?, second: Some(self.take()?) },
            DOC_GET => Frame::DocGet { part: document::read_get(self.take()?)? },
            DOC_PART => Frame::DocPart(DocPart::read(self.take()?)?),
            OBSERVE => Frame::Observe(self.number()?),
            OBSERVED => Frame::Observed {
                token: self.number()?,
                address: read_address(self.take::<ADDRESS_LEN>()?).ok_or(FrameError::Address)?,
            },
            SIGNAL => Frame::Signal { id: self.number()?, signal: self.take()? },
            other => return Err(FrameError::Kind(other)),
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        if kind == PAD {
            let dirty = rest.iter().fold(0, |all, byte| all | byte) != 0;
            self.rest = &[];
            return dirty.then_some(Err(FrameError::Padding));
        }
        let frame = self.frame(kind);
        if frame.is_err() {
            self.rest = &[];
        }
        Some(frame)
    }
}

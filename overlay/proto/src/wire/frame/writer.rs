//! Writes frames into a datagram's plaintext.

use super::signal::SIGNAL_LEN;
use super::{
    ACK, AGAIN1, AGAIN2, CELLS1, CELLS2, CLOSE, DESTROY, DOC_GET, DOC_PART, DOC_REST, FEEDBACK, OBSERVE, OBSERVED,
    PING, PONG, REPAIR, SETUP, SETUP_REPLY, SIGNAL, SOURCE,
};
use super::{Feedback, Frame};
use crate::wire::address::{ADDRESS_LEN, address_bytes};
use zmesh_fec::Vector;

use crate::wire::cell::{CELL_LEN, Cell};

/// Fills a buffer with frames. What does not fit is refused and leaves the buffer as it was.
#[derive(Debug)]
pub struct FrameWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> FrameWriter<'a> {
    /// Starts at the beginning of `out`.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Bytes that are still free.
    #[must_use]
    pub fn room(&self) -> usize {
        self.out.len() - self.at
    }

    /// Fills the rest with zero bytes.
    pub fn pad(self) {
        self.out[self.at..].fill(0);
    }

    /// Writes a CELLS1 or CELLS2 frame straight from the cells; `false` when it does not fit.
    pub fn cells(&mut self, first: &Cell, second: Option<&Cell>) -> bool {
        match second {
            None => self.frame::<CELL_LEN>(CELLS1, |out| first.write(out)),
            Some(second) => self.frame::<{ 2 * CELL_LEN }>(CELLS2, |out| {
                let (front, back) = out.split_at_mut(CELL_LEN);
                if let (Ok(front), Ok(back)) = (front.try_into(), back.try_into()) {
                    first.write(front);
                    second.write(back);
                }
            }),
        }
    }

    /// Writes one frame; `false` when it does not fit.
    pub fn push(&mut self, frame: &Frame<'_>) -> bool {
        match frame {
            Frame::Cells1(cell) => self.frame::<CELL_LEN>(CELLS1, |out| *out = **cell),
            Frame::Cells2(first, second) => self.parts::<{ 2 * CELL_LEN }>(CELLS2, &[*first, *second]),
            Frame::Feedback(feedback) => self.feedback(feedback),
            Frame::Ping(id) => self.frame::<4>(PING, |out| *out = id.to_be_bytes()),
            Frame::Pong(id) => self.frame::<4>(PONG, |out| *out = id.to_be_bytes()),
            Frame::Setup { id, circuit, packet } => {
                self.parts::<488>(SETUP, &[&id.to_be_bytes(), &circuit.to_be_bytes(), *packet])
            }
            Frame::SetupReply { id, circuit, reply } => {
                self.parts::<200>(SETUP_REPLY, &[&id.to_be_bytes(), &circuit.to_be_bytes(), *reply])
            }
            Frame::Destroy { id, circuit, reason } => {
                self.parts::<9>(DESTROY, &[&id.to_be_bytes(), &circuit.to_be_bytes(), &[*reason]])
            }
            Frame::Ack { through, beyond } => self.parts::<12>(ACK, &[&through.to_be_bytes(), &beyond.to_be_bytes()]),
            Frame::Close { reason } => self.frame::<1>(CLOSE, |out| *out = [*reason]),
            Frame::Source { id, cell } => self.parts::<{ 2 + CELL_LEN }>(SOURCE, &[&id.to_be_bytes(), *cell]),
            Frame::Repair { vector, symbol } => {
                self.parts::<{ Vector::LEN + CELL_LEN }>(REPAIR, &[&vector.encode(), *symbol])
            }
            Frame::Again { back, first, second: None } => {
                self.parts::<{ 2 + CELL_LEN }>(AGAIN1, &[&back.to_be_bytes(), *first])
            }
            Frame::Observe(token) => self.frame::<4>(OBSERVE, |out| *out = token.to_be_bytes()),
            Frame::Observed { token, address } => {
                self.parts::<{ 4 + ADDRESS_LEN }>(OBSERVED, &[&token.to_be_bytes(), &address_bytes(*address)])
            }
            Frame::Signal { id, signal } => self.parts::<{ 4 + SIGNAL_LEN }>(SIGNAL, &[&id.to_be_bytes(), &signal[..]]),
            Frame::Again { back, first, second: Some(second) } => {
                self.parts::<{ 2 + 2 * CELL_LEN }>(AGAIN2, &[&back.to_be_bytes(), *first, *second])
            }
            Frame::DocGet { part } => self.frame::<DOC_REST>(DOC_GET, |out| {
                out.fill(0);
                out[0] = *part;
            }),
            Frame::DocPart(part) => self.frame(DOC_PART, |out| part.write(out)),
        }
    }

    /// Writes a SOURCE frame straight from the cell; `false` when it does not fit.
    pub fn source(&mut self, id: u16, cell: &Cell) -> bool {
        self.frame::<{ 2 + CELL_LEN }>(SOURCE, |out| {
            let [high, low, body @ ..] = out;
            [*high, *low] = id.to_be_bytes();
            cell.write(body);
        })
    }

    /// Writes a FEEDBACK frame; `false` when it does not fit.
    pub fn feedback(&mut self, feedback: &Feedback) -> bool {
        self.frame(FEEDBACK, |out| feedback.write(out))
    }

    fn parts<const N: usize>(&mut self, kind: u8, parts: &[&[u8]]) -> bool {
        self.frame::<N>(kind, |out| {
            let mut at = 0;
            for part in parts {
                out[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        })
    }

    fn frame<const N: usize>(&mut self, kind: u8, write: impl FnOnce(&mut [u8; N])) -> bool {
        let Some((head, rest)) = self.out[self.at..].split_first_mut() else {
            return false;
        };
        let Some(out) = rest.first_chunk_mut::<N>() else {
            return false;
        };
        *head = kind;
        write(out);
        self.at += 1 + N;
        true
    }
}

//! The outward half: encodes frames, numbers them and adds copies of the ones before.

use super::Pcm;
use super::codec::{CodecError, Encoder, OpusFrame};
use super::frame::EARLIER_FRAMES;
use std::collections::VecDeque;

/// Encodes sound and keeps the last frames for their copies.
#[derive(Debug)]
pub struct Sender {
    encoder: Encoder,
    next: u32,
    earlier: VecDeque<OpusFrame>,
}

impl Sender {
    /// A sender whose first frame has the number `first`.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus cannot be set up.
    pub fn new(first: u32) -> Result<Self, CodecError> {
        Ok(Self { encoder: Encoder::new()?, next: first, earlier: VecDeque::with_capacity(EARLIER_FRAMES + 1) })
    }

    /// Encodes the next 20 ms: the number of the frame, and the frames that the message carries, newest first.
    ///
    /// # Errors
    /// [`CodecError`] if Opus fails; the number is used up, so that the timeline stays true.
    pub fn frame(&mut self, pcm: &Pcm) -> Result<(u32, Vec<OpusFrame>), CodecError> {
        let sequence = self.next;
        self.next = self.next.wrapping_add(1);
        let encoded = self.encoder.encode(pcm).inspect_err(|_| self.earlier.clear())?;
        self.earlier.push_front(encoded);
        let frames: Vec<_> = self.earlier.iter().copied().collect();
        self.earlier.truncate(EARLIER_FRAMES);
        Ok((sequence, frames))
    }

    /// Leaves out `count` numbers: that much time passed without sound being taken in (the machine slept).
    pub fn skip(&mut self, count: u32) {
        if count > 0 {
            self.next = self.next.wrapping_add(count);
            self.earlier.clear();
        }
    }
}

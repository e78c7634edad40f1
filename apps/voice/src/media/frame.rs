//! The plaintext of a voice message: constant size, the current frame and copies of the three before it (the idea of RFC 2198).
//!
//! ```text
//!  0  flags       u8    bit 0 goodbye · bit 1 sound present · bit 2 nonce present · bits 4–5 number of earlier frames · the rest 0
//!  1  sequence    u32   number of the current frame; frame n lasts from n × 20 ms to (n + 1) × 20 ms on the sender's clock
//!  5  sent        u64   µs on the sender's clock at which this message was due
//! 13  echo        u64   the highest `sent` heard from the other side
//! 21  echo_held   u32   µs between hearing that message and sending this one; 2³² − 1: nothing heard yet
//! 25  loss        u8    share of the other side's messages missing lately, in 1/255
//! 26  reserved    u8    0
//! 27  frames      4 × 107  the current frame, then the ones before it, newest first; unused places are 0
//! ```
//! A nonce takes the first 32 bytes of the last place, so that at most two earlier frames go with it.
//!
//! Numbers are big-endian.

use super::codec::{OPUS_LEN, OpusFrame};

/// How many earlier frames a message carries at most.
pub const EARLIER_FRAMES: usize = 3;
/// Bytes of the nonce that a caller's first frames show.
pub const NONCE_LEN: usize = 32;
/// Bytes before the frames.
const HEAD_LEN: usize = 27;
/// Bytes of an encoded voice frame, always.
pub const PLAINTEXT_LEN: usize = HEAD_LEN + (1 + EARLIER_FRAMES) * OPUS_LEN;
/// Where a nonce lies: in the last place for a frame.
const NONCE_AT: usize = HEAD_LEN + EARLIER_FRAMES * OPUS_LEN;

const GOODBYE: u8 = 0b0000_0001;
const SOUND: u8 = 0b0000_0010;
const NONCE: u8 = 0b0000_0100;
const EARLIER_SHIFT: u32 = 4;
const NOTHING_HEARD: u32 = u32::MAX;

/// A message's content, opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoiceFrame {
    /// The sender ends the call.
    pub goodbye: bool,
    /// When the message was due, in µs on the sender's clock.
    pub sent: u64,
    /// The echo for measuring the round trip.
    pub echo: Option<Echo>,
    /// Share of the other side's messages missing lately, in 1/255.
    pub loss: u8,
    /// Number of the current frame.
    pub sequence: u32,
    /// What the caller was committed to by its first message.
    pub nonce: Option<[u8; NONCE_LEN]>,
    /// The current frame first, then the earlier ones, newest first. At most 4, beside a nonce 3; empty if the message carries no sound.
    pub frames: Vec<OpusFrame>,
}

/// What the other side sent, given back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Its `sent`, µs on its own clock.
    pub sent: u64,
    /// How long it was held here, in µs.
    pub held: u32,
}

/// The plaintext breaks the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed voice frame")]
pub struct FrameError;

impl VoiceFrame {
    /// Writes the frame in its constant size. Opus frames for which there is no place are cut off, the oldest first.
    #[must_use]
    pub fn encode(&self) -> [u8; PLAINTEXT_LEN] {
        let mut out = [0; PLAINTEXT_LEN];
        let places = if self.nonce.is_some() { EARLIER_FRAMES } else { 1 + EARLIER_FRAMES };
        let count = self.frames.len().min(places);
        let earlier = u8::try_from(count.saturating_sub(1)).expect("at most 3");
        out[0] = (u8::from(self.goodbye) * GOODBYE) | (u8::from(count > 0) * SOUND) | (earlier << EARLIER_SHIFT);
        out[1..5].copy_from_slice(&self.sequence.to_be_bytes());
        out[5..13].copy_from_slice(&self.sent.to_be_bytes());
        let echo = self.echo.unwrap_or(Echo { sent: 0, held: NOTHING_HEARD });
        out[13..21].copy_from_slice(&echo.sent.to_be_bytes());
        out[21..25].copy_from_slice(&echo.held.to_be_bytes());
        out[25] = self.loss;
        for (place, frame) in out[HEAD_LEN..].chunks_exact_mut(OPUS_LEN).zip(&self.frames[..count]) {
            place.copy_from_slice(frame);
        }
        if let Some(nonce) = &self.nonce {
            out[0] |= NONCE;
            out[NONCE_AT..NONCE_AT + NONCE_LEN].copy_from_slice(nonce);
        }
        out
    }

    /// Reads a frame. Total: any input gives a frame or an error.
    ///
    /// # Errors
    /// [`FrameError`] if the length is wrong, a reserved bit is set, an unused place is not 0, or earlier frames are claimed without a
    /// current one, before frame 0 or in the place of the nonce.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; PLAINTEXT_LEN] = bytes.try_into().map_err(|_| FrameError)?;
        let flags = bytes[0];
        let earlier = usize::from((flags >> EARLIER_SHIFT) & 0b11);
        let sound = flags & SOUND != 0;
        if flags & !(GOODBYE | SOUND | NONCE | (0b11 << EARLIER_SHIFT)) != 0
            || bytes[26] != 0
            || (!sound && earlier != 0)
        {
            return Err(FrameError);
        }
        let sequence = u32::from_be_bytes(field(bytes, 1));
        if u32::try_from(earlier).map_err(|_| FrameError)? > sequence {
            return Err(FrameError);
        }
        let held = u32::from_be_bytes(field(bytes, 21));
        let echo = (held != NOTHING_HEARD).then(|| Echo { sent: u64::from_be_bytes(field(bytes, 13)), held });
        let count = if sound { 1 + earlier } else { 0 };
        let frames = (0..count).map(|place| field(bytes, HEAD_LEN + place * OPUS_LEN)).collect();
        let frame = Self {
            goodbye: flags & GOODBYE != 0,
            sent: u64::from_be_bytes(field(bytes, 5)),
            echo,
            loss: bytes[25],
            sequence,
            nonce: (flags & NONCE != 0).then(|| field(bytes, NONCE_AT)),
            frames,
        };
        // One frame, one form: nothing hides in places that are not used.
        if frame.encode() == *bytes { Ok(frame) } else { Err(FrameError) }
    }
}

fn field<const N: usize>(bytes: &[u8; PLAINTEXT_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("offsets are constants inside the plaintext")
}

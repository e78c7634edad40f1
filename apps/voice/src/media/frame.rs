//! The plaintext of a voice message: constant size, the newest frames and copies of earlier ones (the idea of RFC 2198).
//!
//! ```text
//!  0  flags       u8    bit 0 goodbye · bit 1 nonce present · bit 2 aside present · the rest 0
//!  1  places      u8    number of Opus frames in this message, 0–16
//!  2  sequence    u32   number of the newest frame; frame n lasts from n × 20 ms to (n + 1) × 20 ms on the sender's clock
//!  6  sent        u64   µs on the sender's clock at which this message was due
//! 14  echo        u64   the highest `sent` heard from the other side
//! 22  echo_held   u32   µs between hearing that message and sending this one; 2³² − 1: nothing heard yet
//! 26  loss        u8    share of the other side's messages missing lately, in 1/255
//! 27  burst       u8    mean length of the gaps in them, in 1/16 messages; 0: no gap lately
//! 28  aside_next  u8    number of the aside that is expected next: all before it have come
//! 29  the rest    426   [nonce 32] [aside: number u8, length u8 (1–64), bytes] places × (back 7 bits, length 9 bits) frames zeros
//! ```
//! `back` is how many frames a place lies before `sequence`: 0 at the first place, rising from place to place. A frame's bytes lie in the
//! order of the places. Numbers are big-endian.

use super::codec::OpusFrame;
use std::fmt;
use std::sync::Arc;

/// Bytes of the nonce that a caller's first frames show.
pub const NONCE_LEN: usize = 32;
/// Bytes of an aside at most.
pub const ASIDE_MAX: usize = 64;
/// Opus frames in a message at most.
pub const PLACES_MAX: usize = 16;
/// The farthest that a copy may lie back.
pub const BACK_MAX: u8 = 127;
/// Bytes that a place costs beside its frame.
pub const PLACE_LEN: usize = 2;
/// Bytes before everything whose length varies.
const HEAD_LEN: usize = 29;
/// Bytes for nonce, aside and frames together.
pub const BODY_LEN: usize = 426;
/// Bytes of an encoded voice frame, always.
pub const PLAINTEXT_LEN: usize = HEAD_LEN + BODY_LEN;
/// Bytes of one Opus frame at most: what a length field holds.
pub const OPUS_MAX: usize = 0x1ff;

const GOODBYE: u8 = 0b0000_0001;
const NONCE: u8 = 0b0000_0010;
const ASIDE: u8 = 0b0000_0100;
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
    /// Mean length of the gaps in the other side's messages lately, in 1/16 of a message; 0 if there was none.
    pub burst: u8,
    /// Number of the aside that the sender of this message expects next.
    pub aside_next: u8,
    /// What one side's program has to tell the other's.
    pub aside: Option<Aside>,
    /// What the caller was committed to by its first message.
    pub nonce: Option<[u8; NONCE_LEN]>,
    /// Number of the newest frame.
    pub sequence: u32,
    /// The newest frame first, then the ones before it, newest first. Empty if the message carries no sound.
    pub frames: Vec<Carried>,
}

/// One Opus frame in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// How many frames before the message's newest.
    pub back: u8,
    /// The frame.
    pub opus: OpusFrame,
}

/// A short message between the programs of both sides, beside the sound. The keys of a call's legs go this way, so what it
/// says is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Aside {
    /// Counts up from 0 and wraps.
    pub number: u8,
    /// 1 to [`ASIDE_MAX`] bytes.
    pub bytes: Arc<[u8]>,
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aside({}, [redacted])", self.number)
    }
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
    /// Bytes that are left for Opus frames and their places beside what else the message carries.
    #[must_use]
    pub fn room(&self) -> usize {
        let nonce = if self.nonce.is_some() { NONCE_LEN } else { 0 };
        let aside = self.aside.as_ref().map_or(0, |aside| 2 + aside.bytes.len().min(ASIDE_MAX));
        BODY_LEN - nonce - aside
    }

    /// Writes the frame in its constant size. Opus frames for which there is no room, no place or no order are left out, with all that
    /// follow them; so is an empty aside.
    #[must_use]
    pub fn encode(&self) -> [u8; PLAINTEXT_LEN] {
        let mut out = [0; PLAINTEXT_LEN];
        let count = self.fitting();
        out[0] = u8::from(self.goodbye) * GOODBYE;
        out[1] = u8::try_from(count).expect("at most 16 places");
        out[2..6].copy_from_slice(&self.sequence.to_be_bytes());
        out[6..14].copy_from_slice(&self.sent.to_be_bytes());
        let echo = self.echo.unwrap_or(Echo { sent: 0, held: NOTHING_HEARD });
        out[14..22].copy_from_slice(&echo.sent.to_be_bytes());
        out[22..26].copy_from_slice(&echo.held.to_be_bytes());
        (out[26], out[27], out[28]) = (self.loss, self.burst, self.aside_next);
        let mut at = HEAD_LEN;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        let mut flags = 0;
        if let Some(nonce) = &self.nonce {
            flags |= NONCE;
            put(nonce);
        }
        if let Some(aside) = self.aside.as_ref().filter(|aside| !aside.bytes.is_empty()) {
            flags |= ASIDE;
            let bytes = &aside.bytes[..aside.bytes.len().min(ASIDE_MAX)];
            put(&[aside.number, u8::try_from(bytes.len()).expect("at most 64 bytes")]);
            put(bytes);
        }
        for Carried { back, opus } in &self.frames[..count] {
            let length = u16::try_from(opus.len()).expect("checked to fit nine bits");
            put(&(u16::from(*back) << 9 | length).to_be_bytes());
        }
        for Carried { opus, .. } in &self.frames[..count] {
            put(opus);
        }
        out[0] |= flags;
        out
    }

    /// How many of the frames can be written, from the first on.
    fn fitting(&self) -> usize {
        let mut left = self.room();
        let mut least = 0;
        self.frames
            .iter()
            .take(PLACES_MAX)
            .enumerate()
            .take_while(|(place, Carried { back, opus })| {
                let ordered = if *place == 0 { *back == 0 } else { *back >= least };
                let fits = (1..=OPUS_MAX).contains(&opus.len()) && opus.len() + PLACE_LEN <= left;
                let exists = *back <= BACK_MAX && u32::from(*back) <= self.sequence;
                if ordered && fits && exists {
                    left -= opus.len() + PLACE_LEN;
                    least = back + 1;
                }
                ordered && fits && exists
            })
            .count()
    }

    /// Reads a frame. Total: any input gives a frame or an error.
    ///
    /// # Errors
    /// [`FrameError`] if the length is wrong, a reserved bit is set, something does not fit into the message, places are out of order or
    /// before frame 0, or an unused byte is not 0.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let bytes: &[u8; PLAINTEXT_LEN] = bytes.try_into().map_err(|_| FrameError)?;
        let flags = bytes[0];
        let places = usize::from(bytes[1]);
        if flags & !(GOODBYE | NONCE | ASIDE) != 0 || places > PLACES_MAX {
            return Err(FrameError);
        }
        let held = u32::from_be_bytes(field(bytes, 22));
        let mut rest = &bytes[HEAD_LEN..];
        let nonce =
            if flags & NONCE != 0 { Some(*take(&mut rest, NONCE_LEN)?.first_chunk().ok_or(FrameError)?) } else { None };
        let aside = if flags & ASIDE != 0 { Some(Aside::read(&mut rest)?) } else { None };
        let table = take(&mut rest, places * PLACE_LEN)?;
        let frames = table
            .chunks_exact(PLACE_LEN)
            .map(|place| {
                let place = u16::from_be_bytes([place[0], place[1]]);
                let opus = take(&mut rest, usize::from(place & 0x1ff))?;
                Ok(Carried { back: place.to_be_bytes()[0] >> 1, opus: opus.into() })
            })
            .collect::<Result<Vec<_>, FrameError>>()?;
        let frame = Self {
            goodbye: flags & GOODBYE != 0,
            sent: u64::from_be_bytes(field(bytes, 6)),
            echo: (held != NOTHING_HEARD).then(|| Echo { sent: u64::from_be_bytes(field(bytes, 14)), held }),
            loss: bytes[26],
            burst: bytes[27],
            aside_next: bytes[28],
            aside,
            nonce,
            sequence: u32::from_be_bytes(field(bytes, 2)),
            frames,
        };
        // One frame, one form: nothing hides in places that are not used.
        if frame.encode() == *bytes { Ok(frame) } else { Err(FrameError) }
    }
}

impl Aside {
    fn read(rest: &mut &[u8]) -> Result<Self, FrameError> {
        let head = take(rest, 2)?;
        let (number, length) = (head[0], usize::from(head[1]));
        if !(1..=ASIDE_MAX).contains(&length) {
            return Err(FrameError);
        }
        Ok(Self { number, bytes: take(rest, length)?.into() })
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], FrameError> {
    let (head, tail) = rest.split_at_checked(length).ok_or(FrameError)?;
    *rest = tail;
    Ok(head)
}

fn field<const N: usize>(bytes: &[u8; PLAINTEXT_LEN], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("offsets are constants inside the plaintext")
}

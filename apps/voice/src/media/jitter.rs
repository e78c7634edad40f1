//! The jitter buffer: which frame is played next, and what happens when it is not there.
//!
//! Frames lie in order of their number. At each step the next one is played if it is there, from its own message or as a copy out of a
//! later one. If it is missing and nothing newer came, the buffer *holds*: it conceals without giving the frame up, so that a late frame
//! still plays and the delay grows by exactly what was needed. If newer frames are there, the missing one is given up. The target of
//! [`DelayEstimate`] says how far the delay should be; [`JitterBuffer::excess`] tells the player how much to stretch or shorten.
//!
//! Memory: at most [`CAPACITY`] frames, whatever arrives.

use super::codec::OpusFrame;
use super::delay::DelayEstimate;
use super::frame::VoiceFrame;
use super::window::ReplayWindow;
use super::{FRAME_MICROS, micros};
use std::collections::BTreeMap;
use std::time::Duration;

/// Frames that the buffer keeps at most: 1.28 s.
pub const CAPACITY: u32 = 64;
/// Steps in a row that conceal without giving a frame up.
const MAX_HOLD: u32 = 5;
/// Delay above the target at which frames are left out at once instead of being played faster, µs.
const TOO_FAR_BEHIND: i64 = 120_000;

/// What to play for the next 20 ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing has arrived yet: silence.
    Idle,
    /// This frame.
    Play {
        /// Its number.
        sequence: u32,
        /// The frame itself.
        frame: OpusFrame,
        /// It comes from the copy in a later message.
        recovered: bool,
    },
    /// Something made up.
    Conceal,
}

/// What has happened to the frames of the other side. Every frame between the first and the newest counts once as played or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterCounts {
    /// Messages with sound that arrived, each once.
    pub received: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Messages whose own frame came after its turn.
    pub late: u64,
    /// Frames played, recovered ones included.
    pub played: u64,
    /// Frames played from the copy in a later message.
    pub recovered: u64,
    /// Steps of 20 ms that were made up.
    pub concealed: u64,
    /// Frames never played: lost without a copy, late, or left out to catch up.
    pub lost: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    frame: OpusFrame,
    copy: bool,
}

/// Orders frames and times them. Sans-IO: `now` comes in, [`Step`]s go out.
#[derive(Clone, Debug, Default)]
pub struct JitterBuffer {
    stored: BTreeMap<u32, Stored>,
    /// The frame whose turn is next; nothing has arrived while `None`.
    next: Option<u32>,
    first: u32,
    newest: u32,
    seen: ReplayWindow,
    delay: DelayEstimate,
    held: u32,
    counts: JitterCounts,
}

impl JitterBuffer {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a voice frame that arrived at `now`. Returns whether it was the first one with sound.
    pub fn insert(&mut self, now: Duration, voice: &VoiceFrame) -> bool {
        let Some((own, copies)) = voice.frames.split_first() else { return false };
        let sequence = voice.sequence;
        if !self.seen.insert(u64::from(sequence)) {
            self.counts.duplicates += 1;
            return false;
        }
        self.counts.received += 1;
        self.delay.arrival(micros(now) - i64::from(sequence) * FRAME_MICROS);
        let Some(next) = self.next else {
            (self.first, self.newest, self.next) = (sequence, sequence, Some(sequence));
            self.stored.insert(sequence, Stored { frame: *own, copy: false });
            return true;
        };
        if sequence > self.newest {
            self.delay.gap(sequence, sequence - self.newest - 1);
            self.newest = sequence;
        } else {
            self.delay.overtaken(sequence);
        }
        let mut next = next;
        if sequence.saturating_sub(next) >= CAPACITY {
            next = self.jump(next, sequence - CAPACITY / 4);
        }
        if sequence < next {
            self.counts.late += 1;
        } else {
            self.stored.insert(sequence, Stored { frame: *own, copy: false });
        }
        for (number, frame) in (0..sequence).rev().zip(copies) {
            if number >= next {
                self.stored.entry(number).or_insert(Stored { frame: *frame, copy: true });
            }
        }
        false
    }

    /// Gives up everything before `to`: the sender is far ahead of what is being played.
    fn jump(&mut self, from: u32, to: u32) -> u32 {
        if to <= from {
            return from;
        }
        self.stored = self.stored.split_off(&to);
        self.counts.lost += u64::from(to - from);
        self.next = Some(to);
        self.held = 0;
        to
    }

    /// Decides what to play at `position` (µs on the local clock, the instant at which the next sample leaves the player).
    pub fn step(&mut self, position: i64) -> Step {
        let Some(mut next) = self.next else { return Step::Idle };
        if self.excess(position) > TOO_FAR_BEHIND {
            let frames = u32::try_from(self.excess(position) / FRAME_MICROS).unwrap_or(0);
            let newest_stored = self.stored.last_key_value().map_or(next, |(number, _)| *number);
            next = self.jump(next, next.saturating_add(frames).min(newest_stored));
        }
        while !self.stored.contains_key(&next) && !self.stored.is_empty() && self.excess(position) >= FRAME_MICROS {
            next = self.jump(next, next + 1);
        }
        if let Some(Stored { frame, copy }) = self.stored.remove(&next) {
            self.advance(next);
            self.counts.played += 1;
            self.counts.recovered += u64::from(copy);
            return Step::Play { sequence: next, frame, recovered: copy };
        }
        self.counts.concealed += 1;
        if self.stored.is_empty() && self.held < MAX_HOLD && self.excess(position) < TOO_FAR_BEHIND {
            self.held += 1;
        } else {
            // Keep the count of held steps while nothing comes: holding is for a spike, not for an outage.
            let held = self.held;
            self.advance(next);
            self.counts.lost += 1;
            if self.stored.is_empty() {
                self.held = held;
            }
        }
        Step::Conceal
    }

    fn advance(&mut self, from: u32) {
        self.next = Some(from.saturating_add(1));
        self.held = 0;
    }

    /// How much later than the target the next frame would be played at `position`, µs. Negative: too early for comfort.
    #[must_use]
    pub fn excess(&self, position: i64) -> i64 {
        self.lag(position) - self.delay.target()
    }

    /// How long after its fastest possible arrival the next frame would be played at `position`, µs.
    #[must_use]
    pub fn lag(&self, position: i64) -> i64 {
        let Some(next) = self.next else { return self.delay.target() };
        self.lag_of(next, position)
    }

    /// The same for the frame with the number `sequence`.
    #[must_use]
    pub fn lag_of(&self, sequence: u32, position: i64) -> i64 {
        position - i64::from(sequence) * FRAME_MICROS - self.delay.base()
    }

    /// The target of the delay, µs.
    #[must_use]
    pub fn target(&self) -> i64 {
        self.delay.target()
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> JitterCounts {
        self.counts
    }

    /// Messages that the other side sent between the first and the newest one heard of, both included.
    #[must_use]
    pub fn expected(&self) -> u64 {
        if self.next.is_some() { u64::from(self.newest - self.first) + 1 } else { 0 }
    }

    /// Frames in the buffer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether no frame waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }
}

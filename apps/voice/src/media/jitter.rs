//! The jitter buffer: which frame is played next, and what happens when it is not there.
//!
//! Frames lie in order of their number. At each step the next one is played if it is there, from its own message or as a copy out of a
//! later one. If it is missing but a later packet describes it (DRED), that is played. If nothing newer came, or the delay is still shorter
//! than its target, the buffer *holds*: it conceals without giving the frame up, so that a late frame still plays and the delay grows by
//! exactly what was needed. Otherwise the missing frame is given up. The target of [`DelayEstimate`] says how far the delay should be;
//! [`JitterBuffer::excess`] tells the player how much to stretch or shorten.
//!
//! Memory: at most [`CAPACITY`] frames, whatever arrives.

use super::class::Class;
use super::codec::{DRED_REACH, OpusFrame, has_dred};
use super::delay::DelayEstimate;
use super::frame::VoiceFrame;
use super::window::ReplayWindow;
use super::{FRAME_MICROS, micros};
use std::collections::BTreeMap;
use std::time::Duration;

/// Frames that the buffer keeps at most: 1.28 s.
pub const CAPACITY: u32 = 64;
/// Steps in a row that conceal without giving a frame up: a stall of 300 ms is waited for. Were its frames lost and not late, the first newer one
/// shows it, and they are left out at once.
const MAX_HOLD: u32 = 15;
/// Delay above the target at which frames are left out at once instead of being played faster, µs.
const TOO_FAR_BEHIND: i64 = 400_000;
/// Delay under the target at which a missing frame is waited for although newer ones are there, µs.
const WORTH_HOLDING: i64 = -FRAME_MICROS / 2;

/// What to play next.
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
    /// Missing frames after the description in a later packet.
    Recover {
        /// Number of the first of them.
        sequence: u32,
        /// The packet with the description.
        packet: OpusFrame,
        /// How many frames after the first missing one the packet lies.
        distance: u32,
        /// How many frames to play from it.
        take: u32,
    },
    /// 20 ms made up.
    Conceal,
}

/// What has happened to the frames of the other side. Every frame between the first and the newest counts once as played or lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterCounts {
    /// Messages with sound that arrived, each once.
    pub received: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Messages whose own newest frame came after its turn.
    pub late: u64,
    /// Frames played, recovered and described ones included.
    pub played: u64,
    /// Frames played from the copy in a later message.
    pub recovered: u64,
    /// Frames played from the description in a later packet (DRED).
    pub described: u64,
    /// Steps of 20 ms that were made up.
    pub concealed: u64,
    /// Frames never played: lost without a copy, late, or left out to catch up.
    pub lost: u64,
    /// Gaps in the messages: how often one came after another than the one before it.
    pub gaps: u64,
}

#[derive(Clone, Debug)]
struct Stored {
    frame: OpusFrame,
    copy: bool,
    dred: bool,
}

/// Orders frames and times them. Sans-IO: `now` comes in, [`Step`]s go out.
#[derive(Clone, Debug)]
pub struct JitterBuffer {
    /// New frames in each message.
    frames: u32,
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
    /// An empty buffer for a call of this class.
    #[must_use]
    pub fn new(class: Class) -> Self {
        Self {
            frames: u32::from(class.frames()),
            stored: BTreeMap::new(),
            next: None,
            first: 0,
            newest: 0,
            seen: ReplayWindow::new(),
            delay: DelayEstimate::new(),
            held: 0,
            counts: JitterCounts::default(),
        }
    }

    /// Takes in a voice frame that arrived at `now`. Returns whether it was the first one with sound.
    pub fn insert(&mut self, now: Duration, voice: &VoiceFrame) -> bool {
        let Some(newest) = voice.frames.first() else { return false };
        let sequence = voice.sequence;
        if !self.seen.insert(u64::from(sequence)) {
            self.counts.duplicates += 1;
            return false;
        }
        self.counts.received += 1;
        self.delay.message(sequence, transit(now, sequence));
        let begins = self.next.is_none();
        // The frames of the first message all play; copies in it are of a time before the call was heard.
        let start = sequence.saturating_sub(self.frames - 1);
        let mut next = *self.next.get_or_insert(start);
        if begins {
            (self.first, self.newest) = (sequence, sequence);
        } else if sequence > self.newest {
            self.counts.gaps += u64::from(sequence - self.newest > self.frames);
            self.newest = sequence;
        }
        if sequence.saturating_sub(next) >= CAPACITY {
            next = self.jump(next, sequence - CAPACITY / 4);
        }
        self.counts.late += u64::from(sequence < next);
        for carried in &voice.frames {
            let Some(number) = sequence.checked_sub(u32::from(carried.back)) else { continue };
            if begins && number < start {
                continue;
            }
            self.delay.exact(number, transit(now, number));
            let own = u32::from(carried.back) < self.frames;
            if number >= next {
                let dred = own && has_dred(&carried.opus);
                let stored = Stored { frame: carried.opus.clone(), copy: !own, dred };
                let known = self.stored.entry(number).or_insert_with(|| stored.clone());
                if own && known.copy {
                    *known = stored;
                }
            }
        }
        if !begins && has_dred(&newest.opus) {
            for number in sequence.saturating_sub(DRED_REACH).max(self.first)..sequence {
                self.delay.described(number, transit(now, number));
            }
        }
        self.delay.weigh();
        begins
    }

    /// Says what mouth to ear takes without this buffer.
    pub fn set_path(&mut self, delay: Duration) {
        self.delay.set_path(micros(delay));
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
        if let Some(Stored { frame, copy, .. }) = self.stored.remove(&next) {
            self.advance(next, 1);
            self.counts.played += 1;
            self.counts.recovered += u64::from(copy);
            return Step::Play { sequence: next, frame, recovered: copy };
        }
        if let Some(step) = self.describe(next) {
            return step;
        }
        self.counts.concealed += 1;
        let excess = self.excess(position);
        let wait = if self.stored.is_empty() { excess < TOO_FAR_BEHIND } else { excess <= WORTH_HOLDING };
        if wait && self.held < MAX_HOLD {
            self.held += 1;
        } else {
            // Keep the count of held steps while nothing comes: holding is for a spike, not for an outage.
            let held = self.held;
            self.advance(next, 1);
            self.counts.lost += 1;
            if self.stored.is_empty() {
                self.held = held;
            }
        }
        Step::Conceal
    }

    /// The frames from `next` to the first one that is there, if a packet that is there describes them.
    fn describe(&mut self, next: u32) -> Option<Step> {
        let first_there = *self.stored.first_key_value()?.0;
        let (at, packet) = self
            .stored
            .range(..=next.saturating_add(DRED_REACH))
            .find_map(|(number, stored)| stored.dred.then(|| (*number, stored.frame.clone())))?;
        let take = first_there - next;
        self.advance(next, take);
        self.counts.played += u64::from(take);
        self.counts.described += u64::from(take);
        Some(Step::Recover { sequence: next, packet, distance: at - next, take })
    }

    fn advance(&mut self, from: u32, by: u32) {
        self.next = Some(from.saturating_add(by));
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
        if self.next.is_some() { u64::from((self.newest.saturating_sub(self.first)) / self.frames) + 1 } else { 0 }
    }

    /// Frames of sound in those messages.
    #[must_use]
    pub fn expected_frames(&self) -> u64 {
        self.expected() * u64::from(self.frames)
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

/// What passed from the time of frame `number` to `now`, µs; the clocks of both ends differ by an unknown constant.
fn transit(now: Duration, number: u32) -> i64 {
    micros(now) - i64::from(number) * FRAME_MICROS
}

//! The inward half: takes voice frames, gives back sound in a timeline without gaps.
//!
//! [`Player::play`] is called whenever the instant [`Player::position`] has come. It appends about 20 ms of sound and moves the position by
//! exactly as much. Every sample between the start of the call and the position is thus accounted for: sound, concealment or silence.

use super::class::Class;
use super::codec::{CodecError, Decoder};
use super::delay::START_TARGET;
use super::frame::VoiceFrame;
use super::jitter::{JitterBuffer, JitterCounts, Step};
use super::stretch::{self, MIN_LAG};
use super::{FRAME_SAMPLES, Pcm, SILENCE, duration_of, micros, samples_in};
use std::time::Duration;

/// Delay above the target from which on frames are shortened, µs.
const SHORTEN_ABOVE: i64 = 4_000;
/// Delay under the target from which on frames are lengthened, µs.
const LENGTHEN_BELOW: i64 = -1_500;
/// Delay above the target at which every frame is shortened, not only every second one, µs.
const HURRY_ABOVE: i64 = 40_000;

/// Decodes, conceals, and keeps the delay near its target.
#[derive(Debug)]
pub struct Player {
    jitter: JitterBuffer,
    decoder: Decoder,
    /// Samples since the start of the call.
    position: u64,
    /// Where the first frame is to be played, once one has come.
    begin: Option<u64>,
    pcm: Box<Pcm>,
    rest: bool,
    lag: i64,
    damaged: u64,
}

impl Player {
    /// A player at the start of the timeline, for a call of this class.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus cannot be set up.
    pub fn new(class: Class) -> Result<Self, CodecError> {
        Ok(Self {
            jitter: JitterBuffer::new(class),
            decoder: Decoder::new()?,
            position: 0,
            begin: None,
            pcm: Box::new(SILENCE),
            rest: false,
            lag: 0,
            damaged: 0,
        })
    }

    /// Takes in a voice frame that arrived at `now`.
    pub fn insert(&mut self, now: Duration, voice: &VoiceFrame) {
        if self.jitter.insert(now, voice) {
            let start = samples_in(now) + samples_in(Duration::from_micros(START_TARGET.unsigned_abs()));
            self.begin = Some(start.max(self.position));
        }
    }

    /// The instant at which the next sample is due, since the start of the call.
    #[must_use]
    pub fn position(&self) -> Duration {
        duration_of(self.position)
    }

    /// Appends the next stretch of sound to `out`, at most 120 ms of it and mostly 20, and moves the position.
    pub fn play(&mut self, out: &mut Vec<i16>) {
        let before = out.len();
        match self.begin {
            Some(begin) if begin <= self.position => self.step(out),
            Some(begin) => {
                let gap = usize::try_from(begin - self.position).unwrap_or(FRAME_SAMPLES).min(FRAME_SAMPLES);
                out.extend_from_slice(&SILENCE[..gap]);
            }
            None => out.extend_from_slice(&SILENCE),
        }
        self.position += (out.len() - before) as u64;
    }

    fn step(&mut self, out: &mut Vec<i16>) {
        let position = micros(self.position());
        match self.jitter.step(position) {
            Step::Idle => out.extend_from_slice(&SILENCE),
            Step::Conceal => {
                self.conceal();
                out.extend_from_slice(&self.pcm[..]);
            }
            Step::Play { sequence, frame, .. } => {
                self.lag = self.jitter.lag_of(sequence, position);
                if self.decoder.decode(&frame, &mut self.pcm).is_err() {
                    self.damaged += 1;
                    self.conceal();
                }
                self.stretch(self.lag - self.jitter.target(), out);
            }
            Step::Recover { sequence, packet, distance, take } => {
                self.lag = self.jitter.lag_of(sequence, position);
                if self.decoder.recover(&packet, distance, take, out).is_err() {
                    self.damaged += 1;
                    for _ in 0..take {
                        self.conceal();
                        out.extend_from_slice(&self.pcm[..]);
                    }
                }
            }
        }
    }

    fn conceal(&mut self) {
        if self.decoder.conceal(&mut self.pcm).is_err() {
            *self.pcm = SILENCE;
        }
    }

    /// Appends the decoded frame, a little shorter or longer if the delay is off its target by `excess` µs.
    fn stretch(&mut self, excess: i64, out: &mut Vec<i16>) {
        let samples = usize::try_from(samples_in(Duration::from_micros(excess.unsigned_abs()))).unwrap_or(usize::MAX);
        let resting = self.rest && excess < HURRY_ABOVE;
        self.rest = if !resting && excess >= SHORTEN_ABOVE {
            stretch::shorten(&self.pcm, samples, out) > 0
        } else if !resting && excess <= LENGTHEN_BELOW {
            stretch::lengthen(&self.pcm, samples.max(MIN_LAG), out) > 0
        } else {
            out.extend_from_slice(&self.pcm[..]);
            false
        };
    }

    /// Moves the timeline by `samples` against the local clock, because the sound device runs faster or slower than that clock.
    pub fn nudge(&mut self, samples: i64) {
        self.position = self.position.saturating_add_signed(samples);
    }

    /// How long frames are held back beyond the fastest possible arrival: what jitter costs right now.
    #[must_use]
    pub fn held_back(&self) -> Duration {
        Duration::from_micros(self.lag.max(0).unsigned_abs())
    }

    /// The delay that the buffer aims at.
    #[must_use]
    pub fn target(&self) -> Duration {
        Duration::from_micros(self.jitter.target().max(0).unsigned_abs())
    }

    /// What has been counted.
    #[must_use]
    pub fn counts(&self) -> JitterCounts {
        self.jitter.counts()
    }

    /// Messages with sound that the other side sent, as far as heard of.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.jitter.expected()
    }

    /// Frames of sound in those messages.
    #[must_use]
    pub fn expected_frames(&self) -> u64 {
        self.jitter.expected_frames()
    }

    /// Says what mouth to ear takes without the jitter buffer: the longer, the dearer is waiting.
    pub fn set_path(&mut self, delay: Duration) {
        self.jitter.set_path(delay);
    }

    /// Frames that arrived whole but were not Opus.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Frames that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.jitter.len()
    }
}

//! Two clocks that should agree and do not: a microphone runs up to some hundred parts in a million faster or slower than the machine, whose
//! clock drives the slots.
//!
//! [`Follower`] takes what the microphone gives and hands out frames of 20 ms of the machine's time. It watches how much sound waits and
//! bends the rate by a hair, so that the wait neither grows nor runs out. What it hands out is interpolated with a windowed sinc, without
//! steps. Playout needs no such thing: the jitter buffer stretches (decision 0112).

use super::{FRAME_SAMPLES, Pcm, to_sample};
use std::collections::VecDeque;

/// Samples on each side of the place that is interpolated. The delay of the interpolation: 0.33 ms.
pub(super) const HALF: usize = 16;
pub(super) const TAPS: usize = 2 * HALF;
/// Places between two samples for which the weights are computed; between them they are interpolated.
const PHASES: usize = 256;
/// The most that the rate is bent by: 0.1 %, 1.7 cents, which nobody hears.
const BEND_MAX: f64 = 0.001;
/// How quickly the rate answers a wait that is too long or too short, per frame and sample.
const PROPORTIONAL: f64 = 3.5e-6;
/// How quickly the lasting difference of the clocks is learned.
const INTEGRAL: f64 = 2.5e-9;
/// How much of a new reading enters the smoothed wait.
const SMOOTH: f64 = 0.02;
/// Sound that waits at most; older is dropped: the machine slept.
const WAIT_MAX: usize = 6 * FRAME_SAMPLES;

/// Brings sound of one clock to another.
#[derive(Debug)]
pub struct Follower {
    weights: Box<[[f32; TAPS]]>,
    /// What has come and is still needed.
    waiting: VecDeque<i16>,
    /// Place of the next sample handed out, in samples from `waiting[HALF - 1]`.
    place: f64,
    /// Samples that should wait when a frame has been taken.
    aim: f64,
    wait: Option<f64>,
    /// The lasting difference of the clocks as far as learned.
    learned: f64,
    started: bool,
    counts: FollowerCounts,
}

/// What a [`Follower`] could not do smoothly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerCounts {
    /// Frames that had to be silent because too little had come.
    pub starved: u64,
    /// Samples dropped because too much had come.
    pub dropped: u64,
}

impl Follower {
    /// A follower that tries to keep `aim` samples waiting after each frame. It must be at least what comes in one go, or frames run short.
    #[must_use]
    pub fn new(aim: usize) -> Self {
        Self {
            weights: weights(),
            waiting: VecDeque::with_capacity(WAIT_MAX + TAPS),
            place: 0.0,
            aim: aim.min(WAIT_MAX / 2) as f64,
            wait: None,
            learned: 0.0,
            started: false,
            counts: FollowerCounts::default(),
        }
    }

    /// Takes in sound as it comes.
    pub fn push(&mut self, samples: &[i16]) {
        self.waiting.extend(samples);
        let surplus = self.waiting.len().saturating_sub(WAIT_MAX + TAPS);
        if surplus > 0 {
            // Back to the aim at once: nobody waits for old sound.
            let drop = self.waiting.len() - (self.aim as usize + FRAME_SAMPLES + TAPS + 2).min(self.waiting.len());
            self.waiting.drain(..drop);
            self.counts.dropped += drop as u64;
            self.wait = None;
        }
    }

    /// Hands out the next 20 ms; silence until enough has come. Returns whether it is sound.
    pub fn pull(&mut self, pcm: &mut Pcm) -> bool {
        let needed = |follower: &Self| (follower.place + FRAME_SAMPLES as f64 * (1.0 + BEND_MAX)) as usize + TAPS;
        let ready = needed(self) + if self.started { 0 } else { self.aim as usize };
        if self.waiting.len() < ready {
            self.counts.starved += u64::from(self.started);
            self.started = false;
            pcm.fill(0);
            return false;
        }
        self.started = true;
        let step = 1.0 + self.bend();
        let waiting = self.waiting.make_contiguous();
        for sample in pcm.iter_mut() {
            *sample = interpolate(&self.weights, waiting, self.place);
            self.place += step;
        }
        let whole = self.place as usize;
        self.waiting.drain(..whole);
        self.place -= whole as f64;
        true
    }

    /// How far the rate is to be bent now, from how much waits.
    fn bend(&mut self) -> f64 {
        let left = self.waiting.len() as f64 - self.place - FRAME_SAMPLES as f64 - TAPS as f64;
        let wait = self.wait.map_or(left, |wait| wait + SMOOTH * (left - wait));
        self.wait = Some(wait);
        let error = wait - self.aim;
        self.learned = (self.learned + INTEGRAL * error).clamp(-BEND_MAX, BEND_MAX);
        (self.learned + PROPORTIONAL * error).clamp(-BEND_MAX, BEND_MAX)
    }

    /// How much faster than the machine's clock the other one runs, as far as learned: 0.0003 is 300 parts in a million.
    #[must_use]
    pub fn difference(&self) -> f64 {
        self.learned
    }

    /// Sound that waits, in samples.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What could not be done smoothly.
    #[must_use]
    pub fn counts(&self) -> FollowerCounts {
        self.counts
    }
}

/// The sample at `place` after `samples[HALF - 1]`.
pub(super) fn interpolate(weights: &[[f32; TAPS]], samples: &[i16], place: f64) -> i16 {
    let whole = place as usize;
    let fine = (place - whole as f64) * PHASES as f64;
    let phase = (fine as usize).min(PHASES - 1);
    let between = (fine - phase as f64) as f32;
    let window = &samples[whole..whole + TAPS];
    let (mut low, mut high) = (0.0_f32, 0.0_f32);
    for ((sample, a), b) in window.iter().zip(&weights[phase]).zip(&weights[phase + 1]) {
        low += f32::from(*sample) * a;
        high += f32::from(*sample) * b;
    }
    to_sample((low + (high - low) * between).round())
}

/// Weights of the samples around each place: a sinc under a Blackman window, brought to a sum of 1.
pub(super) fn weights() -> Box<[[f32; TAPS]]> {
    use std::f64::consts::PI;
    (0..=PHASES)
        .map(|phase| {
            let between = phase as f64 / PHASES as f64;
            let raw: [f64; TAPS] = std::array::from_fn(|tap| {
                let away = tap as f64 - (HALF - 1) as f64 - between;
                let sinc = if away.abs() < 1e-12 { 1.0 } else { (PI * away).sin() / (PI * away) };
                let turn = PI * away / HALF as f64;
                sinc * (0.42 + 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos()).max(0.0)
            });
            let sum: f64 = raw.iter().sum();
            raw.map(|weight| (weight / sum) as f32)
        })
        .collect()
}

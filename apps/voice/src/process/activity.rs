//! Voice activity: whether somebody speaks, by a threshold that follows the noise.
//!
//! Two witnesses must agree. A small network (`earshot`) must take the sound for a voice; it alone would let through every voice in the
//! background. And the level must stand out from the noise around, and must not lie far under the level at which the person here
//! speaks; it alone would let every door through. Both levels are learnt while listening: the noise as the least of the last
//! 1.6 s, pauses between words included, the person's as a slow mean of what was taken for speech.

use super::STEP;
use crate::media::level::FLOOR_DBFS;
use earshot::Detector;
use std::collections::VecDeque;
use std::f32::consts::PI;
use std::fmt;

/// Samples of 16 kHz that the network judges at a time: 16 ms.
const WINDOW: usize = 256;
/// 48 kHz to 16 kHz.
const THIN: usize = 3;
/// Length of the filter before thinning.
const TAPS: usize = 31;
/// Steps in a part of the noise tracker's memory, and the parts: 8 × 200 ms.
const PART: usize = 20;
const PARTS: usize = 8;
/// How far speech must stand out from the noise to begin, and to go on, dB.
const BEGIN_DB: f32 = 9.0;
const GO_ON_DB: f32 = 5.0;
/// What the network must say, 0 to 1.
const BEGIN_SCORE: f32 = 0.5;
const GO_ON_SCORE: f32 = 0.35;
/// How far under the person's own level speech may begin, and may go on, dB.
const BEGIN_UNDER: f32 = 12.0;
const GO_ON_UNDER: f32 = 18.0;
/// What the person's level moves by with each step of louder speech, and of quieter speech, as a share of the difference.
const LOUDER: f32 = 0.05;
const QUIETER: f32 = 0.004;
/// How fast the person's level falls while only quieter voices are heard, dB a step: 0.5 dB a second. Whoever moves away from the microphone
/// is heard again after a while; a crowd is not at once.
const FORGET: f32 = 0.005;
/// Steps in a row that must sound like a voice before it counts as one: 20 ms. Keys and doors are shorter.
const SIGNS: u32 = 2;
/// Nothing below is a voice, whatever it stands out from, dBFS.
const QUIETEST: f32 = -65.0;
/// Steps that a voice is held after its last sign: 260 ms, over the stops inside words and the ends of phrases.
const HOLD: u32 = 26;

/// What was found in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Found {
    /// Whether somebody speaks, or did a moment ago.
    pub voice: bool,
    /// What the network says, 0 to 1.
    pub score: f32,
    /// Level, dBFS.
    pub level_dbfs: f32,
    /// The noise, dBFS.
    pub floor_dbfs: f32,
}

impl Default for Found {
    /// What is assumed where nobody listens: a voice.
    fn default() -> Self {
        Self { voice: true, score: 1.0, level_dbfs: FLOOR_DBFS, floor_dbfs: FLOOR_DBFS }
    }
}

/// Listens for voices.
pub struct Activity {
    detector: Box<Detector>,
    filter: [f32; TAPS],
    /// The last samples of 48 kHz, for the filter, then the ones to come.
    line: Vec<f32>,
    /// Samples of 16 kHz that wait for a whole window.
    window: Vec<f32>,
    score: f32,
    noise: NoiseFloor,
    smooth: f32,
    /// The person's level, dBFS.
    person: f32,
    signs: u32,
    held: u32,
}

impl Activity {
    /// A listener that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            detector: Detector::default_boxed(),
            filter: low_pass(),
            line: vec![0.0; TAPS - 1],
            window: Vec::with_capacity(2 * WINDOW),
            score: 0.0,
            noise: NoiseFloor::new(),
            smooth: 0.0,
            person: FLOOR_DBFS,
            signs: 0,
            held: 0,
        }
    }

    /// Listens to the next sound, whole steps of 10 ms; values are those of 16-bit samples.
    pub fn hear(&mut self, sound: &[f32]) -> Found {
        let mut voice = false;
        let mut score = 0.0_f32;
        for step in sound.chunks_exact(STEP) {
            voice |= self.step(step);
            score = score.max(self.score);
        }
        Found { voice, score, level_dbfs: dbfs(self.smooth), floor_dbfs: self.noise.dbfs() }
    }

    fn step(&mut self, step: &[f32]) -> bool {
        let start = self.window.len();
        self.thin(step);
        let new = &self.window[start..];
        let power = new.iter().map(|value| value * value).sum::<f32>() / new.len().max(1) as f32;
        // 20 ms of memory: long enough not to follow the periods of a deep voice.
        self.smooth = 0.5 * self.smooth + 0.5 * power;
        while self.window.len() >= WINDOW {
            self.score = self.detector.predict_f32(&self.window[..WINDOW]).clamp(0.0, 1.0);
            self.window.drain(..WINDOW);
        }
        let level = dbfs(self.smooth);
        self.noise.hear(level);
        let (margin, under, score) =
            if self.held > 0 { (GO_ON_DB, GO_ON_UNDER, GO_ON_SCORE) } else { (BEGIN_DB, BEGIN_UNDER, BEGIN_SCORE) };
        let voice = level > QUIETEST && level > self.noise.dbfs() + margin && self.score >= score;
        let near = level > self.person - under;
        if voice && !near {
            self.person -= FORGET;
        }
        self.signs = if voice && near { self.signs + 1 } else { 0 };
        if self.signs >= SIGNS {
            let pace = if level > self.person { LOUDER } else { QUIETER };
            self.person += pace * (level - self.person);
            self.held = HOLD;
        } else {
            self.held = self.held.saturating_sub(1);
        }
        self.held > 0
    }

    /// Appends `step` to the window at a third of its rate, full scale being 1.
    fn thin(&mut self, step: &[f32]) {
        self.line.extend_from_slice(step);
        let mut at = 0;
        while at + TAPS <= self.line.len() {
            let section = &self.line[at..at + TAPS];
            let value: f32 = section.iter().zip(&self.filter).map(|(sample, tap)| sample * tap).sum();
            self.window.push((value / 32_768.0).clamp(-1.0, 1.0));
            at += THIN;
        }
        self.line.drain(..at);
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("score", &self.score).field("held", &self.held).finish_non_exhaustive()
    }
}

/// The level of the noise: the least of the last parts, each the least of its steps.
#[derive(Debug)]
struct NoiseFloor {
    parts: VecDeque<f32>,
    least: f32,
    steps: usize,
}

impl NoiseFloor {
    fn new() -> Self {
        Self { parts: VecDeque::with_capacity(PARTS), least: f32::MAX, steps: 0 }
    }

    fn hear(&mut self, level: f32) {
        self.least = self.least.min(level);
        self.steps += 1;
        if self.steps == PART {
            if self.parts.len() == PARTS {
                self.parts.pop_front();
            }
            self.parts.push_back(self.least);
            self.least = f32::MAX;
            self.steps = 0;
        }
    }

    fn dbfs(&self) -> f32 {
        self.parts.iter().copied().fold(self.least, f32::min).min(0.0)
    }
}

fn dbfs(power: f32) -> f32 {
    (10.0 * power.max(1e-12).log10()).max(FLOOR_DBFS)
}

/// A low-pass filter for thinning by three: a sinc under a Hamming window, its edge at 7 kHz, its sum 1.
fn low_pass() -> [f32; TAPS] {
    let edge = 7_000.0 / crate::media::SAMPLE_RATE as f32;
    let middle = (TAPS - 1) as f32 / 2.0;
    let mut taps = [0.0; TAPS];
    for (index, tap) in taps.iter_mut().enumerate() {
        let at = index as f32 - middle;
        let sinc = if at == 0.0 { 2.0 * edge } else { (2.0 * PI * edge * at).sin() / (PI * at) };
        let hamming = 0.54 - 0.46 * (2.0 * PI * index as f32 / (TAPS - 1) as f32).cos();
        *tap = sinc * hamming;
    }
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

//! Test sounds.

use crate::media::{SAMPLE_RATE, to_sample};
use std::f32::consts::TAU;

/// `count` samples of a sine at `hertz`, `height` of 1 being full scale.
#[must_use]
pub fn sine(hertz: f32, height: f32, count: usize) -> Vec<i16> {
    (0..count).map(|at| to_sample(height * 32_767.0 * (TAU * hertz * at as f32 / SAMPLE_RATE as f32).sin())).collect()
}

/// `count` samples that sweep evenly from one frequency to another, softened at both ends over 5 ms so that they do not click. Nothing else
/// in a call sounds like it, so that its place in a recording is unmistakable.
#[must_use]
pub fn chirp(from_hertz: f32, to_hertz: f32, height: f32, count: usize) -> Vec<i16> {
    const SOFT: usize = 240;
    let length = count.max(1) as f32;
    let mut phase = 0.0_f32;
    (0..count)
        .map(|at| {
            let hertz = from_hertz + (to_hertz - from_hertz) * at as f32 / length;
            phase = (phase + TAU * hertz / SAMPLE_RATE as f32) % TAU;
            let edge = at.min(count - 1 - at).min(SOFT) as f32 / SOFT as f32;
            to_sample(height * 32_767.0 * edge * phase.sin())
        })
        .collect()
}

/// A chirp of 200 ms every `period` samples, with silence between, `total` samples in all: sound for measuring delay.
/// The period must be longer than the longest delay looked for.
#[must_use]
pub fn chirps(period: usize, total: usize) -> Vec<i16> {
    let mut out = Vec::with_capacity(total);
    while out.len() < total {
        out.extend(chirp(300.0, 3_000.0, 0.4, 9_600.min(period)));
        out.resize(out.len().next_multiple_of(period.max(1)), 0);
    }
    out.truncate(total);
    out
}

//! Plays a frame a little faster or slower without changing its pitch: overlap-add at the lag where the sound best matches itself
//! (WSOLA; Verhelst and Roelands, 1993).
//!
//! The delay of a call follows its target this way, in steps of a few milliseconds that nobody hears, instead of by dropping or repeating
//! whole frames.

use super::{FRAME_SAMPLES, Pcm, to_sample};

/// The least that a frame is changed by, in samples: 2.5 ms.
pub const MIN_LAG: usize = 120;
/// The most that a frame is changed by, in samples: 12.5 ms, one period of a low voice.
pub const MAX_LAG: usize = 600;
/// Length of the cross-fade, in samples: 7.5 ms.
const FADE: usize = FRAME_SAMPLES - MAX_LAG;
/// Lags are tried in this step and compared on every second sample.
const LAG_STEP: usize = 6;
/// Similarity that voiced sound must reach to be changed, −1 to 1.
const SIMILAR: f64 = 0.6;
/// Mean square below which sound counts as a pause and may be changed anywhere (about −50 dBFS).
const QUIET: f64 = 10_000.0;

/// Leaves out up to `at_most` samples of `pcm` and appends the rest to `out`. Returns how many were left out: 0 if the sound does not allow
/// it, and then `pcm` is appended whole.
pub fn shorten(pcm: &Pcm, at_most: usize, out: &mut Vec<i16>) -> usize {
    let Some(lag) = best_lag(pcm, at_most) else {
        out.extend_from_slice(pcm);
        return 0;
    };
    fade(&pcm[..FADE], &pcm[lag..lag + FADE], out);
    out.extend_from_slice(&pcm[lag + FADE..]);
    lag
}

/// Adds up to `at_most` samples to `pcm` and appends it to `out`. Returns how many were added: 0 if the sound does not allow it.
pub fn lengthen(pcm: &Pcm, at_most: usize, out: &mut Vec<i16>) -> usize {
    let Some(lag) = best_lag(pcm, at_most) else {
        out.extend_from_slice(pcm);
        return 0;
    };
    out.extend_from_slice(&pcm[..lag]);
    fade(&pcm[lag..lag + FADE], &pcm[..FADE], out);
    out.extend_from_slice(&pcm[FADE..]);
    lag
}

fn fade(from: &[i16], to: &[i16], out: &mut Vec<i16>) {
    const LENGTH: f32 = 360.0;
    const _: () = assert!(FADE == 360);
    let mut weight = 0.0;
    out.extend(from.iter().zip(to).map(|(from, to)| {
        weight += 1.0 / LENGTH;
        to_sample((f32::from(*from) * (1.0 - weight) + f32::from(*to) * weight).round())
    }));
}

fn best_lag(pcm: &Pcm, at_most: usize) -> Option<usize> {
    let most = at_most.min(MAX_LAG);
    if most < MIN_LAG {
        return None;
    }
    let energy = |at: usize| pcm[at..at + FADE].iter().step_by(2).map(|s| f64::from(*s).powi(2)).sum::<f64>();
    let whole = pcm.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 960.0;
    if whole < QUIET {
        return Some(most);
    }
    let head = energy(0);
    let mut best = (SIMILAR, None);
    for lag in (MIN_LAG..=most).step_by(LAG_STEP) {
        let product: f64 = (0..FADE).step_by(2).map(|at| f64::from(pcm[at]) * f64::from(pcm[at + lag])).sum();
        let similarity = product / (head * energy(lag)).sqrt().max(1.0);
        if similarity > best.0 {
            best = (similarity, Some(lag));
        }
    }
    best.1
}

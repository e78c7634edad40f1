//! Mouth-to-ear delay, measured on the audio itself.
//!
//! What went in at one end is looked for in what came out at the other: for each window of speech the lag with the highest normalised
//! cross-correlation is found, first coarsely on sound thinned to 6 kHz, then to the sample. The windows' lags give the distribution.

use crate::media::SAMPLE_RATE;

/// Length of a window: 400 ms.
const WINDOW: usize = 19_200;
/// Distance between windows: 100 ms.
const HOP: usize = 4_800;
/// Thinning for the coarse search.
const THIN: usize = 8;
/// The longest delay looked for: 1 s.
const LONGEST: usize = 48_000;
/// Correlation that a match must reach, −1 to 1. Speech through the codec reaches 0.97 at the median; what lies under this was bent by an
/// onset, a stretched frame or concealment, and its best place may be one period off.
const MATCH: f64 = 0.85;
/// How far the best match must stand out from every other place in the coarse search.
const DISTINCT: f64 = 0.1;
/// What counts as the same place there, in thinned samples: 2 ms.
const NEIGHBOURHOOD: usize = 12;
/// Mean square that a window must reach to count as speech (about −40 dBFS).
const SPEECH: f64 = 100_000.0;

/// A recording and the wall-clock instant of its first sample.
#[derive(Clone, Copy, Debug)]
pub struct Track<'a> {
    /// Samples, 48 kHz mono.
    pub samples: &'a [i16],
    /// Unix time of the first sample, µs.
    pub start_unix_micros: u64,
}

/// The delays found.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MouthToEar {
    /// Windows of speech in the input.
    pub windows: usize,
    /// Windows that were found again in the output.
    pub matched: usize,
    /// Median delay, ms.
    pub p50_ms: f64,
    /// 99th percentile, ms.
    pub p99_ms: f64,
    /// Longest delay, ms.
    pub max_ms: f64,
}

/// Measures how long sound took from `mouth` to `ear`. `None` if no window of speech was found again.
#[must_use]
pub fn mouth_to_ear(mouth: Track<'_>, ear: Track<'_>) -> Option<MouthToEar> {
    let offset = offset_in_samples(mouth.start_unix_micros, ear.start_unix_micros)?;
    let (mouth_thin, ear_thin) = (thin(mouth.samples), thin(ear.samples));
    let mut windows = 0;
    let mut delays = Vec::new();
    for start in (0..mouth.samples.len().saturating_sub(WINDOW)).step_by(HOP) {
        let window = &mouth.samples[start..start + WINDOW];
        if energy(window) / (WINDOW as f64) < SPEECH {
            continue;
        }
        // Where the window would lie in the output if there were no delay.
        let Some(at) = i64::try_from(start).ok().and_then(|start| usize::try_from(start - offset).ok()) else {
            continue;
        };
        if at + LONGEST + WINDOW > ear.samples.len() {
            continue;
        }
        windows += 1;
        let coarse_window = &mouth_thin[start / THIN..(start + WINDOW) / THIN];
        let Some(coarse) = unmistakable(&likenesses(coarse_window, &ear_thin, at / THIN, LONGEST / THIN)) else {
            continue;
        };
        let from = (at / THIN * THIN + coarse * THIN).saturating_sub(2 * THIN);
        let Some((fine, likeness)) = highest(&likenesses(window, ear.samples, from, 4 * THIN)) else { continue };
        if likeness >= MATCH {
            delays.push((from + fine) as f64 - at as f64);
        }
    }
    delays.sort_by(f64::total_cmp);
    let millis = |samples: f64| samples * 1_000.0 / f64::from(SAMPLE_RATE);
    Some(MouthToEar {
        windows,
        matched: delays.len(),
        p50_ms: millis(*delays.get(delays.len() / 2)?),
        p99_ms: millis(delays[(delays.len() * 99 / 100).min(delays.len() - 1)]),
        max_ms: millis(*delays.last()?),
    })
}

/// Samples from the first of `mouth` to the first of `ear`; negative if the ear started first.
fn offset_in_samples(mouth: u64, ear: u64) -> Option<i64> {
    let micros = i64::try_from(i128::from(ear) - i128::from(mouth)).ok()?;
    Some(micros.checked_mul(48)? / 1_000)
}

/// Averages of [`THIN`] samples (a crude low-pass), then differences of neighbours. The differences lift what sets one period of a voice
/// apart from the next; without them a window may be found one period off.
fn thin(samples: &[i16]) -> Vec<i16> {
    let mut before = 0;
    samples
        .chunks_exact(THIN)
        .map(|chunk| {
            let mean = chunk.iter().map(|sample| i32::from(*sample)).sum::<i32>() / 8;
            let difference = (mean - before) / 2;
            before = mean;
            i16::try_from(difference).unwrap_or(0)
        })
        .collect()
}

fn energy(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

/// The likeness of `window` to each place on `track` from `from` to `span` samples later, −1 to 1.
fn likenesses(window: &[i16], track: &[i16], from: usize, span: usize) -> Vec<f64> {
    let own = energy(window);
    let mut there = track.get(from..from + window.len()).map_or(0.0, energy);
    let mut found = Vec::with_capacity(span + 1);
    for at in from..=from + span {
        let Some(section) = track.get(at..at + window.len()) else { break };
        let product: i64 = window.iter().zip(section).map(|(a, b)| i64::from(i32::from(*a) * i32::from(*b))).sum();
        found.push(product as f64 / (own * there).sqrt().max(1.0));
        let next = track.get(at + window.len()).map_or(0.0, |sample| f64::from(*sample).powi(2));
        there = (there - f64::from(section[0]).powi(2) + next).max(0.0);
    }
    found
}

/// The lag of the highest likeness, and that likeness.
fn highest(likenesses: &[f64]) -> Option<(usize, f64)> {
    likenesses.iter().copied().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// The lag of the highest likeness if no other place comes near it. A long vowel resembles itself one period on; such a window says nothing.
fn unmistakable(likenesses: &[f64]) -> Option<usize> {
    let (lag, most) = highest(likenesses)?;
    let rival = likenesses
        .iter()
        .enumerate()
        .filter(|(other, _)| other.abs_diff(lag) > NEIGHBOURHOOD)
        .map(|(_, likeness)| *likeness)
        .fold(0.0, f64::max);
    (most - rival >= DISTINCT).then_some(lag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{tone::chirps, wav::decode_wav};
    use std::path::Path;

    fn speech() -> Vec<i16> {
        decode_wav(crate::SPEECH_WAV, Path::new("speech.wav")).unwrap()
    }

    fn delayed(sound: &[i16], by: usize) -> Vec<i16> {
        let mut out = vec![0; by];
        out.extend(sound.iter().map(|sample| sample / 2));
        out.resize(out.len() + LONGEST, 0);
        out
    }

    #[test]
    fn a_known_delay_is_found_to_the_sample() {
        for sound in [speech(), chirps(72_000, 480_000)] {
            let out = delayed(&sound, 2_345);
            let mouth = Track { samples: &sound, start_unix_micros: 1_000_000 };
            let ear = Track { samples: &out, start_unix_micros: 1_000_000 };
            let found = mouth_to_ear(mouth, ear).unwrap();
            assert!(found.windows > 10 && found.matched * 10 > found.windows * 8, "{found:?}");
            let exact = 2_345.0 / 48.0;
            assert!((found.p50_ms - exact).abs() < 0.03 && (found.p99_ms - exact).abs() < 0.03, "{found:?}");
        }
    }

    #[test]
    fn start_instants_count() {
        let sound = speech();
        let out = delayed(&sound, 4_800);
        // The ear began to record 60 ms before the mouth began to speak.
        let mouth = Track { samples: &sound, start_unix_micros: 5_060_000 };
        let ear = Track { samples: &out, start_unix_micros: 5_000_000 };
        let found = mouth_to_ear(mouth, ear).unwrap();
        assert!((found.p50_ms - 40.0).abs() < 0.03, "{found:?}");
        // And 30 ms after it.
        let mouth = Track { samples: &sound, start_unix_micros: 4_970_000 };
        let found = mouth_to_ear(mouth, ear).unwrap();
        assert!((found.p50_ms - 130.0).abs() < 0.03, "{found:?}");
    }

    #[test]
    fn a_changing_delay_shows_in_the_percentiles() {
        let sound = speech();
        let mut out = delayed(&sound, 1_920);
        let half = sound.len() * 3 / 4;
        // The last quarter arrives 20 ms later.
        out.splice(half..half, std::iter::repeat_n(0, 960));
        let track = |samples| Track { samples, start_unix_micros: 0 };
        let found = mouth_to_ear(track(&sound), track(&out)).unwrap();
        assert!((found.p50_ms - 40.0).abs() < 0.1 && (found.p99_ms - 60.0).abs() < 0.1, "{found:?}");
    }

    #[test]
    fn nothing_is_found_in_silence_or_in_something_else() {
        let sound = speech();
        let silence = vec![0; sound.len() + LONGEST];
        let track = |samples| Track { samples, start_unix_micros: 0 };
        assert_eq!(mouth_to_ear(track(&sound), track(&silence)), None);
        assert_eq!(mouth_to_ear(track(&silence), track(&sound)), None);
        assert_eq!(mouth_to_ear(track(&[]), track(&[])), None);
    }
}

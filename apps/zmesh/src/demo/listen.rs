//! Mouth to ear, from the recordings of both ends.

use std::path::Path;

use serde_json::{Value, json};
use zmesh_voice::audio::wav::read_wav;
use zmesh_voice::measure::{MouthToEar, Track, mouth_to_ear};

use super::report::Call;
use crate::failure::{Failure, Outcome};

/// Samples a second.
const RATE: u64 = 48_000;

/// The delay of one direction: over the whole call, and while the download ran.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delay {
    pub(crate) whole: Option<MouthToEar>,
    pub(crate) beside_download: Option<MouthToEar>,
}

impl Delay {
    pub(crate) fn json(&self) -> Value {
        json!({ "whole_call": self.whole, "beside_download": self.beside_download })
    }
}

/// Compares what `speaker` said with what was recorded at `listener`. `during` is when the download ran, in unix µs.
pub(super) fn measure(
    spoken: &[i16],
    speaker: &Call,
    heard: &Path,
    listener: &Call,
    during: (u64, u64),
) -> Outcome<Delay> {
    let ear = read_wav(heard)
        .map_err(|error| Failure::failed("what was heard cannot be measured", error, "run the demo again"))?;
    let (mouth_start, ear_start) = (speaker.first_input_unix_micros, listener.first_output_unix_micros);
    // The recording is spoken again and again; what is later than the last sample heard cannot be found there.
    let mouth: Vec<i16> = spoken.iter().copied().cycle().take(ear.len()).collect();
    let ear = Track { samples: &ear, start_unix_micros: ear_start };
    let whole = mouth_to_ear(Track { samples: &mouth, start_unix_micros: mouth_start }, ear);
    let at = |unix_micros: u64| {
        let samples = unix_micros.saturating_sub(mouth_start) * RATE / 1_000_000;
        usize::try_from(samples).unwrap_or(usize::MAX).min(mouth.len())
    };
    let (from, to) = (at(during.0), at(during.1));
    let section_start = mouth_start + (from as u64) * 1_000_000 / RATE;
    let section = Track { samples: &mouth[from..to.max(from)], start_unix_micros: section_start };
    Ok(Delay { whole, beside_download: mouth_to_ear(section, ear) })
}

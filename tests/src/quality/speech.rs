//! What is said in a measured call: the shipped speech, or a directory of recordings, over and over.

use std::path::Path;

use zmesh_voice::SPEECH_WAV;
use zmesh_voice::audio::wav::{WavError, decode_wav, read_wav};
use zmesh_voice::media::{FRAME_SAMPLES, Pcm, SAMPLE_RATE, SILENCE};

/// The pause after each recording of a directory, in samples: 0.5 s.
const PAUSE: usize = SAMPLE_RATE as usize / 2;
/// Shortest cycle, in samples: 8 s, the least that ITU-T P.862.3 wants of one measurement.
const LEAST: usize = 8 * SAMPLE_RATE as usize;

/// Why there is nothing to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpeechError {
    /// A recording cannot be read.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The directory cannot be listed.
    #[error("reading the directory {directory}: {source}")]
    Directory {
        /// Which.
        directory: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds no WAV files.
    #[error("{0} holds no .wav files")]
    Nothing(String),
}

/// Speech that repeats for ever, in whole frames.
#[derive(Debug, Clone)]
pub struct Speech {
    cycle: Vec<i16>,
}

impl Speech {
    /// The sample that the project ships: 12 s of synthesised speech.
    ///
    /// # Errors
    /// [`SpeechError::Wav`] if it cannot be decoded, which would be a defect of the repository.
    pub fn shipped() -> Result<Speech, SpeechError> {
        Ok(Speech::repeating(decode_wav(SPEECH_WAV, Path::new("speech.wav"))?))
    }

    /// Every WAV file of `directory` in the order of their names, with pauses between them.
    ///
    /// # Errors
    /// [`SpeechError`] if there is none, or one cannot be read.
    pub fn from_directory(directory: &Path) -> Result<Speech, SpeechError> {
        let name = || directory.display().to_string();
        let listed =
            std::fs::read_dir(directory).map_err(|source| SpeechError::Directory { directory: name(), source })?;
        let mut paths: Vec<_> = listed.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "wav"));
        paths.sort();
        if paths.is_empty() {
            return Err(SpeechError::Nothing(name()));
        }
        let mut once = Vec::new();
        for path in paths {
            once.extend(read_wav(&path)?);
            once.resize(once.len() + PAUSE, 0);
        }
        Ok(Speech::repeating(once))
    }

    fn repeating(once: Vec<i16>) -> Speech {
        let mut cycle = once.clone();
        while cycle.len() < LEAST {
            cycle.extend_from_slice(&once);
        }
        cycle.resize(cycle.len().next_multiple_of(FRAME_SAMPLES), 0);
        Speech { cycle }
    }

    /// Samples in one cycle, whole frames.
    #[must_use]
    pub fn cycle_len(&self) -> usize {
        self.cycle.len()
    }

    /// The frame with this number, counted from `offset` samples into the cycle.
    #[must_use]
    pub fn frame(&self, offset: usize, number: u64) -> Pcm {
        let frames = (self.cycle.len() / FRAME_SAMPLES) as u64;
        let start = usize::try_from(number % frames).unwrap_or(0) * FRAME_SAMPLES + offset;
        let mut pcm = SILENCE;
        for (at, sample) in pcm.iter_mut().enumerate() {
            *sample = self.cycle[(start + at) % self.cycle.len()];
        }
        pcm
    }

    /// The `length` samples that stand `from` samples after the first, counted from `offset` into the cycle.
    #[must_use]
    pub fn stretch(&self, offset: usize, from: usize, length: usize) -> Vec<i16> {
        (0..length).map(|at| self.cycle[(offset + from + at) % self.cycle.len()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_repeats_in_whole_frames() {
        let speech = Speech::shipped().unwrap();
        let frames = (speech.cycle_len() / FRAME_SAMPLES) as u64;
        assert_eq!(speech.cycle_len() % FRAME_SAMPLES, 0);
        assert!(speech.cycle_len() >= LEAST);
        for number in [0, 1, 77, frames - 1] {
            assert_eq!(speech.frame(960, number), speech.frame(960, number + 3 * frames));
            let at = usize::try_from(number).unwrap() * FRAME_SAMPLES;
            assert_eq!(speech.frame(960, number)[..], speech.stretch(960, at, FRAME_SAMPLES)[..]);
        }
    }

    #[test]
    fn a_directory_of_short_recordings_becomes_a_long_cycle() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(matches!(Speech::from_directory(directory.path()), Err(SpeechError::Nothing(_))));
        for (name, value) in [("b.wav", 2_i16), ("a.wav", 1)] {
            zmesh_voice::audio::wav::write_wav(&path(name), &[value; 48_000]).unwrap();
        }
        let speech = Speech::from_directory(directory.path()).unwrap();
        assert!(speech.cycle_len() >= LEAST);
        assert_eq!((speech.frame(0, 0)[0], speech.frame(0, 75)[0], speech.frame(0, 50)[0]), (1, 2, 0));
        assert!(Speech::from_directory(&path("none")).is_err());
    }
}

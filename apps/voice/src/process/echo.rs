//! Echo cancellation: WebRTC's AEC3, in the port `sonora`.
//!
//! It finds by itself how long what is played takes to come back into the microphone, and follows when that changes.

use super::STEP;
use sonora::{AudioProcessing, Config, StreamConfig, config};
use std::fmt;

/// How long sound is held back, in samples: 4.9 ms, by the filters that split 48 kHz into bands.
pub const DELAY: usize = 237;

const STREAM: StreamConfig = StreamConfig::new(crate::media::SAMPLE_RATE, 1);

/// Takes out of a microphone's sound what a loudspeaker played.
pub struct EchoCanceller {
    inner: AudioProcessing,
    /// What was played and is not yet a whole step.
    played: Vec<f32>,
    scratch: Box<[f32; STEP]>,
}

impl EchoCanceller {
    /// A canceller that knows no room yet.
    #[must_use]
    pub fn new() -> Self {
        let settings = Config {
            pipeline: config::Pipeline {
                maximum_internal_processing_rate: config::MaxProcessingRate::Rate48kHz,
                ..config::Pipeline::default()
            },
            // With it goes a high-pass filter: rumble below the voice would spoil the estimate of the room.
            echo_canceller: Some(config::EchoCanceller::default()),
            ..Config::default()
        };
        let inner = AudioProcessing::builder().config(settings).capture_config(STREAM).render_config(STREAM).build();
        Self { inner, played: Vec::with_capacity(4 * STEP), scratch: Box::new([0.0; STEP]) }
    }

    /// Hears what goes to the loudspeaker.
    pub fn rendered(&mut self, samples: &[i16]) {
        for sample in samples {
            self.played.push(f32::from(*sample) / 32_768.0);
            if self.played.len() == STEP {
                // The formats were fixed above and are good ones: this cannot fail.
                let _ = self.inner.process_render_f32(&[&self.played], &mut [&mut self.scratch[..]]);
                self.played.clear();
            }
        }
    }

    /// Processes a step of the microphone in place; values are those of 16-bit samples.
    pub fn capture(&mut self, step: &mut [f32]) {
        for value in step.iter_mut() {
            *value /= 32_768.0;
        }
        if self.inner.process_capture_f32(&[&*step], &mut [&mut self.scratch[..]]).is_ok() {
            step.copy_from_slice(&self.scratch[..]);
        }
        for value in step.iter_mut() {
            *value *= 32_768.0;
        }
    }
}

impl Default for EchoCanceller {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EchoCanceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoCanceller").finish_non_exhaustive()
    }
}

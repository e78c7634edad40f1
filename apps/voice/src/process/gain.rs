//! Gain control: WebRTC's AGC2, in the port `sonora`.
//!
//! It listens for speech by a small network of its own, so that noise in pauses is not raised, and ends in a limiter, so that nothing clips.

use sonora::{AudioProcessing, Config, StreamConfig, config};
use std::fmt;

const STREAM: StreamConfig = StreamConfig::new(crate::media::SAMPLE_RATE, 1);

/// The gain that a call begins with, dB. WebRTC's own 15 makes a voice of ordinary level shout for its first seconds.
const BEGIN_DB: f32 = 6.0;

/// Brings voices to one level.
pub struct GainControl {
    inner: AudioProcessing,
    scratch: Box<[f32; super::STEP]>,
}

impl GainControl {
    /// A control that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        let gain = config::GainController2 {
            adaptive_digital: Some(config::AdaptiveDigital { initial_gain_db: BEGIN_DB, ..Default::default() }),
            ..config::GainController2::default()
        };
        let settings = Config {
            pipeline: config::Pipeline {
                maximum_internal_processing_rate: config::MaxProcessingRate::Rate48kHz,
                ..config::Pipeline::default()
            },
            gain_controller2: Some(gain),
            ..Config::default()
        };
        let inner = AudioProcessing::builder().config(settings).capture_config(STREAM).render_config(STREAM).build();
        Self { inner, scratch: Box::new([0.0; super::STEP]) }
    }

    /// Processes a step in place; values are those of 16-bit samples.
    pub fn process(&mut self, step: &mut [f32]) {
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

impl Default for GainControl {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for GainControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GainControl").finish_non_exhaustive()
    }
}

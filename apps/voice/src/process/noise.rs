//! Noise suppression: RNNoise, in the port `nnnoiseless`.

use super::STEP;
use nnnoiseless::DenoiseState;
use std::fmt;

/// How long sound is held back, in samples: one step, for windows overlap.
pub const DELAY: usize = STEP;

/// Takes out what is no voice.
pub struct NoiseSuppressor {
    inner: Box<DenoiseState<'static>>,
    scratch: Box<[f32; STEP]>,
}

impl NoiseSuppressor {
    /// A suppressor that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { inner: DenoiseState::new(), scratch: Box::new([0.0; STEP]) }
    }

    /// Processes a step in place; values are those of 16-bit samples.
    pub fn process(&mut self, step: &mut [f32]) {
        self.inner.process_frame(&mut self.scratch[..], step);
        step.copy_from_slice(&self.scratch[..]);
    }
}

impl Default for NoiseSuppressor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for NoiseSuppressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseSuppressor").finish_non_exhaustive()
    }
}

//! Loudness for people to look at, and a gain for those who are too quiet.

use super::to_sample;

/// The level of digital silence, in dBFS, and the lowest that is ever reported.
pub const FLOOR_DBFS: f32 = -96.0;

/// Measures the level of what passes since it was last read.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    sum: f64,
    count: u32,
}

impl Meter {
    /// A meter that has heard nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens to some samples.
    pub fn listen(&mut self, samples: &[i16]) {
        self.sum += samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        self.count = self.count.saturating_add(u32::try_from(samples.len()).unwrap_or(u32::MAX));
    }

    /// The mean level since the last call in dBFS (a full-scale square wave is 0, a full-scale sine −3), then starts anew.
    pub fn take(&mut self) -> f32 {
        let Self { sum, count } = std::mem::take(self);
        level(sum, count)
    }

    /// The mean level so far, in dBFS.
    #[must_use]
    pub fn dbfs(&self) -> f32 {
        level(self.sum, self.count)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a level of two decimals fits f32")]
fn level(sum: f64, count: u32) -> f32 {
    if count == 0 || sum <= 0.0 {
        return FLOOR_DBFS;
    }
    let power = sum / f64::from(count) / (32_768.0 * 32_768.0);
    ((10.0 * power.log10()) as f32).max(FLOOR_DBFS)
}

/// Multiplies samples and bends what would clip instead of cutting it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    factor: f32,
}

impl Gain {
    /// A gain of `decibels`, held between −40 and +40.
    #[must_use]
    pub fn new(decibels: f32) -> Self {
        let decibels = if decibels.is_finite() { decibels.clamp(-40.0, 40.0) } else { 0.0 };
        Self { factor: 10.0_f32.powf(decibels / 20.0) }
    }

    /// Whether samples pass unchanged.
    #[must_use]
    pub fn is_unity(&self) -> bool {
        (self.factor - 1.0).abs() < 1e-6
    }

    /// Applies the gain in place. Above three quarters of full scale the curve bends towards, and never reaches, full scale.
    pub fn apply(&self, samples: &mut [i16]) {
        if self.is_unity() {
            return;
        }
        const KNEE: f32 = 24_576.0;
        const ROOM: f32 = 32_767.0 - KNEE;
        for sample in samples {
            let raised = f32::from(*sample) * self.factor;
            let over = raised.abs() - KNEE;
            *sample =
                to_sample(if over > 0.0 { raised.signum() * (KNEE + ROOM * (over / (over + ROOM))) } else { raised });
        }
    }
}

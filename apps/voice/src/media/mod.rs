//! The audio path of a call, sans-IO: no clock, no thread, no device.
//!
//! Outwards: PCM → [`codec::Encoder`] → [`sender::Sender`] adds copies of earlier frames by its [`redundancy::Plan`] →
//! [`frame::VoiceFrame`], constant size, one every [`class::Class::interval`].
//! Inwards: [`frame::VoiceFrame`] → [`jitter::JitterBuffer`] decides what is played when → [`player::Player`] decodes, conceals and
//! stretches → PCM. Time is a [`Duration`] since the start of the call, always handed in.

use std::time::Duration;

pub mod class;
pub mod codec;
pub mod delay;
pub mod drift;
pub mod frame;
pub mod jitter;
pub mod level;
pub mod player;
pub mod redundancy;
pub mod sender;
pub mod stalls;
pub mod stretch;
pub mod window;

#[cfg(test)]
mod tests;

/// Samples per second, everywhere in this crate.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples in one frame of 20 ms.
pub const FRAME_SAMPLES: usize = 960;
/// How long a frame lasts: 20 ms.
pub const FRAME: Duration = Duration::from_millis(20);
/// [`FRAME`] in microseconds.
pub const FRAME_MICROS: i64 = 20_000;

/// One frame of sound: 20 ms, 48 kHz, mono, 16 bits.
pub type Pcm = [i16; FRAME_SAMPLES];

/// Silence, one frame of it.
pub const SILENCE: Pcm = [0; FRAME_SAMPLES];

/// A sample from a computed value, held inside the range of 16 bits.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the value is clamped to the range of i16 first; a NaN becomes 0")]
pub fn to_sample(value: f32) -> i16 {
    value.clamp(-32_768.0, 32_767.0) as i16
}

/// Microseconds in `time`, as the signed number that delays are computed with. Saturates (after 292,000 years).
#[must_use]
pub fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Samples that last `time`.
#[must_use]
pub fn samples_in(time: Duration) -> u64 {
    u64::try_from(time.as_micros().saturating_mul(u128::from(SAMPLE_RATE)) / 1_000_000).unwrap_or(u64::MAX)
}

/// How long `samples` last.
#[must_use]
pub fn duration_of(samples: u64) -> Duration {
    Duration::from_micros(samples.saturating_mul(1_000) / 48)
}

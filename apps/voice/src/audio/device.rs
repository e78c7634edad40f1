//! The machine's microphone and loudspeaker, through cpal.
//!
//! The device's callback runs on a thread of the sound system and must not wait, so it only moves samples through a ring buffer without
//! locks. Devices that cannot do 48 kHz are refused instead of resampled: every common one can.

use crate::media::{FRAME_SAMPLES, Pcm, SAMPLE_RATE};
use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Device, FromSample, SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfigRange,
};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Samples that a ring buffer holds: 200 ms.
const RING: usize = 10 * FRAME_SAMPLES;
/// More than this waiting from a microphone is dropped: its clock is faster than ours, or the machine stood still.
const INPUT_MOST: usize = 3 * FRAME_SAMPLES;
/// What should be waiting for a loudspeaker right after a frame was written: a frame and 10 ms.
const OUTPUT_LEVEL: i64 = 1_440;
/// How far the level may stray before playout is moved, in samples: 5 ms.
const OUTPUT_PLAY: i64 = 240;
/// How much playout is moved at a time, in samples: 1 ms.
const NUDGE: i64 = 48;

/// A sound device cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// There is no microphone.
    #[error("no microphone found: connect one, or speak from a file with --input FILE.wav")]
    NoMicrophone,
    /// There is no loudspeaker.
    #[error("no loudspeaker found: connect one, or record to a file with --output FILE.wav")]
    NoLoudspeaker,
    /// The device cannot do what a call needs.
    #[error("the {what} does not offer 48000 Hz: choose another default device in the system's sound settings")]
    Rate {
        /// Microphone or loudspeaker.
        what: &'static str,
    },
    /// The sound system refused.
    #[error("the {what} cannot be used: {source}")]
    System {
        /// Microphone or loudspeaker.
        what: &'static str,
        /// What the sound system says.
        source: cpal::Error,
    },
}

const MICROPHONE: &str = "microphone";
const LOUDSPEAKER: &str = "loudspeaker";

fn refused(what: &'static str, source: cpal::Error) -> DeviceError {
    match source.kind() {
        cpal::ErrorKind::DeviceNotAvailable | cpal::ErrorKind::HostUnavailable if what == MICROPHONE => {
            DeviceError::NoMicrophone
        }
        cpal::ErrorKind::DeviceNotAvailable | cpal::ErrorKind::HostUnavailable => DeviceError::NoLoudspeaker,
        _ => DeviceError::System { what, source },
    }
}

/// The default microphone, recording.
pub struct DeviceInput {
    stream: Stream,
    ring: Consumer<i16>,
    failed: Arc<AtomicBool>,
    starved: u64,
    dropped: u64,
}

impl DeviceInput {
    /// Opens the default microphone and starts it.
    ///
    /// # Errors
    /// [`DeviceError`] if there is none or it cannot be used.
    pub fn open() -> Result<Self, DeviceError> {
        let device = cpal::default_host().default_input_device().ok_or(DeviceError::NoMicrophone)?;
        let system = |source| refused(MICROPHONE, source);
        let range = choose(device.supported_input_configs().map_err(system)?, MICROPHONE)?;
        let (producer, ring) = RingBuffer::new(RING);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let stream = match range.sample_format() {
            SampleFormat::F32 => record::<f32>(&device, &range, producer, flag),
            SampleFormat::I32 => record::<i32>(&device, &range, producer, flag),
            _ => record::<i16>(&device, &range, producer, flag),
        }
        .map_err(system)?;
        stream.play().map_err(system)?;
        Ok(Self { stream, ring, failed, starved: 0, dropped: 0 })
    }

    pub(super) fn start(&mut self) {
        while self.ring.pop().is_ok() {}
    }

    pub(super) fn read(&mut self, pcm: &mut Pcm) {
        let waiting = self.ring.slots();
        if waiting > INPUT_MOST {
            for _ in 0..waiting - FRAME_SAMPLES {
                let _ = self.ring.pop();
            }
            self.dropped += (waiting - FRAME_SAMPLES) as u64;
        }
        for sample in pcm {
            *sample = self.ring.pop().unwrap_or_else(|_| {
                self.starved += 1;
                0
            });
        }
    }

    /// Whether the device has stopped working.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The default loudspeaker, playing.
pub struct DeviceOutput {
    stream: Stream,
    ring: Producer<i16>,
    failed: Arc<AtomicBool>,
    dropped: u64,
}

impl DeviceOutput {
    /// Opens the default loudspeaker and starts it; it is silent until something is written.
    ///
    /// # Errors
    /// [`DeviceError`] if there is none or it cannot be used.
    pub fn open() -> Result<Self, DeviceError> {
        let device = cpal::default_host().default_output_device().ok_or(DeviceError::NoLoudspeaker)?;
        let system = |source| refused(LOUDSPEAKER, source);
        let range = choose(device.supported_output_configs().map_err(system)?, LOUDSPEAKER)?;
        let (ring, consumer) = RingBuffer::new(RING);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        let stream = match range.sample_format() {
            SampleFormat::F32 => play::<f32>(&device, &range, consumer, flag),
            SampleFormat::I32 => play::<i32>(&device, &range, consumer, flag),
            _ => play::<i16>(&device, &range, consumer, flag),
        }
        .map_err(system)?;
        stream.play().map_err(system)?;
        Ok(Self { stream, ring, failed, dropped: 0 })
    }

    pub(super) fn write(&mut self, samples: &[i16]) {
        for sample in samples {
            if self.ring.push(*sample).is_err() {
                self.dropped += 1;
            }
        }
    }

    /// Compares what waits in the ring with what should: the difference is the drift between the device's clock and ours.
    pub(super) fn drift(&mut self) -> i64 {
        let waiting = i64::try_from(RING - self.ring.slots()).unwrap_or(0);
        match waiting - OUTPUT_LEVEL {
            over if over > OUTPUT_PLAY => NUDGE,
            under if under < -OUTPUT_PLAY => -NUDGE,
            _ => 0,
        }
    }

    /// Whether the device has stopped working.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for DeviceInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceInput")
            .field("starved", &self.starved)
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceOutput").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

impl Drop for DeviceInput {
    fn drop(&mut self) {
        let _ = self.stream.pause();
    }
}

impl Drop for DeviceOutput {
    fn drop(&mut self) {
        let _ = self.stream.pause();
    }
}

/// The configuration with 48 kHz and a known sample format that has the fewest channels.
fn choose(
    ranges: impl Iterator<Item = SupportedStreamConfigRange>,
    what: &'static str,
) -> Result<SupportedStreamConfigRange, DeviceError> {
    ranges
        .filter(|range| (range.min_sample_rate()..=range.max_sample_rate()).contains(&SAMPLE_RATE))
        .filter(|range| matches!(range.sample_format(), SampleFormat::I16 | SampleFormat::I32 | SampleFormat::F32))
        .min_by_key(|range| (range.channels(), range.sample_format() != SampleFormat::I16))
        .ok_or(DeviceError::Rate { what })
}

fn config(range: &SupportedStreamConfigRange) -> StreamConfig {
    // 5 ms where the device lets us choose: the shorter, the less delay.
    let buffer_size = match range.buffer_size() {
        cpal::SupportedBufferSize::Range { min, max } => BufferSize::Fixed(240.clamp(*min, (*max).max(*min))),
        cpal::SupportedBufferSize::Unknown => BufferSize::Default,
    };
    StreamConfig { channels: range.channels(), sample_rate: SAMPLE_RATE, buffer_size }
}

fn record<T>(
    device: &Device,
    range: &SupportedStreamConfigRange,
    mut ring: Producer<i16>,
    failed: Arc<AtomicBool>,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + Send + 'static,
    i16: FromSample<T>,
{
    let channels = usize::from(range.channels()).max(1);
    device.build_input_stream::<T, _, _>(
        config(range),
        move |data, _| {
            for moment in data.chunks_exact(channels) {
                // The first channel: a microphone has the same on all of them.
                let _ = ring.push(moment[0].to_sample::<i16>());
            }
        },
        move |error| note(&failed, MICROPHONE, &error),
        None,
    )
}

fn play<T>(
    device: &Device,
    range: &SupportedStreamConfigRange,
    mut ring: Consumer<i16>,
    failed: Arc<AtomicBool>,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + FromSample<i16> + Send + 'static,
{
    let channels = usize::from(range.channels()).max(1);
    device.build_output_stream::<T, _, _>(
        config(range),
        move |data, _| {
            for moment in data.chunks_exact_mut(channels) {
                moment.fill(T::from_sample(ring.pop().unwrap_or(0)));
            }
        },
        move |error| note(&failed, LOUDSPEAKER, &error),
        None,
    )
}

fn note(failed: &AtomicBool, what: &'static str, error: &cpal::Error) {
    use cpal::ErrorKind::{DeviceChanged, RealtimeDenied, Xrun};
    match error.kind() {
        DeviceChanged | RealtimeDenied | Xrun => tracing::debug!(%error, what, "sound device"),
        _ => {
            tracing::warn!(%error, what, "sound device failed");
            failed.store(true, Ordering::Relaxed);
        }
    }
}

//! cpal's streams: opening them, and their callbacks.

use super::keeper::{Backend, Pulse};
use super::list::{describe, find};
use super::{DeviceError, Kind};
use crate::media::{FRAME_SAMPLES, SAMPLE_RATE};
use cpal::traits::{DeviceTrait, StreamTrait};
use cpal::{
    BufferSize, Device, FromSample, SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfigRange,
};
use rtrb::{Consumer, Producer, RingBuffer};

/// Samples that a ring buffer holds: 200 ms.
pub(super) const RING: usize = 10 * FRAME_SAMPLES;
/// The buffer that a device is asked for, in samples: 5 ms. The shorter, the less delay.
const BUFFER: u32 = 240;

/// Opens microphones.
#[derive(Debug)]
pub(super) struct Microphones;

impl Backend for Microphones {
    type Open = Stream;
    type End = Consumer<i16>;

    fn open(&mut self, name: Option<&str>, pulse: Pulse) -> Result<(Stream, Consumer<i16>, String), DeviceError> {
        let device = find(Kind::Microphone, name)?;
        let label = describe(&device).name;
        let system = |source| refused(Kind::Microphone, &label, source);
        let range = choose(device.supported_input_configs().map_err(system)?)
            .ok_or_else(|| DeviceError::Rate { what: Kind::Microphone, name: label.clone() })?;
        let (producer, ring) = RingBuffer::new(RING);
        let stream = match range.sample_format() {
            SampleFormat::F32 => record::<f32>(&device, &range, producer, pulse),
            SampleFormat::I32 => record::<i32>(&device, &range, producer, pulse),
            _ => record::<i16>(&device, &range, producer, pulse),
        }
        .map_err(system)?;
        stream.play().map_err(system)?;
        Ok((stream, ring, label))
    }

    fn is_there(&mut self, name: &str) -> bool {
        find(Kind::Microphone, Some(name)).is_ok()
    }
}

/// Opens loudspeakers.
#[derive(Debug)]
pub(super) struct Loudspeakers;

impl Backend for Loudspeakers {
    type Open = Stream;
    type End = Producer<i16>;

    fn open(&mut self, name: Option<&str>, pulse: Pulse) -> Result<(Stream, Producer<i16>, String), DeviceError> {
        let device = find(Kind::Loudspeaker, name)?;
        let label = describe(&device).name;
        let system = |source| refused(Kind::Loudspeaker, &label, source);
        let range = choose(device.supported_output_configs().map_err(system)?)
            .ok_or_else(|| DeviceError::Rate { what: Kind::Loudspeaker, name: label.clone() })?;
        let (ring, consumer) = RingBuffer::new(RING);
        let stream = match range.sample_format() {
            SampleFormat::F32 => play::<f32>(&device, &range, consumer, pulse),
            SampleFormat::I32 => play::<i32>(&device, &range, consumer, pulse),
            _ => play::<i16>(&device, &range, consumer, pulse),
        }
        .map_err(system)?;
        stream.play().map_err(system)?;
        Ok((stream, ring, label))
    }

    fn is_there(&mut self, name: &str) -> bool {
        find(Kind::Loudspeaker, Some(name)).is_ok()
    }
}

fn refused(what: Kind, name: &str, source: cpal::Error) -> DeviceError {
    match source.kind() {
        cpal::ErrorKind::DeviceNotAvailable | cpal::ErrorKind::HostUnavailable => what.none(),
        _ => DeviceError::System { what, name: name.to_owned(), source },
    }
}

/// The configuration with 48 kHz and a known sample format that has the fewest channels.
fn choose(ranges: impl Iterator<Item = SupportedStreamConfigRange>) -> Option<SupportedStreamConfigRange> {
    ranges
        .filter(|range| (range.min_sample_rate()..=range.max_sample_rate()).contains(&SAMPLE_RATE))
        .filter(|range| matches!(range.sample_format(), SampleFormat::I16 | SampleFormat::I32 | SampleFormat::F32))
        .min_by_key(|range| (range.channels(), range.sample_format() != SampleFormat::I16))
}

fn config(range: &SupportedStreamConfigRange) -> StreamConfig {
    let buffer_size = match range.buffer_size() {
        cpal::SupportedBufferSize::Range { min, max } => BufferSize::Fixed(BUFFER.clamp(*min, (*max).max(*min))),
        cpal::SupportedBufferSize::Unknown => BufferSize::Default,
    };
    StreamConfig { channels: range.channels(), sample_rate: SAMPLE_RATE, buffer_size }
}

fn record<T>(
    device: &Device,
    range: &SupportedStreamConfigRange,
    mut ring: Producer<i16>,
    pulse: Pulse,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + Send + 'static,
    i16: FromSample<T>,
{
    let channels = usize::from(range.channels()).max(1);
    let errors = pulse.clone();
    device.build_input_stream::<T, _, _>(
        config(range),
        move |data, _| {
            for moment in data.chunks_exact(channels) {
                // The first channel: a microphone has the same on all of them. What finds no room is lost: nobody is listening.
                let _ = ring.push(moment[0].to_sample::<i16>());
            }
            pulse.moved(data.len() / channels);
        },
        move |error| note(&errors, Kind::Microphone, &error),
        None,
    )
}

fn play<T>(
    device: &Device,
    range: &SupportedStreamConfigRange,
    mut ring: Consumer<i16>,
    pulse: Pulse,
) -> Result<Stream, cpal::Error>
where
    T: SizedSample + FromSample<i16> + Send + 'static,
{
    let channels = usize::from(range.channels()).max(1);
    let errors = pulse.clone();
    device.build_output_stream::<T, _, _>(
        config(range),
        move |data, _| {
            for moment in data.chunks_exact_mut(channels) {
                moment.fill(T::from_sample(ring.pop().unwrap_or(0)));
            }
            pulse.moved(data.len() / channels);
        },
        move |error| note(&errors, Kind::Loudspeaker, &error),
        None,
    )
}

/// Passing troubles are noted; with others the device is given up.
fn note(pulse: &Pulse, what: Kind, error: &cpal::Error) {
    use cpal::ErrorKind::{DeviceChanged, RealtimeDenied, Xrun};
    match error.kind() {
        DeviceChanged | RealtimeDenied | Xrun => tracing::debug!(%error, %what, "sound device"),
        _ => {
            tracing::debug!(%error, %what, "sound device failed");
            pulse.lost();
        }
    }
}

//! Where sound comes from and where it goes: WAV files in real time, memory, or the machine's devices.
//!
//! Every end speaks frames of 20 ms, 48 kHz, mono, 16 bits. Files and memory follow the call's clock; devices have clocks of their own, and
//! say how far they have drifted.

pub mod device;
mod ends;
pub mod tone;
pub mod wav;

#[cfg(test)]
mod tests;

use crate::media::{Pcm, SILENCE};
use device::{DeviceClock, DeviceInput, DeviceOutput, Wanted};
pub use ends::{AudioEnds, Kept};
use std::sync::{Arc, Mutex};
use wav::{WavOutput, read_wav};

/// Sound could not be taken in or given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AudioError {
    /// A WAV file cannot be used.
    #[error(transparent)]
    Wav(#[from] wav::WavError),
    /// A sound device cannot be used.
    #[error(transparent)]
    Device(#[from] device::DeviceError),
}

/// What follows when a recorded input is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// Silence, until the call ends some other way.
    #[default]
    Silence,
    /// The recording again from its start.
    Repeat,
    /// The end of the call.
    HangUp,
}

/// Where sound comes from.
#[derive(Debug)]
pub enum Input {
    /// Recorded samples, read in real time.
    Recording {
        /// The samples.
        samples: Vec<i16>,
        /// What follows them.
        at_end: AtEnd,
        /// The sample that is next.
        at: usize,
    },
    /// A microphone.
    Device(DeviceInput),
}

impl Input {
    /// Nothing but silence.
    #[must_use]
    pub fn silence() -> Self {
        Self::recording(Vec::new(), AtEnd::Silence)
    }

    /// Samples of 48 kHz mono.
    #[must_use]
    pub fn recording(samples: Vec<i16>, at_end: AtEnd) -> Self {
        Self::Recording { samples, at_end, at: 0 }
    }

    /// A WAV file, which must be 48 kHz, mono, 16-bit PCM. It is read whole at once, so that a faulty one fails before the call.
    ///
    /// # Errors
    /// [`AudioError::Wav`] names what was found and how to convert it.
    pub fn wav(path: &std::path::Path, at_end: AtEnd) -> Result<Self, AudioError> {
        Ok(Self::recording(read_wav(path)?, at_end))
    }

    /// A microphone of the machine.
    ///
    /// # Errors
    /// [`AudioError::Device`] if there is none, or it cannot do 48 kHz.
    pub fn microphone(wanted: Wanted) -> Result<Self, AudioError> {
        Ok(Self::Device(DeviceInput::open(wanted)?))
    }

    /// The name of the device, if it is one.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        match self {
            Self::Device(device) => Some(device.name()),
            Self::Recording { .. } => None,
        }
    }

    /// How far the device's own clock has come, if it is one.
    #[must_use]
    pub fn clock(&self) -> Option<DeviceClock> {
        match self {
            Self::Device(device) => Some(device.clock()),
            Self::Recording { .. } => None,
        }
    }

    /// Starts the clock: what a device picked up before is dropped.
    pub(crate) fn start(&mut self) {
        match self {
            Self::Recording { at, .. } => *at = 0,
            Self::Device(device) => device.start(),
        }
    }

    /// Fills `pcm` with the next 20 ms. Returns false once the input is over and the call shall end.
    pub(crate) fn read(&mut self, pcm: &mut Pcm) -> bool {
        match self {
            Self::Recording { samples, at_end, at } => read_recording(samples, *at_end, at, pcm),
            Self::Device(device) => {
                device.read(pcm);
                true
            }
        }
    }
}

fn read_recording(samples: &[i16], at_end: AtEnd, at: &mut usize, pcm: &mut Pcm) -> bool {
    if *at >= samples.len() && at_end == AtEnd::HangUp {
        *pcm = SILENCE;
        return false;
    }
    for sample in pcm {
        if *at >= samples.len() && at_end == AtEnd::Repeat {
            *at = 0;
        }
        *sample = samples.get(*at).copied().unwrap_or(0);
        *at = at.saturating_add(1);
    }
    true
}

/// Where sound goes.
#[derive(Debug)]
pub enum Output {
    /// Nowhere.
    Discard,
    /// Into memory, for tests and measurements.
    Memory(Arc<Mutex<Vec<i16>>>),
    /// Into a WAV file.
    Wav(Box<WavOutput>),
    /// To a loudspeaker.
    Device(DeviceOutput),
}

impl Output {
    /// A WAV file of 48 kHz, mono, 16 bits. It appears under its name when the call is over.
    ///
    /// # Errors
    /// [`AudioError::Wav`] if it cannot be written.
    pub fn wav(path: &std::path::Path) -> Result<Self, AudioError> {
        Ok(Self::Wav(Box::new(WavOutput::create(path)?)))
    }

    /// A loudspeaker of the machine.
    ///
    /// # Errors
    /// [`AudioError::Device`] if there is none, or it cannot do 48 kHz.
    pub fn loudspeaker(wanted: Wanted) -> Result<Self, AudioError> {
        Ok(Self::Device(DeviceOutput::open(wanted)?))
    }

    /// The name of the device, if it is one.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        match self {
            Self::Device(device) => Some(device.name()),
            Self::Discard | Self::Memory(_) | Self::Wav(_) => None,
        }
    }

    /// How far the device's own clock has come, if it is one.
    #[must_use]
    pub fn clock(&self) -> Option<DeviceClock> {
        match self {
            Self::Device(device) => Some(device.clock()),
            Self::Discard | Self::Memory(_) | Self::Wav(_) => None,
        }
    }

    /// Gives out sound that follows what was given out before.
    pub(crate) fn write(&mut self, samples: &[i16]) -> Result<(), AudioError> {
        match self {
            Self::Discard => {}
            Self::Memory(memory) => {
                if let Ok(mut memory) = memory.lock() {
                    memory.extend_from_slice(samples);
                }
            }
            Self::Wav(wav) => wav.write(samples)?,
            Self::Device(device) => device.write(samples),
        }
        Ok(())
    }

    /// Samples by which playout should be moved because the device runs faster (negative) or slower than the clock.
    pub(crate) fn drift(&mut self) -> i64 {
        match self {
            Self::Device(device) => device.drift(),
            Self::Discard | Self::Memory(_) | Self::Wav(_) => 0,
        }
    }

    /// Completes the output.
    pub(crate) fn finish(self) -> Result<(), AudioError> {
        match self {
            Self::Wav(wav) => Ok(wav.finish()?),
            Self::Discard | Self::Memory(_) | Self::Device(_) => Ok(()),
        }
    }
}

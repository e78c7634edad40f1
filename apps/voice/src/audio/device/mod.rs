//! The machine's microphones and loudspeakers, through cpal.
//!
//! A device's callback runs on a thread of the sound system and must not wait, so it only moves samples through a ring buffer without
//! locks. Everything that may take long (looking for devices, opening, closing) happens on a thread of its own, the `keeper`: a device
//! that is pulled out in mid-call costs silence until there is another, never the rhythm of the call.
//!
//! Devices that cannot do 48 kHz are refused instead of resampled: every common one can.

use std::fmt;
use tokio::sync::mpsc;

mod ends;
mod keeper;
mod list;
mod stream;

#[cfg(test)]
mod tests;

pub use ends::{DeviceClock, DeviceInput, DeviceOutput};
pub use list::{DeviceInfo, devices};

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
    /// There is no device of that name.
    #[error("there is no {what} named \"{name}\": see what there is with: zmesh voice devices")]
    NoSuch {
        /// Microphone or loudspeaker.
        what: Kind,
        /// The name that was asked for.
        name: String,
    },
    /// The device cannot do what a call needs.
    #[error("the {what} \"{name}\" does not offer 48000 Hz: choose another (zmesh voice devices)")]
    Rate {
        /// Microphone or loudspeaker.
        what: Kind,
        /// The device.
        name: String,
    },
    /// The sound system refused.
    #[error("the {what} \"{name}\" cannot be used: {source}")]
    System {
        /// Microphone or loudspeaker.
        what: Kind,
        /// The device.
        name: String,
        /// What the sound system says.
        source: cpal::Error,
    },
    /// The operating system gave no thread for the device.
    #[error("the {what} cannot be used: {source}")]
    Thread {
        /// Microphone or loudspeaker.
        what: Kind,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Which end of a call a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Takes sound in.
    Microphone,
    /// Gives sound out.
    Loudspeaker,
}

impl Kind {
    fn none(self) -> DeviceError {
        match self {
            Self::Microphone => DeviceError::NoMicrophone,
            Self::Loudspeaker => DeviceError::NoLoudspeaker,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Microphone => "microphone",
            Self::Loudspeaker => "loudspeaker",
        })
    }
}

/// News about a device while it is in use. Its `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// This device is used from now on.
    Using {
        /// Microphone or loudspeaker.
        what: Kind,
        /// The device.
        name: String,
    },
    /// The device has gone. Another is looked for.
    Lost {
        /// Microphone or loudspeaker.
        what: Kind,
        /// The device.
        name: String,
    },
    /// There is none for the time being: silence, until there is.
    Waiting {
        /// Microphone or loudspeaker.
        what: Kind,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Using { what, name } => write!(f, "{what}: {name}"),
            Self::Lost { what, name } => write!(f, "the {what} \"{name}\" has gone; looking for another"),
            Self::Waiting { what: Kind::Microphone } => {
                f.write_str("no microphone: the others hear silence until one is connected")
            }
            Self::Waiting { what: Kind::Loudspeaker } => {
                f.write_str("no loudspeaker: you hear nothing until one is connected")
            }
        }
    }
}

/// Which device to use, and whom to tell about it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// A device's name or identifier as [`devices`] gives them, or an unmistakable part of the name. `None`: the system's default.
    pub name: Option<String>,
    /// Hears of changes. News for which there is no room are left out.
    pub notices: Option<mpsc::Sender<Notice>>,
}

impl Wanted {
    /// The system's default device, nobody to tell.
    #[must_use]
    pub fn default_device() -> Self {
        Self::default()
    }
}

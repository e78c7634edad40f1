//! Microphone, loudspeaker and files.

use zmesh_voice::audio::device::DeviceError;
use zmesh_voice::audio::wav::WavError;
use zmesh_voice::audio::{AtEnd, AudioError, Input, Output};
use zmesh_voice::runner::AudioEnds;

use super::Common;
use crate::failure::{Failure, Outcome};

/// Opens both before anything else happens, so that a wrong file is said at once.
pub(super) fn open(common: &Common) -> Outcome<AudioEnds> {
    let input = match &common.input {
        Some(path) => {
            let at_end = if common.seconds.is_some() { AtEnd::Repeat } else { AtEnd::HangUp };
            Input::wav(path, at_end)
        }
        None => Input::microphone(),
    };
    let input = input.map_err(|error| unusable(&error))?;
    let output = match &common.output {
        Some(path) => Output::wav(path),
        None => Output::loudspeaker(),
    };
    Ok(AudioEnds::new(input, output.map_err(|error| unusable(&error))?))
}

/// What went wrong with sound.
pub(super) fn unusable(error: &AudioError) -> Failure {
    match error {
        AudioError::Wav(error @ WavError::Write { .. }) => {
            Failure::failed("the sound cannot be recorded", error, "choose another place with --output")
        }
        AudioError::Wav(error) => Failure::misused("the input cannot be used", error, "give a WAV file of that format"),
        AudioError::Device(error) => device(error),
        error => Failure::failed("no sound", error, "use files: --input and --output"),
    }
}

fn device(error: &DeviceError) -> Failure {
    Failure::failed("a sound device cannot be used", error, "files work everywhere: --input and --output")
}

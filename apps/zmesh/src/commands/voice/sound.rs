//! Microphone, loudspeaker and files; what is done to the sound.

use std::path::PathBuf;

use clap::Args;
use tokio::sync::mpsc;
use zmesh_voice::audio::device::{DeviceError, Notice, Wanted};
use zmesh_voice::audio::wav::WavError;
use zmesh_voice::audio::{AtEnd, AudioEnds, AudioError, Input, Output};
use zmesh_voice::process::gate::TalkKey;
use zmesh_voice::process::{Settings, Talk};

use crate::failure::{Failure, Outcome};

/// News of devices that may wait to be shown.
const NOTICES: usize = 16;

/// Options about sound.
#[derive(Debug, Args)]
pub(crate) struct SoundArgs {
    /// Speak from a WAV file (48 kHz, mono, 16 bit) instead of the microphone; the call ends with it.
    #[arg(long, value_name = "WAV")]
    pub(super) input: Option<PathBuf>,
    /// Record what is heard to a WAV file instead of playing it.
    #[arg(long, value_name = "WAV")]
    pub(super) output: Option<PathBuf>,
    /// Use this microphone instead of the system's default: a name, or a part of one, of `zmesh voice devices`.
    #[arg(long, value_name = "NAME", conflicts_with = "input")]
    microphone: Option<String>,
    /// Use this loudspeaker instead of the system's default.
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    speaker: Option<String>,
    /// What is done to your voice: `all`, `none`, or some of `echo,noise,gain,voice`: take out the loudspeaker's echo, take out
    /// noise, bring the voice to one level, let it through only while you speak. `all` with a microphone, `none` with --input, unless
    /// said otherwise. What is sent looks the same from outside, whatever this says.
    #[arg(long, value_name = "WHAT", value_parser = parse_processing)]
    processing: Option<Processing>,
    /// Be heard only while switched on: the space bar switches. You begin switched off.
    #[arg(long)]
    push_to_talk: bool,
}

/// The stages that are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Processing {
    echo: bool,
    noise: bool,
    gain: bool,
    voice: bool,
}

impl Processing {
    const ALL: Processing = Processing { echo: true, noise: true, gain: true, voice: true };
    const NONE: Processing = Processing { echo: false, noise: false, gain: false, voice: false };
}

fn parse_processing(text: &str) -> Result<Processing, String> {
    match text {
        "all" => return Ok(Processing::ALL),
        "none" => return Ok(Processing::NONE),
        _ => {}
    }
    let mut processing = Processing::NONE;
    for word in text.split(',') {
        let stage = match word {
            "echo" => &mut processing.echo,
            "noise" => &mut processing.noise,
            "gain" => &mut processing.gain,
            "voice" => &mut processing.voice,
            _ => return Err("say all, none, or some of echo,noise,gain,voice with commas between".to_owned()),
        };
        *stage = true;
    }
    Ok(processing)
}

/// Sound that is open.
pub(super) struct Sound {
    pub(super) ends: AudioEnds,
    /// What is told about devices that come and go.
    pub(super) notices: mpsc::Receiver<Notice>,
    /// The key of push to talk.
    pub(super) key: Option<TalkKey>,
}

impl SoundArgs {
    /// Opens both ends before anything else happens, so that a wrong file is said at once.
    pub(super) fn open(&self, at_end: AtEnd) -> Outcome<Sound> {
        if let (Some(input), Some(output)) = (&self.input, &self.output)
            && std::fs::canonicalize(input)
                .is_ok_and(|input| std::fs::canonicalize(output).is_ok_and(|output| input == output))
        {
            return Err(Failure::misused(
                "the sound cannot be used",
                "--input and --output are one file",
                "give the recording another name",
            ));
        }
        let (sender, notices) = mpsc::channel(NOTICES);
        let wanted = |name: &Option<String>| Wanted { name: name.clone(), notices: Some(sender.clone()) };
        let input = match &self.input {
            Some(path) => Input::wav(path, at_end),
            None => Input::microphone(wanted(&self.microphone)),
        };
        let input = input.map_err(|error| unusable(&error))?;
        let output = match &self.output {
            Some(path) => Output::wav(path),
            None => Output::loudspeaker(wanted(&self.speaker)),
        };
        let output = output.map_err(|error| unusable(&error))?;
        let key = self.push_to_talk.then(TalkKey::new);
        let ends = AudioEnds::new(input, output).processed(self.settings(key.clone()));
        Ok(Sound { ends, notices, key })
    }

    fn settings(&self, key: Option<TalkKey>) -> Settings {
        let unsaid = if self.input.is_some() { Processing::NONE } else { Processing::ALL };
        let Processing { echo, noise, gain, voice } = self.processing.unwrap_or(unsaid);
        let talk = match key {
            Some(key) => Talk::Key(key),
            None if voice => Talk::Voice,
            None => Talk::Always,
        };
        Settings { echo, noise, gain, talk }
    }
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

pub(super) fn device(error: &DeviceError) -> Failure {
    Failure::failed("a sound device cannot be used", error, "files work everywhere: --input and --output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processing_is_all_none_or_a_list() {
        assert_eq!(parse_processing("all"), Ok(Processing::ALL));
        assert_eq!(parse_processing("none"), Ok(Processing::NONE));
        assert_eq!(parse_processing("noise,echo"), Ok(Processing { noise: true, echo: true, ..Processing::NONE }));
        assert_eq!(parse_processing("echo,noise,gain,voice"), Ok(Processing::ALL));
        for wrong in ["", "loud", "noise,", "all,noise", "Noise"] {
            assert!(parse_processing(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_microphone_is_processed_a_file_is_not_unless_that_is_said() {
        let none = || SoundArgs {
            input: None,
            output: None,
            microphone: None,
            speaker: None,
            processing: None,
            push_to_talk: false,
        };
        let on = none().settings(None);
        assert!(on.echo && on.noise && on.gain && matches!(on.talk, Talk::Voice));
        let file = SoundArgs { input: Some("a.wav".into()), ..none() };
        assert!(file.settings(None).is_nothing());
        let said = SoundArgs { processing: Some(Processing { noise: true, ..Processing::NONE }), ..file };
        assert!(said.settings(None).noise && !said.settings(None).gain);
        assert!(
            matches!(none().settings(Some(TalkKey::new())).talk, Talk::Key(_)),
            "the key goes before voice activity"
        );
    }
}

//! What is done to a microphone's sound before it is encoded, sans-IO: no clock, no thread, no device.
//!
//! Microphone → [`echo`] takes out what the loudspeaker played → [`noise`] takes out what is no voice → [`activity`] says whether somebody
//! speaks → [`gain`] brings the voice to one level → [`gate`] lets it through or holds it back → encoder.
//!
//! [`Processor`] holds them all. [`Processor::capture`] takes each frame of the microphone and changes it in place;
//! [`Processor::rendered`] must see everything that goes to the loudspeaker, in order. Time is counted in samples.
//!
//! Nothing here changes when or how much is sent: a frame that the gate holds back is still a frame, encoded and sent like any other
//! (`specs/10-sound.md`). No stage is skipped because of what was heard, so that computing takes equally long in speech and in pauses.

use crate::media::level::Meter;
use crate::media::{Pcm, to_sample};

pub mod activity;
pub mod echo;
pub mod gain;
pub mod gate;
mod guard;
pub mod noise;

#[cfg(test)]
mod tests;

use activity::Activity;
use echo::EchoCanceller;
use gain::GainControl;
use gate::{Gate, TalkKey};
use guard::Guarded;
use noise::NoiseSuppressor;

/// Samples in 10 ms, the step of every stage.
pub const STEP: usize = 480;

/// When the microphone is let through.
#[derive(Clone, Debug, Default)]
pub enum Talk {
    /// Always.
    Always,
    /// While a voice is heard; the threshold follows the noise around it.
    #[default]
    Voice,
    /// While the key is on.
    Key(TalkKey),
}

/// What is done to the sound of a microphone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Take out what the loudspeaker played.
    pub echo: bool,
    /// Take out noise.
    pub noise: bool,
    /// Bring voices to one level.
    pub gain: bool,
    /// When the microphone is let through.
    pub talk: Talk,
}

impl Default for Settings {
    /// Everything, with voice activity.
    fn default() -> Self {
        Self { echo: true, noise: true, gain: true, talk: Talk::Voice }
    }
}

impl Settings {
    /// Nothing: sound passes as it is.
    #[must_use]
    pub fn nothing() -> Self {
        Self { echo: false, noise: false, gain: false, talk: Talk::Always }
    }

    /// Whether sound passes as it is.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        !self.echo && !self.noise && !self.gain && matches!(self.talk, Talk::Always)
    }
}

/// What was found out about a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Captured {
    /// Whether somebody speaks.
    pub voice: bool,
    /// Whether the frame was let through.
    pub open: bool,
    /// Level of what came from the microphone, dBFS.
    pub level_dbfs: f32,
    /// The noise around the voice as estimated after noise suppression, dBFS.
    pub floor_dbfs: f32,
}

/// All stages of one microphone.
#[derive(Debug)]
pub struct Processor {
    settings: Settings,
    echo: Guarded<EchoCanceller>,
    noise: Guarded<NoiseSuppressor>,
    activity: Guarded<Activity>,
    gain: Guarded<GainControl>,
    gate: Gate,
    sound: Box<[f32; 2 * STEP]>,
}

impl Processor {
    /// A processor that has heard nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            echo: Guarded::new("echo cancellation", settings.echo, EchoCanceller::new),
            noise: Guarded::new("noise suppression", settings.noise, NoiseSuppressor::new),
            activity: Guarded::new("voice activity", !settings.is_nothing(), Activity::new),
            gain: Guarded::new("gain control", settings.gain, GainControl::new),
            gate: Gate::new(),
            sound: Box::new([0.0; 2 * STEP]),
            settings,
        }
    }

    /// Processes the next 20 ms of the microphone in place.
    pub fn capture(&mut self, frame: &mut Pcm) -> Captured {
        let mut meter = Meter::new();
        meter.listen(frame);
        let level_dbfs = meter.dbfs();
        if self.settings.is_nothing() {
            return Captured { voice: true, open: true, level_dbfs, floor_dbfs: crate::media::level::FLOOR_DBFS };
        }
        let sound = &mut self.sound[..];
        for (value, sample) in sound.iter_mut().zip(frame.iter()) {
            *value = f32::from(*sample);
        }
        for step in sound.chunks_exact_mut(STEP) {
            self.echo.run(|echo| echo.capture(step));
            self.noise.run(|noise| noise.process(step));
        }
        // A detector that failed for good lets everything through.
        let found = self.activity.run(|activity| activity.hear(sound)).unwrap_or_default();
        for step in sound.chunks_exact_mut(STEP) {
            self.gain.run(|gain| gain.process(step));
        }
        let open = match &self.settings.talk {
            Talk::Always => true,
            Talk::Voice => found.voice,
            Talk::Key(key) => key.is_on(),
        };
        // Who holds the key back says that nothing may be heard; who merely pauses may leave a trace of the room.
        self.gate.apply(open, matches!(self.settings.talk, Talk::Key(_)), sound);
        for (sample, value) in frame.iter_mut().zip(sound.iter()) {
            *sample = to_sample(*value);
        }
        Captured { voice: found.voice, open, level_dbfs, floor_dbfs: found.floor_dbfs }
    }

    /// Hears what goes to the loudspeaker, any number of samples.
    pub fn rendered(&mut self, samples: &[i16]) {
        self.echo.run(|echo| echo.rendered(samples));
    }

    /// How long sound is held back by the stages that are on, in samples.
    #[must_use]
    pub fn delay(&self) -> usize {
        let echo = if self.settings.echo { echo::DELAY } else { 0 };
        let noise = if self.settings.noise { noise::DELAY } else { 0 };
        echo + noise
    }
}

//! The two ends of a call's sound, with what is done to it in between.

use super::{AtEnd, AudioError, Input, Output};
use crate::media::level::{Gain, Meter};
use crate::media::{Pcm, SAMPLE_RATE, duration_of};
use crate::process::{Processor, Settings};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most that is kept for measurement of either end: ten minutes.
const KEPT_MOST: usize = 600 * SAMPLE_RATE as usize;

type Shared<T> = Arc<Mutex<T>>;

/// Where sound comes from and goes to.
#[derive(Debug)]
pub struct AudioEnds {
    /// The mouth.
    pub input: Input,
    /// The ear.
    pub output: Output,
    /// Applied to the input, before everything else.
    pub gain: Gain,
    /// What is done to the input's sound.
    capture: Option<Shared<Processor>>,
    /// The same processor, which hears what is given out.
    render: Option<Shared<Processor>>,
    kept_input: Option<(Shared<Vec<i16>>, Shared<Meter>)>,
    kept_output: Option<Shared<Vec<i16>>>,
}

/// What passed the two ends, for measurement.
#[derive(Clone, Debug)]
pub struct Kept {
    input: Shared<Vec<i16>>,
    output: Shared<Vec<i16>>,
    level: Shared<Meter>,
    delay: Duration,
}

impl Kept {
    /// What came in, after it was processed, and what went out.
    ///
    /// After it, because noise suppression and echo cancellation turn phases: what comes out no longer fits what went in, sample by sample.
    #[must_use]
    pub fn take(&self) -> (Vec<i16>, Vec<i16>) {
        (std::mem::take(&mut *lock(&self.input)), std::mem::take(&mut *lock(&self.output)))
    }

    /// The level of what came in, before it was processed, in dBFS.
    #[must_use]
    pub fn level_dbfs(&self) -> f32 {
        lock(&self.level).dbfs()
    }

    /// For how long processing held back what came in: to be added to delays that are measured from [`Kept::take`].
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

impl AudioEnds {
    /// These two, the sound as it is.
    #[must_use]
    pub fn new(input: Input, output: Output) -> Self {
        Self { input, output, gain: Gain::new(0.0), capture: None, render: None, kept_input: None, kept_output: None }
    }

    /// The same, with the input's sound processed.
    #[must_use]
    pub fn processed(mut self, settings: Settings) -> Self {
        self.capture = (!settings.is_nothing()).then(|| Arc::new(Mutex::new(Processor::new(settings))));
        self.render.clone_from(&self.capture);
        self
    }

    /// Two pairs of ends for somebody who talks to himself: one has the mouth and hears nothing, the other says nothing and has the ear.
    /// What the ear hears stays the reference of the mouth's echo canceller, and both are kept for measurement, ten minutes at most.
    #[must_use]
    pub fn apart(self) -> (Self, Self, Kept) {
        let delay = self.capture.as_ref().map_or(0, |processor| lock(processor).delay());
        let kept = Kept {
            input: Shared::default(),
            output: Shared::default(),
            level: Shared::default(),
            delay: duration_of(delay as u64),
        };
        let mouth = Self {
            input: self.input,
            gain: self.gain,
            capture: self.capture,
            kept_input: Some((Arc::clone(&kept.input), Arc::clone(&kept.level))),
            ..Self::new(Input::silence(), Output::Discard)
        };
        let ear = Self {
            output: self.output,
            render: self.render,
            kept_output: Some(Arc::clone(&kept.output)),
            ..Self::new(Input::recording(Vec::new(), AtEnd::Silence), Output::Discard)
        };
        (mouth, ear, kept)
    }

    /// Starts the clock: what a device picked up before is dropped.
    pub(crate) fn start(&mut self) {
        self.input.start();
    }

    /// Fills `pcm` with the next 20 ms of the input. Returns false once the input is over and the call shall end.
    pub(crate) fn read(&mut self, pcm: &mut Pcm) -> bool {
        let goes_on = self.input.read(pcm);
        self.gain.apply(pcm);
        if let Some((_, level)) = &self.kept_input {
            lock(level).listen(pcm);
        }
        if let Some(processor) = &self.capture {
            lock(processor).capture(pcm);
        }
        keep(self.kept_input.as_ref().map(|(kept, _)| kept), pcm);
        goes_on
    }

    /// Gives out sound that follows what was given out before. It is the reference of the echo canceller as well.
    pub(crate) fn write(&mut self, samples: &[i16]) -> Result<(), AudioError> {
        keep(self.kept_output.as_ref(), samples);
        if let Some(processor) = &self.render {
            lock(processor).rendered(samples);
        }
        self.output.write(samples)
    }
}

/// Both holders are turns of one call: nobody waits here for longer than a frame's processing takes.
fn lock<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(kept: Option<&Shared<Vec<i16>>>, samples: &[i16]) {
    if let Some(kept) = kept {
        let mut kept = lock(kept);
        let room = KEPT_MOST.saturating_sub(kept.len()).min(samples.len());
        kept.extend_from_slice(&samples[..room]);
    }
}

//! The two ends of a call's sound, with what is done to it in between.

use super::{AudioError, Input, Output};
use crate::media::Pcm;
use crate::media::level::Gain;
use crate::process::{Processor, Settings};

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
    processor: Option<Box<Processor>>,
}

impl AudioEnds {
    /// These two, the sound as it is.
    #[must_use]
    pub fn new(input: Input, output: Output) -> Self {
        Self { input, output, gain: Gain::new(0.0), processor: None }
    }

    /// The same, with the input's sound processed.
    #[must_use]
    pub fn processed(mut self, settings: Settings) -> Self {
        self.processor = (!settings.is_nothing()).then(|| Box::new(Processor::new(settings)));
        self
    }

    /// Starts the clock: what a device picked up before is dropped.
    pub(crate) fn start(&mut self) {
        self.input.start();
    }

    /// Fills `pcm` with the next 20 ms of the input. Returns false once the input is over and the call shall end.
    pub(crate) fn read(&mut self, pcm: &mut Pcm) -> bool {
        let goes_on = self.input.read(pcm);
        self.gain.apply(pcm);
        if let Some(processor) = &mut self.processor {
            processor.capture(pcm);
        }
        goes_on
    }

    /// Gives out sound that follows what was given out before. It is the reference of the echo canceller as well.
    pub(crate) fn write(&mut self, samples: &[i16]) -> Result<(), AudioError> {
        if let Some(processor) = &mut self.processor {
            processor.rendered(samples);
        }
        self.output.write(samples)
    }
}

//! Opus, wrapped so that nothing else in the crate sees the binding.
//!
//! Frames are 20 ms, mono, 48 kHz, at a hard constant bit rate: every frame has [`OPUS_LEN`] bytes, speech or silence, because lengths
//! that follow the voice leak what is said. Discontinuous transmission is off for the same reason. Opus' own in-band redundancy is off as
//! well: each message carries whole copies of earlier frames, which repair more and are exact (decision 0060).

use super::{FRAME_SAMPLES, Pcm};
use opusic_c::{Application, Bitrate, Channels, InbandFec, SampleRate, Signal};
use std::fmt;
use std::time::Duration;

/// Bytes of one Opus frame: 42.8 kbit/s.
pub const OPUS_LEN: usize = 107;
/// Bits per second that [`OPUS_LEN`] comes to.
pub const BIT_RATE: u32 = 42_800;
/// The computing effort that Opus may spend, 0 to 10.
const COMPLEXITY: u8 = 7;
/// The share of lost frames, in percent, that the encoder prepares for: it leans less on earlier frames, so that a gap heals faster.
const EXPECTED_LOSS_PERCENT: u8 = 5;

/// One encoded frame.
pub type OpusFrame = [u8; OPUS_LEN];

/// What Opus refused to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The encoder or decoder could not be set up.
    #[error("Opus could not be set up: {0}")]
    Setup(&'static str),
    /// A frame could not be encoded.
    #[error("Opus could not encode a frame: {0}")]
    Encode(&'static str),
    /// A frame came out with another length than the constant one.
    #[error("Opus made a frame of {0} bytes instead of {OPUS_LEN}")]
    Length(usize),
    /// The bytes are not an Opus frame of 20 ms mono.
    #[error("not an Opus frame of 20 ms")]
    Damaged,
}

fn setup(code: opusic_c::ErrorCode) -> CodecError {
    CodecError::Setup(code.message())
}

/// Turns frames of PCM into Opus frames of constant length.
pub struct Encoder {
    inner: opusic_c::Encoder,
    scratch: Box<[u16; FRAME_SAMPLES]>,
}

impl Encoder {
    /// A fresh encoder.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus refuses, for want of memory.
    pub fn new() -> Result<Self, CodecError> {
        let mut inner =
            opusic_c::Encoder::new(Channels::Mono, SampleRate::Hz48000, Application::Voip).map_err(setup)?;
        inner.set_bitrate(Bitrate::Value(BIT_RATE)).map_err(setup)?;
        inner.set_vbr(false).map_err(setup)?;
        inner.set_dtx(false).map_err(setup)?;
        inner.set_signal(Signal::Voice).map_err(setup)?;
        inner.set_complexity(COMPLEXITY).map_err(setup)?;
        inner.set_inband_fec(InbandFec::Off).map_err(setup)?;
        inner.set_packet_loss(EXPECTED_LOSS_PERCENT).map_err(setup)?;
        Ok(Self { inner, scratch: Box::new([0; FRAME_SAMPLES]) })
    }

    /// Encodes 20 ms.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if Opus fails, [`CodecError::Length`] if the frame is not of the constant length (it never goes out then).
    pub fn encode(&mut self, pcm: &Pcm) -> Result<OpusFrame, CodecError> {
        for (raw, sample) in self.scratch.iter_mut().zip(pcm) {
            *raw = sample.cast_unsigned();
        }
        let mut frame = [0; OPUS_LEN];
        let length = self
            .inner
            .encode_to_slice(&self.scratch[..], &mut frame)
            .map_err(|code| CodecError::Encode(code.message()))?;
        if length == OPUS_LEN { Ok(frame) } else { Err(CodecError::Length(length)) }
    }

    /// The sound that the encoder holds back to look ahead: this much delay is inside the codec.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus does not say.
    pub fn look_ahead(&mut self) -> Result<Duration, CodecError> {
        self.inner.get_look_ahead().map(|samples| super::duration_of(u64::from(samples))).map_err(setup)
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Turns Opus frames back into PCM and makes up what is missing.
pub struct Decoder {
    inner: opusic_c::Decoder,
    scratch: Box<[u16; FRAME_SAMPLES]>,
}

impl Decoder {
    /// A fresh decoder.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus refuses, for want of memory.
    pub fn new() -> Result<Self, CodecError> {
        let inner = opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000).map_err(setup)?;
        Ok(Self { inner, scratch: Box::new([0; FRAME_SAMPLES]) })
    }

    /// Decodes one frame into `pcm`.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] if the bytes are not 20 ms of Opus; `pcm` is left as it was.
    pub fn decode(&mut self, frame: &OpusFrame, pcm: &mut Pcm) -> Result<(), CodecError> {
        self.run(frame, pcm)
    }

    /// Fills `pcm` with 20 ms that continue what was heard last (Opus' packet loss concealment). It fades out when repeated.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] if Opus fails; `pcm` is left as it was.
    pub fn conceal(&mut self, pcm: &mut Pcm) -> Result<(), CodecError> {
        self.run(&[], pcm)
    }

    fn run(&mut self, input: &[u8], pcm: &mut Pcm) -> Result<(), CodecError> {
        match self.inner.decode_to_slice(input, &mut self.scratch[..], false) {
            Ok(FRAME_SAMPLES) => {}
            Ok(_) | Err(_) => return Err(CodecError::Damaged),
        }
        for (sample, raw) in pcm.iter_mut().zip(self.scratch.iter()) {
            *sample = raw.cast_signed();
        }
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

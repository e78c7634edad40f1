//! Opus, wrapped so that nothing else in the crate sees the binding.
//!
//! Frames are 20 ms, mono, 48 kHz. Every packet that the encoder makes has exactly the bytes that it was given, speech or silence; discontinuous
//! transmission is off, and so is Opus' own in-band redundancy, which spends more than a copy for less (decision 0060). What a packet's
//! bytes hold may shift between the frame itself and DRED, a coarse description of the last fraction of a second; nobody sees that from
//! outside, because messages are of constant length and sealed (decision 0110).

use super::{FRAME_SAMPLES, Pcm};
use opusic_c::dred::{DRED_PACKET_SIZE, Dred, dred_packet_size};
use opusic_c::{Application, Bitrate, Channels, InbandFec, SampleRate, Signal};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the smallest packet that is made: 24 kbit/s.
pub const PACKET_MIN: usize = 60;
/// Bytes of the largest: 128 kbit/s.
pub const PACKET_MAX: usize = 320;
/// Frames that DRED can fill at once: Opus makes up at most 120 ms in one go.
pub const DRED_REACH: u32 = 6;
/// The computing effort that the encoder may spend, 0 to 10.
const COMPLEXITY: u8 = 7;
/// The effort of the decoder. From 5 on it would conceal every gap by a neural network, which costs a burst of computing; DRED works without.
const DECODER_COMPLEXITY: u8 = 5;
/// The extension of an Opus packet that holds DRED, and what its bytes begin with (libopus 1.6, `dnn/dred_config.h`).
const DRED_EXTENSION: u8 = 126;

/// What fills up padding before its extensions.
const FILLER: u8 = 1;

/// One encoded frame. Copies share the bytes.
pub type OpusFrame = Arc<[u8]>;

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
    /// A frame came out with another length than it was to have.
    #[error("Opus made a frame of {0} bytes instead of {1}")]
    Length(usize, usize),
    /// The bytes are not an Opus frame of 20 ms mono.
    #[error("not an Opus frame of 20 ms")]
    Damaged,
}

fn setup(code: opusic_c::ErrorCode) -> CodecError {
    CodecError::Setup(code.message())
}

/// What a packet is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of the packet, [`PACKET_MIN`] to [`PACKET_MAX`]; clamped.
    pub bytes: usize,
    /// How much of the past DRED describes, in units of 10 ms; 0 for none. 26 latents of 40 ms is the most that Opus makes.
    pub dred: u8,
    /// The share of lost frames in percent that the encoder prepares for: it leans less on earlier frames and gives DRED more.
    pub loss_percent: u8,
}

/// One frame as it came from the encoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The whole packet, with DRED if there is any.
    pub packet: OpusFrame,
    /// The frame alone: what is worth a copy.
    pub frame: OpusFrame,
}

/// Turns frames of PCM into Opus packets of a given length.
pub struct Encoder {
    inner: opusic_c::Encoder,
    shape: Option<Shape>,
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
        inner.set_vbr(false).map_err(setup)?;
        inner.set_dtx(false).map_err(setup)?;
        inner.set_signal(Signal::Voice).map_err(setup)?;
        inner.set_complexity(COMPLEXITY).map_err(setup)?;
        inner.set_inband_fec(InbandFec::Off).map_err(setup)?;
        Ok(Self { inner, shape: None, scratch: Box::new([0; FRAME_SAMPLES]) })
    }

    /// Sets the computing effort, 0 to 10.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus refuses.
    pub fn set_complexity(&mut self, complexity: u8) -> Result<(), CodecError> {
        self.inner.set_complexity(complexity.min(10)).map_err(setup)
    }

    fn take_shape(&mut self, shape: Shape) -> Result<(), CodecError> {
        if self.shape == Some(shape) {
            return Ok(());
        }
        let bits = u32::try_from(shape.bytes * 8 * 50).unwrap_or(u32::MAX);
        self.inner.set_bitrate(Bitrate::Value(bits)).map_err(setup)?;
        self.inner.set_packet_loss(shape.loss_percent.min(100)).map_err(setup)?;
        if self.shape.is_none_or(|before| before.dred != shape.dred) {
            self.inner.set_dred_duration(shape.dred.min(104)).map_err(setup)?;
        }
        self.shape = Some(shape);
        Ok(())
    }

    /// Encodes 20 ms.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if Opus fails, [`CodecError::Length`] if the packet is not of the length that was asked for (it never goes
    /// out then).
    pub fn encode(&mut self, pcm: &Pcm, shape: Shape) -> Result<Encoded, CodecError> {
        let bytes = shape.bytes.clamp(PACKET_MIN, PACKET_MAX);
        self.take_shape(Shape { bytes, ..shape })?;
        for (raw, sample) in self.scratch.iter_mut().zip(pcm) {
            *raw = sample.cast_unsigned();
        }
        let mut packet = [0; PACKET_MAX];
        let packet = &mut packet[..bytes];
        let length =
            self.inner.encode_to_slice(&self.scratch[..], packet).map_err(|code| CodecError::Encode(code.message()))?;
        if length != bytes {
            return Err(CodecError::Length(length, bytes));
        }
        let whole = OpusFrame::from(&*packet);
        let frame = if has_dred(packet) {
            let kept =
                opusic_c::repacketizer::unpad_packet(packet).map_err(|code| CodecError::Encode(code.message()))?;
            OpusFrame::from(&packet[..kept])
        } else {
            Arc::clone(&whole)
        };
        Ok(Encoded { packet: whole, frame })
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

/// Whether a packet claims to carry DRED: one frame, padded, the extension first in the padding (RFC 6716, section 3.2.5; the
/// extension format of libopus 1.6). What the claim is worth only the decoder finds out.
#[must_use]
pub fn has_dred(packet: &[u8]) -> bool {
    let Some((head, mut rest)) = packet.split_at_checked(2) else { return false };
    // Code 3 (an arbitrary number of frames), one frame of constant rate, padding present.
    if head[0] & 0b11 != 3 || head[1] != 0b0100_0001 {
        return false;
    }
    let mut padding = 0;
    loop {
        let Some((&byte, tail)) = rest.split_first() else { return false };
        rest = tail;
        padding += usize::from(byte.min(254));
        if byte != 255 {
            break;
        }
    }
    let Some(start) = rest.len().checked_sub(padding) else { return false };
    rest[start..].iter().find(|byte| **byte != FILLER).is_some_and(|byte| byte >> 1 == DRED_EXTENSION)
}

/// Turns Opus frames back into PCM and makes up what is missing.
pub struct Decoder {
    inner: Dred,
    scratch: Vec<u16>,
}

impl Decoder {
    /// A fresh decoder.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus refuses, for want of memory.
    pub fn new() -> Result<Self, CodecError> {
        // The binding reserves a constant for what Opus writes there; a library that writes more must not be used.
        if dred_packet_size() > DRED_PACKET_SIZE {
            return Err(CodecError::Setup("DRED of this libopus does not fit its binding"));
        }
        let decoder = opusic_c::Decoder::new(Channels::Mono, SampleRate::Hz48000).map_err(setup)?;
        let mut inner = Dred::new(decoder).map_err(setup)?;
        inner.decoder_mut().set_complexity(DECODER_COMPLEXITY).map_err(setup)?;
        Ok(Self { inner, scratch: vec![0; FRAME_SAMPLES] })
    }

    /// Sets the computing effort, 0 to 10; from 5 on gaps are concealed by a neural network.
    ///
    /// # Errors
    /// [`CodecError::Setup`] if Opus refuses.
    pub fn set_complexity(&mut self, complexity: u8) -> Result<(), CodecError> {
        self.inner.decoder_mut().set_complexity(complexity.min(10)).map_err(setup)
    }

    /// Decodes one frame into `pcm`.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] if the bytes are not 20 ms of Opus; `pcm` is left as it was.
    pub fn decode(&mut self, frame: &[u8], pcm: &mut Pcm) -> Result<(), CodecError> {
        if frame.is_empty() {
            return Err(CodecError::Damaged);
        }
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
        self.scratch.resize(FRAME_SAMPLES, 0);
        match self.inner.decoder_mut().decode_to_slice(input, &mut self.scratch, false) {
            Ok(FRAME_SAMPLES) => {}
            Ok(_) | Err(_) => return Err(CodecError::Damaged),
        }
        for (sample, raw) in pcm.iter_mut().zip(&self.scratch) {
            *sample = raw.cast_signed();
        }
        Ok(())
    }

    /// Appends `take` frames to `out` that continue what was heard last, after the description in `packet` (DRED), which lies `distance`
    /// frames after the first of them. Where the description does not reach it is plain concealment.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] if Opus fails or the numbers are out of range (1 ≤ `take` ≤ `distance` ≤ [`DRED_REACH`]); `out` is left as it
    /// was.
    pub fn recover(&mut self, packet: &[u8], distance: u32, take: u32, out: &mut Vec<i16>) -> Result<(), CodecError> {
        if !(1..=distance).contains(&take) || distance > DRED_REACH {
            return Err(CodecError::Damaged);
        }
        // The binding decodes what lies right before the packet, as long as the output: so the rest of a longer gap is made as well.
        let [length, kept] = [distance, take].map(|frames| frames as usize * FRAME_SAMPLES);
        self.scratch.resize(length, 0);
        match self.inner.decode_to_slice(packet, &mut self.scratch) {
            Ok(made) if made == length => {}
            Ok(_) | Err(_) => return Err(CodecError::Damaged),
        }
        out.extend(self.scratch[..kept].iter().map(|raw| raw.cast_signed()));
        Ok(())
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

//! WAV files: 48 kHz, mono, 16-bit PCM, and nothing else.

use crate::media::SAMPLE_RATE;
use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};

/// A recording longer than this is refused: 2 hours.
const MAX_SAMPLES: u32 = 2 * 3_600 * SAMPLE_RATE;
/// Samples between two updates of the header: one second.
const FLUSH_EVERY: u32 = SAMPLE_RATE;

/// A WAV file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not a WAV file, or a damaged one.
    #[error("{path} is not a usable WAV file ({detail}); convert it with: sox {path} -r 48000 -c 1 -b 16 call.wav")]
    NotWav {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A WAV file of another format.
    #[error(
        "{path} is {found}; a call needs 48000 Hz, mono, 16-bit PCM: convert it with: sox {path} -r 48000 -c 1 -b 16 call.wav"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The format found.
        found: Format,
    },
    /// There is no sound in the file.
    #[error("{path} holds no sound")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More sound than a call can use.
    #[error("{path} is longer than two hours")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {path}: {detail}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
}

/// The format of a WAV file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Samples per second.
    pub rate: u32,
    /// Channels.
    pub channels: u16,
    /// Bits per sample.
    pub bits: u16,
    /// Whether samples are floating-point numbers.
    pub float: bool,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.float { "float" } else { "PCM" };
        match self.channels {
            1 => write!(f, "{} Hz, mono, {}-bit {kind}", self.rate, self.bits),
            2 => write!(f, "{} Hz, stereo, {}-bit {kind}", self.rate, self.bits),
            more => write!(f, "{} Hz, {more} channels, {}-bit {kind}", self.rate, self.bits),
        }
    }
}

const SPEC: WavSpec =
    WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };

/// Reads a whole file.
///
/// # Errors
/// [`WavError`] unless it is 48 kHz, mono, 16-bit PCM with some sound in it.
pub fn read_wav(path: &Path) -> Result<Vec<i16>, WavError> {
    let file = File::open(path).map_err(|source| WavError::Read { path: path.into(), source })?;
    decode_wav(io::BufReader::new(file), path)
}

/// Reads WAV data; `name` stands for it in errors.
///
/// # Errors
/// As [`read_wav`].
pub fn decode_wav(data: impl Read, name: &Path) -> Result<Vec<i16>, WavError> {
    let damaged = |error: hound::Error| match error {
        hound::Error::IoError(source)
            if source.kind() != io::ErrorKind::UnexpectedEof && source.kind() != io::ErrorKind::Other =>
        {
            WavError::Read { path: name.into(), source }
        }
        other => WavError::NotWav { path: name.into(), detail: other.to_string() },
    };
    let reader = WavReader::new(data).map_err(damaged)?;
    let spec = reader.spec();
    if spec != SPEC {
        let found = Format {
            rate: spec.sample_rate,
            channels: spec.channels,
            bits: spec.bits_per_sample,
            float: spec.sample_format == SampleFormat::Float,
        };
        return Err(WavError::Format { path: name.into(), found });
    }
    if reader.duration() == 0 {
        return Err(WavError::Empty { path: name.into() });
    }
    if reader.duration() > MAX_SAMPLES {
        return Err(WavError::TooLong { path: name.into() });
    }
    reader.into_samples::<i16>().collect::<Result<_, _>>().map_err(damaged)
}

/// A WAV file being written.
///
/// It grows under its name with `.part` added and takes its name when [`WavOutput::finish`]ed or dropped, so that whatever stands under the
/// name is whole. The header is brought up to date every second: even the `.part` of a program that was killed can be played.
#[derive(Debug)]
pub struct WavOutput {
    path: PathBuf,
    part: PathBuf,
    writer: Option<Writer>,
    unflushed: u32,
}

struct Writer(WavWriter<BufWriter<File>>);

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl WavOutput {
    /// Starts a file that will stand at `path`.
    ///
    /// # Errors
    /// [`WavError::Write`] if `path` is a directory or the place cannot be written to.
    pub fn create(path: &Path) -> Result<Self, WavError> {
        let refuse = |detail: String| WavError::Write { path: path.into(), detail };
        if path.is_dir() {
            return Err(refuse("it is a directory".into()));
        }
        // A recording may be made anew; whatever else has that name was not meant.
        if path.exists() && !begins_as_wav(path) {
            return Err(refuse("another file has that name, and it is no recording".into()));
        }
        let name = path.file_name().ok_or_else(|| refuse("it has no file name".into()))?;
        let mut part_name = name.to_os_string();
        part_name.push(".part");
        let part = path.with_file_name(part_name);
        let file = File::create(&part).map_err(|error| refuse(error.to_string()))?;
        let mut output = Self { path: path.into(), part, writer: None, unflushed: 0 };
        match start(file) {
            Ok(writer) => output.writer = Some(Writer(writer)),
            Err(error) => {
                let _ = fs::remove_file(&output.part);
                return Err(refuse(error.to_string()));
            }
        }
        Ok(output)
    }

    /// Appends samples.
    ///
    /// # Errors
    /// [`WavError::Write`] if the disk refuses.
    pub fn write(&mut self, samples: &[i16]) -> Result<(), WavError> {
        let Some(Writer(writer)) = &mut self.writer else { return Ok(()) };
        self.unflushed = self.unflushed.saturating_add(u32::try_from(samples.len()).unwrap_or(u32::MAX));
        let flush = self.unflushed >= FLUSH_EVERY;
        let mut append = || {
            for sample in samples {
                writer.write_sample(*sample)?;
            }
            if flush { writer.flush() } else { Ok(()) }
        };
        append().map_err(|error| WavError::Write { path: self.path.clone(), detail: error.to_string() })?;
        if flush {
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`WavError::Write`] if the disk refuses.
    pub fn finish(mut self) -> Result<(), WavError> {
        self.complete()
    }

    fn complete(&mut self) -> Result<(), WavError> {
        let Some(Writer(writer)) = self.writer.take() else { return Ok(()) };
        let refuse = |detail: String| WavError::Write { path: self.path.clone(), detail };
        let empty = writer.duration() == 0;
        writer.finalize().map_err(|error| refuse(error.to_string()))?;
        if empty {
            return fs::remove_file(&self.part).map_err(|error| refuse(error.to_string()));
        }
        fs::rename(&self.part, &self.path).map_err(|error| refuse(error.to_string()))
    }
}

impl Drop for WavOutput {
    /// Keeps what was recorded; nothing at all leaves no file.
    fn drop(&mut self) {
        if let Err(error) = self.complete() {
            tracing::warn!(%error, "a recording was not completed");
        }
    }
}

fn start(file: File) -> Result<WavWriter<BufWriter<File>>, hound::Error> {
    let mut writer = WavWriter::new(BufWriter::new(file), SPEC)?;
    writer.flush()?;
    Ok(writer)
}

/// Writes a whole WAV file, for tests and tools.
///
/// # Errors
/// [`WavError::Write`] if it cannot be written.
pub fn write_wav(path: &Path, samples: &[i16]) -> Result<(), WavError> {
    let mut output = WavOutput::create(path)?;
    output.write(samples)?;
    output.finish()
}

/// Whether a file begins as WAV files do. An empty one holds nothing that could be lost.
fn begins_as_wav(path: &Path) -> bool {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut begin));
    read.is_ok() && (begin.is_empty() || begin == b"RIFF")
}

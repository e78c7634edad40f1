//! Listening scores: stretches of what was said and heard are written as WAV files, and a script of the repository judges them.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zmesh_voice::audio::wav::{WavError, write_wav};
use zmesh_voice::measure::{Track, mouth_to_ear};

use super::end::Tape;
use super::run::samples_in;
use super::speech::Speech;

/// Sound after the connection that is not judged: the jitter buffer still learns the network.
const SETTLES: Duration = Duration::from_secs(2);

/// The script, inside the repository.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/quality/score.py");

/// What the metrics say of one stretch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// PESQ, wideband, mapped as ITU-T P.862.2 says: 1.0 to 4.64.
    pub pesq: f64,
    /// ViSQOL, speech mode, polynomial mapping: 1.0 to 5.0. It takes seconds, so that only the first stretches are judged by it.
    pub visqol: Option<f64>,
}

/// Why there are no scores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoreError {
    /// A stretch could not be written.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The script could not be run.
    #[error("running {python}: {source}; `make quality` installs what it needs")]
    Start {
        /// The interpreter.
        python: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The script failed.
    #[error("the scorers failed: {0}")]
    Failed(String),
}

/// One stretch of speech as it was said and as it was heard.
#[derive(Debug, Clone, Serialize)]
pub struct Pair {
    id: String,
    said: PathBuf,
    heard: PathBuf,
    visqol: bool,
}

/// Runs the script with one interpreter.
#[derive(Debug, Clone)]
pub struct Scorer {
    python: PathBuf,
    visqol: usize,
}

impl Scorer {
    /// A scorer that runs the script with this interpreter. PESQ judges every stretch, ViSQOL the first `visqol` of each direction.
    #[must_use]
    pub fn new(python: PathBuf, visqol: usize) -> Scorer {
        Scorer { python, visqol }
    }

    /// Checks that the metrics that will judge can be trusted, on `speech`: the report of the check.
    ///
    /// # Errors
    /// [`ScoreError`] when a metric does not tell known damage from none.
    pub fn check(&self, speech: &Speech, directory: &Path) -> Result<String, ScoreError> {
        let path = directory.join("check.wav");
        write_wav(&path, &speech.stretch(0, 0, speech.cycle_len()))?;
        let output = Command::new(&self.python)
            .args([SCRIPT, if self.visqol > 0 { "--check" } else { "--check-pesq" }])
            .arg(path)
            .output()
            .map_err(|source| self.not_started(source))?;
        if !output.status.success() {
            return Err(ScoreError::Failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Judges `pairs`, one direction of a call, in their order.
    ///
    /// # Errors
    /// [`ScoreError`] if the script cannot be run or fails.
    pub fn score(&self, mut pairs: Vec<Pair>) -> Result<Vec<Score>, ScoreError> {
        pairs.iter_mut().take(self.visqol).for_each(|pair| pair.visqol = true);
        let mut child = Command::new(&self.python)
            .arg(SCRIPT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| self.not_started(source))?;
        let wanted = serde_json::to_vec(&pairs).map_err(|error| ScoreError::Failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A script that ends early says why itself.
            let _ = stdin.write_all(&wanted);
        }
        let output = child.wait_with_output().map_err(|source| self.not_started(source))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let scores: BTreeMap<String, Score> = serde_json::from_slice(&output.stdout)
            .map_err(|_| ScoreError::Failed(said.lines().last().unwrap_or("it said nothing").to_owned()))?;
        pairs
            .iter()
            .map(|pair| scores.get(&pair.id).copied())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ScoreError::Failed("a stretch has no score".to_owned()))
    }

    fn not_started(&self, source: std::io::Error) -> ScoreError {
        ScoreError::Start { python: self.python.display().to_string(), source }
    }
}

/// Writes every whole cycle of the speech that `talker` said and `listener` heard into `directory`. Each cycle is cut at its own delay.
///
/// # Errors
/// [`ScoreError::Wav`] if a file cannot be written.
pub fn cut(
    directory: &Path,
    name: &str,
    talker: &Tape,
    listener: &Tape,
    speech: &Speech,
) -> Result<Vec<Pair>, ScoreError> {
    let cycle = speech.cycle_len();
    let said_in_all = usize::try_from(talker.said).unwrap_or(0) * zmesh_voice::media::FRAME_SAMPLES;
    let settled = listener.connected.unwrap_or_default() + SETTLES;
    let mut pairs = Vec::new();
    // Cycles begin where the speech begins, wherever in it the talker began.
    for from in (cycle - talker.offset..).step_by(cycle).take_while(|from| from + cycle <= said_in_all) {
        let begins = talker.start + Duration::from_secs_f64(from as f64 / 48_000.0);
        let Some(at) = begins.checked_sub(listener.heard_from()).map(samples_in) else { continue };
        if begins < settled || at >= listener.heard.len() {
            continue;
        }
        let said = speech.stretch(talker.offset, from, cycle);
        // Room after the end, so that the last words are found however late they are.
        let until = (at + cycle + samples_in(Duration::from_secs(2))).min(listener.heard.len());
        let mouth = Track { samples: &said, start_unix_micros: 0 };
        let ear = Track { samples: &listener.heard[at..until], start_unix_micros: 0 };
        // Where nothing is found again, the score says so.
        let delay = mouth_to_ear(mouth, ear).map_or(0.0, |found| found.p50_ms);
        let at = at + samples_in(Duration::from_secs_f64(delay.max(0.0) / 1_000.0));
        let Some(heard) = listener.heard.get(at..at + cycle) else { continue };
        let id = format!("{name}-{}", pairs.len());
        let pair = Pair {
            said: directory.join(format!("{id}-said.wav")),
            heard: directory.join(format!("{id}-heard.wav")),
            visqol: false,
            id,
        };
        write_wav(&pair.said, &said)?;
        write_wav(&pair.heard, heard)?;
        pairs.push(pair);
    }
    Ok(pairs)
}

//! `make quality`: speech through every profile and setting, in virtual time, and what the ear gets of it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that people run in a terminal")]

mod calls;
mod peers;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use zmesh_netem::{NAMES, Profile};
use zmesh_tests::quality::report::QualityTable;
use zmesh_tests::quality::score::Scorer;
use zmesh_tests::quality::setting::{SETTINGS, Setting};
use zmesh_tests::quality::speech::Speech;

/// Measures the quality of calls over emulated networks, in virtual time, and prints one table.
///
/// Example: zmesh-quality --profile mobile --setting shipped --setting nothing
#[derive(Debug, Parser)]
pub struct Options {
    /// Measure only this profile: a name, or the path of a profile file (can be given again).
    #[arg(long)]
    profile: Vec<String>,
    /// Measure only this setting (can be given again).
    #[arg(long)]
    setting: Vec<Setting>,
    /// How long both people talk.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The dice of every run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One-way delay between two relays, ms.
    #[arg(long, default_value_t = 10)]
    relay_delay: u64,
    /// A Python with the packages of tests/quality/requirements.txt; without it there are no scores.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Stretches of 12 s that ViSQOL judges in each direction of a call; each takes seconds.
    #[arg(long, default_value_t = 1)]
    visqol: usize,
    /// A directory of WAV files to talk with, instead of the shipped speech (or set ZMESH_SPEECH_DIR).
    #[arg(long)]
    speech: Option<PathBuf>,
    /// Keep what was said and heard in this directory.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Measure calls of others on the same profiles instead, over a private Tor network and over Mumble; needs root (`make setup-peers`).
    #[arg(long)]
    peers: bool,
    /// Measure this one of the others only (can be given again).
    #[arg(long, value_enum)]
    peer: Vec<peers::Peer>,
    /// Write every row to this file as soon as it is measured, one JSON object a line.
    #[arg(long, overrides_with = "rows")]
    rows: Option<PathBuf>,
    /// Keep the rows that the file of `--rows` holds of this seed and length, and measure the others; for the same program only.
    #[arg(long, requires = "rows")]
    resume: bool,
    /// Measure nothing: print the table of a file of rows (can be given again).
    #[arg(long)]
    print: Vec<PathBuf>,
    /// Calls that are made at a time: by default as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<peers::Part>,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match measure(&Options::parse()) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("zmesh-quality: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<String, AnyError> {
    let profiles = profiles(&options.profile)?;
    let settings = if options.setting.is_empty() { SETTINGS.to_vec() } else { options.setting.clone() };
    let speech = match options.speech.clone().or_else(|| std::env::var_os("ZMESH_SPEECH_DIR").map(PathBuf::from)) {
        Some(directory) => Speech::from_directory(&directory)?,
        None => Speech::shipped()?,
    };
    if let Some(part) = &options.part {
        return peers::part(part, &speech);
    }
    if !options.print.is_empty() {
        let rows = options.print.iter().map(|path| rows::read(path)).collect::<Result<Vec<_>, _>>()?;
        return shown(options, QualityTable::new(rows.concat()));
    }
    let temporary = tempfile::Builder::new().prefix("zmesh-quality-").tempdir()?;
    let directory = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&directory)?;
    let kept = rows::Rows::open(options.rows.as_deref(), options.resume)?;
    let scorer = options.python.clone().map(|python| Scorer::new(python, options.visqol));
    if let Some(scorer) = &scorer {
        eprintln!("The scorers on known damage:\n{}", scorer.check(&speech, &directory)?);
    }
    let talk = Duration::from_secs(options.seconds);
    let (directory, scorer, speech) = (directory.as_path(), scorer.as_ref(), &speech);
    let rows = if options.peers || !options.peer.is_empty() {
        let wanted = if options.peers { &peers::Peer::ALL[..] } else { &options.peer };
        peers::Peers { talk, seed: options.seed, speech, directory, scorer }.measure(&profiles, wanted, &kept)?
    } else {
        let between_relays = Duration::from_millis(options.relay_delay);
        let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let series = calls::Series { talk, between_relays, seed: options.seed, speech, directory, scorer, jobs };
        series.measure(&profiles, &settings, &kept)?
    };
    eprintln!("{} s of talk in each direction, seed {}", options.seconds, options.seed);
    shown(options, QualityTable::new(rows))
}

fn shown(options: &Options, table: QualityTable) -> Result<String, AnyError> {
    if options.json { Ok(serde_json::to_string_pretty(&table)?) } else { Ok(table.to_string()) }
}

fn profiles(wanted: &[String]) -> Result<Vec<(String, Profile)>, AnyError> {
    let names: Vec<String> = if wanted.is_empty() { NAMES.map(str::to_owned).to_vec() } else { wanted.to_vec() };
    names
        .into_iter()
        .map(|name| match Profile::builtin(&name) {
            Some(profile) => Ok((name, profile)),
            None => {
                let text = std::fs::read_to_string(&name).map_err(|error| {
                    format!("{name} is neither a profile ({}) nor a file: {error}", NAMES.join(", "))
                })?;
                Ok((name, Profile::parse(&text)?))
            }
        })
        .collect()
}

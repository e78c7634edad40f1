//! `zmesh voice`: a private call between two people.

mod answer;
mod call;
mod ends;
mod meter;
mod talk;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use zmesh_voice::legs::Mode;

use crate::failure::Outcome;

/// The two ends of a call.
#[derive(Debug, Subcommand)]
pub(crate) enum Voice {
    /// Wait for one call. Prints the invite, a line to hand to the other person over a channel that both trust.
    #[command(after_help = "Example:
  zmesh voice answer --network network
  zmesh voice answer --network network --input a.wav --output heard-by-a.wav")]
    Answer(answer::AnswerArgs),
    /// Call the person who made the invite. The line is all that is needed.
    #[command(after_help = "Example:
  zmesh voice call < invite                  the line, saved in a file
  zmesh voice call                           paste it (a short one) and press Enter
  zmesh voice call 'zmesh:call/2/…'          where nobody else uses this machine
  zmesh voice call --input b.wav --output heard-by-b.wav < invite")]
    Call(call::CallArgs),
}

/// What both ends have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Relays of one's own choice in the circuit.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    /// Speak from a WAV file (48 kHz, mono, 16 bit) instead of the microphone; the call ends with it.
    #[arg(long, value_name = "WAV")]
    input: Option<PathBuf>,
    /// Record what is heard to a WAV file instead of playing it.
    #[arg(long, value_name = "WAV")]
    output: Option<PathBuf>,
    /// Hang up after so many seconds. An --input that is shorter starts again.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Send every frame of sound by two paths at once, so that a relay that dies is not heard at all. Twice the traffic; without
    /// it a second path stands by and takes a third more.
    #[arg(long, conflicts_with = "one_path")]
    double: bool,
    /// One path and no second one: less traffic and fewer relays that see a call, and the call ends with any of them.
    #[arg(long)]
    one_path: bool,
    /// Say as JSON, one value a line, what happens, and the figures of the call at its end.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

impl Common {
    /// How many paths the call takes, and what they carry.
    fn mode(&self) -> Mode {
        match (self.one_path, self.double) {
            (true, _) => Mode::Single,
            (_, true) => Mode::Doubled,
            _ => Mode::Standby,
        }
    }
}

pub(crate) async fn run(command: Voice) -> Outcome {
    match command {
        Voice::Answer(args) => answer::run(args).await,
        Voice::Call(args) => call::run(args).await,
    }
}

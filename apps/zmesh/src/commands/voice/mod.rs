//! `zmesh voice`: a private call between two people.

mod answer;
mod call;
mod devices;
mod keyboard;
mod meeting;
mod meter;
mod service;
mod sound;
mod talk;
mod trial;

use clap::{Args, Subcommand};
use zmesh_overlay::Node;
use zmesh_voice::audio::AtEnd;

use zmesh_voice::legs::Mode;

use crate::failure::{Outcome, not_started};
use crate::guards::GuardOption;
use crate::network_file::Way;

/// The two ends of a call, and what one can try alone.
#[derive(Debug, Subcommand)]
pub(crate) enum Voice {
    /// Wait for one call. Prints the invite, a line to hand to the other person over a channel that both trust.
    #[command(after_help = "Example:
  zmesh voice answer --bootstrap line
  zmesh voice answer --bootstrap line --service me.key      an address that stays, instead of an invite
  zmesh voice answer --bootstrap line --input a.wav --output heard-by-a.wav")]
    Answer(answer::AnswerArgs),
    /// Call the person who made the invite, or who waits at an address. The line is all that is needed.
    #[command(after_help = "Example:
  zmesh voice call < invite                  the line, saved in a file
  zmesh voice call                           paste it (a short one) and press Enter
  zmesh voice call 'zmesh:call/2/…'          where nobody else uses this machine
  zmesh voice call NAME.zmesh                somebody who runs zmesh voice answer --service
  zmesh voice call --input b.wav --output heard-by-b.wav < invite")]
    Call(call::CallArgs),
    /// Hear yourself: your voice goes out over one circuit of yours, comes back over another, and is played to you. Headphones are best.
    #[command(after_help = "Example:
  zmesh voice test --bootstrap line
  zmesh voice test --bootstrap line --input a.wav --output back.wav")]
    Test(trial::TestArgs),
    /// List microphones and loudspeakers.
    #[command(after_help = "Example:
  zmesh voice devices")]
    Devices(devices::DevicesArgs),
}

/// What both ends have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Relays of one's own choice in the circuit.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    #[command(flatten)]
    guards: GuardOption,
    #[command(flatten)]
    sound: sound::SoundArgs,
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

    /// Starts the node that the call goes by.
    async fn start(&self, way: &Way) -> Outcome<Node> {
        self.guards.node(way)?.spares(0).start().await.map_err(not_started)
    }

    /// Opens the ends of the call.
    fn open(&self) -> Outcome<sound::Sound> {
        self.sound.open(if self.seconds.is_some() { AtEnd::Repeat } else { AtEnd::HangUp })
    }
}

pub(crate) async fn run(command: Voice) -> Outcome {
    match command {
        Voice::Answer(args) => answer::run(args).await,
        Voice::Call(args) => call::run(args).await,
        Voice::Test(args) => trial::run(args).await,
        Voice::Devices(args) => devices::run(&args),
    }
}

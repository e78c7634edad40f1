//! `zmesh demo`: see it all work on this machine.

use std::path::PathBuf;

use crate::demo::{self, Impairment, Wishes};
use crate::failure::{Failure, Outcome};
use crate::stop::Stop;
use crate::term;

/// Starts a network on this machine, makes a call through it in both directions, downloads a file beside the call, and
/// reports what it measured. Everything that it started is stopped at the end, also by Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh demo
  zmesh demo --hops 2 --seconds 30 --input my-voice.wav --output out
  zmesh demo --impair wifi                       the people have bad access links
  zmesh demo --print-profile wifi > mine         a profile to change
  zmesh demo --impair mine --impair-all          the relays have them, too")]
pub(crate) struct Args {
    /// Relays in a circuit, of each side's own choice.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    /// Relays of the network, up to two of which are exits. A call needs one more than --hops.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=64))]
    relays: u16,
    /// How long to talk.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=3_600))]
    seconds: u32,
    /// What to say: a WAV file, 48 kHz, mono, 16 bit. Without it: a speech sample that zmesh brings.
    #[arg(long, value_name = "WAV")]
    input: Option<PathBuf>,
    /// Where to put what was heard, and the logs.
    #[arg(long, value_name = "DIR", default_value = "demo-output")]
    output: PathBuf,
    /// Put a bad network between the people and the relays: clean, dsl, wifi, mobile, international, spiky, or a file.
    #[arg(long, value_name = "PROFILE")]
    impair: Option<String>,
    /// Give the relays the caller's bad access link, too, where the profile says nothing about relays.
    #[arg(long, requires = "impair")]
    impair_all: bool,
    /// Roll the dice of the bad network from this number, to get the same losses again.
    #[arg(long, value_name = "N", requires = "impair")]
    seed: Option<u64>,
    /// Megabytes to download [default: 100, or 10 on a bad network, where the download ends with the call].
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..=4_000))]
    download: Option<u32>,
    /// Print a profile that zmesh brings, and do nothing else.
    #[arg(long, value_name = "PROFILE", exclusive = true)]
    print_profile: Option<String>,
    /// Report as JSON, on one line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    if let Some(name) = &args.print_profile {
        term::line(demo::builtin_profile(name)?.trim_end());
        return Ok(());
    }
    let impair = args.impair.as_deref().map(|name| Impairment::load(name, args.impair_all, args.seed)).transpose()?;
    let mut stop = Stop::listen(false)?;
    let wishes = Wishes {
        hops: args.hops,
        relays: args.relays.into(),
        seconds: args.seconds,
        input: args.input,
        output: args.output,
        download: args.download.unwrap_or(if impair.is_some() { 10 } else { 100 }),
        impair,
    };
    let mut stage = demo::Stage::default();
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Err(Failure::failed("the demo was stopped", "you asked for it", "run it again: zmesh demo")),
        outcome = demo::perform(&mut stage, &wishes) => outcome,
    };
    let relays = stage.clear().await;
    let report = outcome?.finish(relays);
    if args.json {
        term::json(&report.json());
    } else {
        report.print();
    }
    report.verdict()
}

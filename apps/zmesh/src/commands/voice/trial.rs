//! `zmesh voice test`: hear yourself over circuits of your own.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::sync::mpsc;
use zmesh_overlay::{DatagramCircuit, Meet, MeetingSpec, Node};
use zmesh_voice::audio::{AtEnd, Kept};
use zmesh_voice::invite::Invite;
use zmesh_voice::measure::{MouthToEar, Track, mouth_to_ear};
use zmesh_voice::media::level::Meter as Level;
use zmesh_voice::runner::{CallOptions, CallReport, CallUpdate, HangUp, Party, run_call};

use super::keyboard::Keyboard;
use super::meeting;
use super::meter::Meter;
use super::sound::{Sound, SoundArgs};
use super::talk;
use crate::failure::{Failure, Outcome, not_started};
use crate::guards::GuardOption;
use crate::network_file::NetworkOption;
use crate::randomness;
use crate::stop::Stop;
use crate::term;
use crate::time::{millis, unix_now};

/// How long the two circuits may take to meet.
const JOIN: Duration = Duration::from_secs(30);
/// What the invite of the test is good for, s.
const GOOD_FOR: u64 = 600;
/// News that may wait to be shown.
const UPDATES: usize = 64;
/// Under this a microphone heard nobody, dBFS.
const QUIET: f32 = -60.0;

/// Arguments.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// Relays of one's own choice in each circuit, as in a call.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    #[command(flatten)]
    sound: SoundArgs,
    /// How many seconds to listen.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=300))]
    seconds: u32,
    /// Say as JSON, one value a line, what happens, and the figures at the end.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(super) async fn run(args: TestArgs) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let way = args.network.way()?;
    let sound = args.sound.open(AtEnd::Repeat)?;
    let keyboard = sound.key.clone().map(Keyboard::watch).transpose()?;
    talk::name_devices(&sound.ends, args.json);
    let node = args.guards.node(&way)?.spares(0).start().await.map_err(not_started)?;
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(()),
        tested = test(&node, &args, sound, keyboard) => tested,
    };
    talk::leave(&node).await;
    outcome
}

/// Two circuits that meet, in the roles of the two ends of a call.
struct Loop {
    out: Arc<DatagramCircuit>,
    back: Arc<DatagramCircuit>,
    caller: Party,
    answerer: Party,
}

async fn join(node: &Node, hops: u8) -> Outcome<Loop> {
    let hops = usize::from(hops);
    let relay = node.meeting_relay().map_err(|error| {
        Failure::failed(
            "there is nowhere to meet",
            error,
            "use a network whose relays splice meetings (zmesh network show)",
        )
    })?;
    let expires = unix_now() + GOOD_FOR;
    let (invite, key) = Invite::create(node.network().network_id().0, relay.0, expires, &mut randomness::generator()?);
    term::progress(format_args!("building two circuits of {hops} and {} relays that meet", hops + 1));
    let (wait, join) = (Meet::wait(*invite.cookie()), Meet::join(*invite.cookie()));
    let back = meeting::meet(node, wait, MeetingSpec::chosen(relay).hops(hops)).await.map_err(meeting::failed)?;
    let out = meeting::meet(node, join, MeetingSpec::given(relay).hops(hops + 1)).await.map_err(meeting::failed)?;
    Ok(Loop {
        out: Arc::new(out),
        back: Arc::new(back),
        caller: Party::Caller(invite.clone()),
        answerer: Party::Answerer(invite, key),
    })
}

async fn test(node: &Node, args: &TestArgs, sound: Sound, mut keyboard: Option<Keyboard>) -> Outcome {
    let Loop { out, back, caller, answerer } = join(node, args.hops).await?;
    let Sound { ends, mut notices, .. } = sound;
    let devices = json!({ "microphone": ends.input.device_name(), "loudspeaker": ends.output.device_name() });
    let (mouth, ear, kept) = ends.apart();
    let options = CallOptions { join_within: Some(JOIN), hang_up: HangUp::new(), ..CallOptions::default() };
    let limited = CallOptions { talk_for: Some(Duration::from_secs(args.seconds.into())), ..options.clone() };
    let (sender, mut updates) = mpsc::channel(UPDATES);
    let (unheard, _) = mpsc::channel(1);
    let calls = async {
        tokio::join!(
            run_call(Arc::clone(&out), caller, mouth, limited, sender),
            run_call(Arc::clone(&back), answerer, ear, CallOptions { hang_up: HangUp::new(), ..options }, unheard),
        )
    };
    let mut calls = std::pin::pin!(calls);
    let mut meter = Meter::new();
    let (said, heard) = loop {
        tokio::select! {
            biased;
            ended = &mut calls => break ended,
            Some(on) = talk::switched(&mut keyboard) => talk::tell_key(on, &mut meter, args.json),
            Some(notice) = notices.recv() => talk::tell_device(&notice, &mut meter, args.json),
            Some(update) = updates.recv() => tell(&update, args, &mut meter, keyboard.is_some()),
        }
    };
    meter.clear();
    drop(keyboard);
    let (said, heard) = (said.map_err(talk::failure)?, heard.map_err(talk::failure)?);
    term::progress("listening to what came back");
    let figures = tokio::task::spawn_blocking(move || Figures::new(&kept, &said, &heard))
        .await
        .map_err(|error| Failure::failed("the sound cannot be measured", error, "try again"))?;
    if args.json {
        let paths = json!({ "out": talk::path(&out), "back": talk::path(&back) });
        term::json(&figures.json(&devices, &paths));
    } else {
        let (out, back) = (talk::path(&out).join(" → "), talk::path(&back).join(" → "));
        term::line(format_args!("out over {out}, back over {back}"));
        figures.show();
    }
    figures.judge()
}

fn tell(update: &CallUpdate, args: &TestArgs, meter: &mut Meter, push: bool) {
    match update {
        CallUpdate::Connected { .. } => {
            if args.json {
                term::json(&json!({ "ready": true, "role": "voice test", "seconds": args.seconds }));
            } else {
                let how = if push { "press space and speak" } else { "speak" };
                term::progress(format_args!(
                    "{how}: for {} s you hear what the other side of a call would",
                    args.seconds
                ));
            }
        }
        CallUpdate::Reading(reading) if !args.json => meter.show(reading),
        _ => {}
    }
}

/// What the test found.
struct Figures {
    delay: Option<MouthToEar>,
    spoken_dbfs: f32,
    heard_dbfs: f32,
    heard: CallReport,
}

impl Figures {
    fn new(kept: &Kept, said: &CallReport, heard: &CallReport) -> Figures {
        let (mouth, ear) = kept.take();
        let mut level = Level::new();
        level.listen(&ear);
        let track = |samples, start_unix_micros| Track { samples, start_unix_micros };
        let found =
            mouth_to_ear(track(&mouth, said.first_input_unix_micros), track(&ear, heard.first_output_unix_micros));
        let processing = millis(kept.delay());
        Figures {
            delay: found.map(|found| MouthToEar {
                p50_ms: found.p50_ms + processing,
                p99_ms: found.p99_ms + processing,
                max_ms: found.max_ms + processing,
                ..found
            }),
            spoken_dbfs: kept.level_dbfs(),
            heard_dbfs: level.dbfs(),
            heard: heard.clone(),
        }
    }

    fn json(&self, devices: &serde_json::Value, paths: &serde_json::Value) -> serde_json::Value {
        json!({
            "stopped": true,
            "devices": devices,
            "paths": paths,
            "seconds": self.heard.seconds,
            "mouth_to_ear": self.delay,
            "loss": self.heard.loss,
            "concealed": self.heard.concealed,
            "level_spoken_dbfs": self.spoken_dbfs,
            "level_heard_dbfs": self.heard_dbfs,
        })
    }

    fn show(&self) {
        let delay = match &self.delay {
            Some(delay) => format!("p50 {:.0} ms, p99 {:.0} ms", delay.p50_ms, delay.p99_ms),
            None => "not found".to_owned(),
        };
        term::line(format_args!(
            "{:.0} s; mouth to ear {delay}; loss {:.1} %, made up {:.1} %; level {:.0} dBFS spoken, {:.0} dBFS heard",
            self.heard.seconds,
            self.heard.loss * 100.0,
            self.heard.concealed * 100.0,
            self.spoken_dbfs,
            self.heard_dbfs,
        ));
    }

    /// A test in which nothing was said, or nothing came back, has tested nothing.
    fn judge(&self) -> Outcome {
        if self.delay.is_some() {
            return Ok(());
        }
        if self.spoken_dbfs < QUIET {
            return Err(Failure::failed(
                "nothing was said",
                format_args!("the input stayed at {:.0} dBFS", self.spoken_dbfs),
                "speak; see that the microphone is not muted, or choose another: zmesh voice devices",
            ));
        }
        Err(Failure::failed(
            "what was said was not found in what came back",
            format_args!("{:.0} dBFS spoken, {:.0} dBFS heard", self.spoken_dbfs, self.heard_dbfs),
            "speak for some seconds; with much noise around try --processing none",
        ))
    }
}

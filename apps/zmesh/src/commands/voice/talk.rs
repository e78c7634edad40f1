//! The call itself: from two spliced circuits to the figures at its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{json, to_value};
use tokio::sync::mpsc;
use tokio::time::timeout;
use zmesh_overlay::{DatagramCircuit, Node};
use zmesh_voice::audio::AudioEnds;
use zmesh_voice::audio::device::Notice;
use zmesh_voice::call::{EndReason, Role};
use zmesh_voice::runner::{CallError, CallOptions, CallReport, CallUpdate, HangUp, LegCircuits, Party, run_call};

use super::Common;
use super::keyboard::Keyboard;
use super::meter::Meter;
use super::sound::{self, Sound};
use crate::failure::{Failure, Outcome};
use crate::stop::Stop;
use crate::term;
use crate::time::millis;

/// How long the other side may take after this one has joined.
const JOIN: Duration = Duration::from_secs(30);
/// How long goodbyes may take.
const GOODBYE: Duration = Duration::from_secs(3);
/// News that may wait to be shown.
const UPDATES: usize = 64;

/// One end of a call, ready to speak.
pub(super) struct Speaker {
    pub(super) node: Node,
    pub(super) circuit: Arc<DatagramCircuit>,
    pub(super) party: Party,
    pub(super) sound: Sound,
}

/// Talks until somebody hangs up.
pub(super) async fn run(speaker: Speaker, common: &Common, stop: &mut Stop) -> Outcome {
    let Speaker { node, circuit, party, sound: Sound { ends, mut notices, key } } = speaker;
    let role = match party {
        Party::Caller(_) => Role::Caller,
        Party::Answerer(..) => Role::Answerer,
    };
    let legs = LegCircuits::new(node, Arc::clone(&circuit), role, common.mode(), common.hops.into())
        .map_err(|error| Failure::failed("the call cannot be made", error, "try again"))?;
    let legs = Arc::new(legs);
    let mut keyboard = key.map(Keyboard::watch).transpose()?;
    name_devices(&ends, common.json);
    let hang_up = HangUp::new();
    let options = CallOptions {
        join_within: Some(JOIN),
        talk_for: common.seconds.map(|seconds| Duration::from_secs(seconds.into())),
        hang_up: hang_up.clone(),
        ..CallOptions::default()
    };
    let (sender, mut updates) = mpsc::channel(UPDATES);
    let mut call = std::pin::pin!(run_call(Arc::clone(&legs), party, ends, options, sender));
    let mut meter = Meter::new();
    if keyboard.is_some() {
        meter.key(false);
    }
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            biased;
            () = stop.wait(), if !stopping => {
                stopping = true;
                hang_up.hang_up();
            }
            ended = &mut call => break ended,
            Some(on) = switched(&mut keyboard) => tell_key(on, &mut meter, common.json),
            Some(notice) = notices.recv() => tell_device(&notice, &mut meter, common.json),
            Some(update) = updates.recv() => tell(&update, &mut meter, common.json),
        }
    };
    meter.clear();
    // The terminal is put back before anything more is said.
    drop(keyboard);
    let report = match ended {
        Ok(report) => report,
        Err(CallError::NotConnected(EndReason::HungUp)) if stopping => return Ok(()),
        Err(error) => return Err(failure(error)),
    };
    if common.json {
        term::json(&json!({
            "stopped": true,
            "path": path(&legs.active()),
            "build_ms": millis(circuit.build_time()),
            "report": to_value(&report).unwrap_or_default(),
        }));
    } else {
        summary(&report);
    }
    if report.ended_well() {
        return Ok(());
    }
    Err(Failure::failed("the call broke off", report.ended, "call again with a new invite"))
}

/// Waits for the key to be switched; for ever where there is none.
pub(super) async fn switched(keyboard: &mut Option<Keyboard>) -> Option<bool> {
    match keyboard {
        Some(keyboard) => keyboard.switched.recv().await,
        None => std::future::pending().await,
    }
}

/// Says which devices are used.
pub(super) fn name_devices(ends: &AudioEnds, json: bool) {
    let names = [("microphone", ends.input.device_name()), ("loudspeaker", ends.output.device_name())];
    for (what, name) in names {
        match name {
            Some(name) if json => term::json(&json!({ "device": what, "name": name })),
            Some(name) => term::progress(format_args!("{what}: {name}")),
            None => {}
        }
    }
}

/// Says that a device has come or gone.
pub(super) fn tell_device(notice: &Notice, meter: &mut Meter, json: bool) {
    meter.clear();
    if json {
        let (what, event, name) = match notice {
            Notice::Using { what, name } => (what, "using", Some(name)),
            Notice::Lost { what, name } => (what, "lost", Some(name)),
            Notice::Waiting { what } => (what, "waiting", None),
            _ => return,
        };
        term::json(&json!({ "device": what.to_string(), "event": event, "name": name }));
    } else if matches!(notice, Notice::Using { .. }) {
        term::progress(notice);
    } else {
        term::warning(notice);
    }
}

pub(super) fn tell_key(on: bool, meter: &mut Meter, json: bool) {
    if json {
        term::json(&json!({ "talking": on }));
    } else {
        meter.key(on);
    }
}

/// Closes the node's circuits.
pub(super) async fn leave(node: &Node) {
    let _ = timeout(GOODBYE, node.shutdown()).await;
}

/// The relays of a circuit by name, guard first.
pub(super) fn path(circuit: &DatagramCircuit) -> Vec<String> {
    circuit.path().into_iter().map(|hop| hop.nickname).collect()
}

fn tell(update: &CallUpdate, meter: &mut Meter, json: bool) {
    if json {
        if let Ok(value) = to_value(update) {
            term::json(&value);
        }
        return;
    }
    match update {
        CallUpdate::Joining => term::progress("the other side is there"),
        CallUpdate::Ringing => term::progress("ringing"),
        CallUpdate::Connected { words } => {
            term::told(format_args!("connected; both of you should see these words: {words}"));
            term::progress("read them to each other; if they differ, hang up (Ctrl-C)");
        }
        CallUpdate::Reading(reading) => meter.show(reading),
        CallUpdate::Path(news) => {
            meter.clear();
            term::progress(&news.words);
        }
        CallUpdate::Ended { reason } => {
            meter.clear();
            term::progress(reason);
        }
        _ => {}
    }
}

fn summary(report: &CallReport) {
    let delay = report.delay_ms.map_or("unknown".to_owned(), |delay| format!("{delay:.0} ms"));
    term::line(format_args!(
        "{:.0} s; sent {} frames, played {}, concealed {}; loss {:.1} %, mouth to ear about {delay}",
        report.seconds,
        report.frames_sent,
        report.frames_played,
        report.frames_concealed,
        report.loss * 100.0,
    ));
}

pub(super) fn failure(error: CallError) -> Failure {
    match error {
        CallError::Audio(error) => sound::unusable(&error),
        error => Failure::failed("the call did not come about", error, "ask for a new invite and call again"),
    }
}

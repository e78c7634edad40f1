//! Ten minutes of talk over every profile: what is heard stays inside bounds, and the same seed gives the same report to the byte.

use std::fmt::Write;

use zmesh_netem::Profile;
use zmesh_tests::quality::report::{concealed_share, minute_line};
use zmesh_tests::quality::run::{BETWEEN_RELAYS, Outcome, Plan, run, tape_delay};
use zmesh_tests::quality::setting::Setting;
use zmesh_tests::quality::speech::Speech;

use super::secs;

/// How much of the sound of the last seconds is searched for its delay: searching all of it takes longer than the call.
const SEARCHED: u64 = 13;

/// What is reported of a call: figures of every minute, and at the end a fingerprint of every datagram.
struct Report {
    text: String,
    /// How long the text was after each minute.
    minutes: Vec<usize>,
    outcome: Outcome,
}

fn call(name: &str, minutes: u64) -> Report {
    let speech = Speech::shipped().expect("the shipped speech");
    let profile = Profile::builtin(name).expect("a profile of the emulator");
    let plan = Plan {
        profile: &profile,
        setting: Setting::SHIPPED,
        seed: 2,
        talk: secs(60 * minutes),
        between_relays: BETWEEN_RELAYS,
        speech: &speech,
    };
    let (mut text, mut lengths) = (format!("{name}\n"), Vec::new());
    let outcome = run(&plan, |minute, caller, answerer| {
        for (end, stats) in [("caller", caller), ("answerer", answerer)] {
            writeln!(text, "{}", minute_line(minute, end, stats)).expect("text");
        }
        lengths.push(text.len());
    })
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    writeln!(text, "connected after {:?}, datagrams {:016x}", outcome.connected_after, outcome.fingerprint)
        .expect("text");
    Report { text, minutes: lengths, outcome }
}

/// Ten minutes over a profile; `again` minutes of it are run twice. At most the share `made_up` of what is heard may be made up, and at
/// the end sound may take `p50` and `p99` ms.
fn ten_minutes(name: &str, again: u64, made_up: f64, p50: f64, p99: f64) {
    let report = call(name, 10);
    print!("{}", report.text);
    let repeated = call(name, again);
    if again == 10 {
        assert_eq!(report.text, repeated.text);
    } else {
        let minutes = usize::try_from(again).expect("few") - 1;
        assert_eq!(report.text[..report.minutes[minutes]], repeated.text[..repeated.minutes[minutes]]);
    }
    let speech = Speech::shipped().expect("the shipped speech");
    let (caller, answerer) = (&report.outcome.caller, &report.outcome.answerer);
    for (who, talker, listener) in [("answerer", caller, answerer), ("caller", answerer, caller)] {
        let share = concealed_share(&listener.stats);
        let found = tape_delay(&talker.tape, &listener.tape, &speech, Some(secs(SEARCHED)));
        println!("{name}, the {who} hears: {:.3} % made up, {found:?}", share * 100.0);
        assert_eq!(listener.ended, None, "{name}: the call is over");
        // 30,000 messages each way, whatever happens to them.
        assert!((29_900..=30_100).contains(&talker.stats.frames_sent), "{name}: {} sent", talker.stats.frames_sent);
        assert!(share <= made_up, "{name}: {share}");
        let found = found.unwrap_or_else(|| panic!("{name}: no speech is heard"));
        assert!(found.p50_ms <= p50 && found.p99_ms <= p99, "{name}: {found:?}");
    }
}

// The bounds are wide: they catch what breaks. Targets and measured figures stand in specs/quality.md.

#[test]
fn ten_minutes_over_clean() {
    ten_minutes("clean", 2, 0.0, 115.0, 120.0);
}

#[test]
fn ten_minutes_over_dsl() {
    ten_minutes("dsl", 2, 0.01, 170.0, 200.0);
}

#[test]
fn ten_minutes_over_wifi() {
    ten_minutes("wifi", 2, 0.03, 220.0, 260.0);
}

#[test]
fn ten_minutes_over_mobile() {
    ten_minutes("mobile", 10, 0.08, 400.0, 500.0);
}

#[test]
fn ten_minutes_over_international() {
    ten_minutes("international", 2, 0.4, 900.0, 1_000.0);
}

#[test]
fn ten_minutes_over_spiky() {
    ten_minutes("spiky", 2, 0.3, 500.0, 600.0);
}

use std::time::Duration;

use zmesh_netem::Profile;

use super::report::{Heard, QualityTable, Row, WITHOUT_LOSS};
use super::run::{BETWEEN_RELAYS, Outcome, Plan, run, tape_delay};
use super::setting::{SETTINGS, Setting};
use super::speech::Speech;

#[test]
fn a_call_over_a_quiet_network_loses_nothing_and_is_quick() {
    let speech = Speech::shipped().unwrap();
    let profile = Profile::builtin("clean").unwrap();
    let plan = Plan {
        profile: &profile,
        setting: Setting::SHIPPED,
        seed: 1,
        talk: Duration::from_secs(13),
        between_relays: BETWEEN_RELAYS,
        speech: &speech,
    };
    let outcome = run(&plan, |_, _, _| {}).unwrap();
    for (talker, listener) in [(&outcome.caller, &outcome.answerer), (&outcome.answerer, &outcome.caller)] {
        let delay = tape_delay(&talker.tape, &listener.tape, &speech, None).unwrap();
        assert_eq!(listener.stats.frames.concealed, 0);
        // Six links of 10 ms each; a frame, the codec, the output and little else.
        assert!((60.0 + 26.5..60.0 + 60.0).contains(&delay.p50_ms), "{delay:?}");
        assert_eq!(listener.ended, None);
    }
}

#[test]
fn settings_are_found_however_they_are_typed() {
    for setting in SETTINGS {
        assert_eq!(setting.name.parse(), Ok(setting));
        assert_eq!(setting.name.to_uppercase().replace(' ', "-").parse(), Ok(setting));
    }
    let unknown = "magic".parse::<Setting>().unwrap_err().to_string();
    assert!(unknown.contains("magic") && unknown.contains("shipped"), "{unknown}");
}

/// Whatever is switched off is missed: the settings reach the machines that they are about.
#[test]
fn each_means_against_loss_reaches_the_call() {
    let speech = Speech::shipped().unwrap();
    let profile = Profile::builtin("wifi").unwrap();
    let call = |name: &str| {
        let plan = Plan {
            profile: &profile,
            setting: name.parse().unwrap(),
            seed: 5,
            talk: Duration::from_secs(20),
            between_relays: BETWEEN_RELAYS,
            speech: &speech,
        };
        run(&plan, |_, _, _| {}).unwrap()
    };
    let (nothing, fec, copies, doubled) = (call("nothing"), call("FEC alone"), call("copies alone"), call("doubled"));
    let lost = |outcome: &Outcome| outcome.caller.stats.loss + outcome.answerer.stats.loss;
    let recovered = |outcome: &Outcome| outcome.caller.stats.frames.recovered + outcome.answerer.stats.frames.recovered;
    assert!(lost(&nothing) > 0.1 && lost(&fec) < lost(&nothing) / 3.0, "{} {}", lost(&nothing), lost(&fec));
    assert!(recovered(&nothing) == 0 && recovered(&copies) > 50, "{}", recovered(&copies));
    assert!(doubled.caller.up > 1.7 * nothing.caller.up, "{} {}", doubled.caller.up, nothing.caller.up);
    let (slow, shipped) = (call("60 ms"), call("shipped"));
    assert!(slow.caller.up < shipped.caller.up, "{} {}", slow.caller.up, shipped.caller.up);
}

#[test]
fn the_table_is_markdown_and_says_what_is_missing() {
    let heard = Heard {
        expected: 100,
        played: 97,
        recovered: 2,
        described: 1,
        late: 0,
        concealed: 3,
        concealed_share: Some(0.03),
        message_loss: Some(0.05),
        mouth_to_ear: None,
        rating: None,
        scores: Vec::new(),
    };
    let row = Row {
        profile: "wifi".to_owned(),
        setting: "shipped".to_owned(),
        seed: 1,
        seconds: 2.0,
        heard: [heard.clone(), heard],
        added_p99_ms: None,
        kbit_s: Some([240.0, 250.0]),
        ended_early: false,
    };
    assert!((row.concealed_share().unwrap() - 0.03).abs() < 1e-9);
    assert_eq!(row.summary(), "wifi, shipped, 3.00 % made up");
    let text = QualityTable::new(vec![row.clone()]).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[2].contains("| 3.00 %") && lines[2].contains("| –") && lines[2].contains("240, 250"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
}

#[test]
fn the_delay_that_loss_adds_is_told_where_the_delay_without_loss_is_known() {
    let heard = |p99_ms| {
        Heard::untold(Some(zmesh_voice::measure::MouthToEar {
            windows: 9,
            matched: 9,
            p50_ms: 90.0,
            p99_ms,
            max_ms: p99_ms,
        }))
    };
    let row = |profile: &str, setting: &str, p99| Row {
        profile: profile.to_owned(),
        setting: setting.to_owned(),
        seed: 1,
        seconds: 2.0,
        heard: [heard(p99), heard(p99 - 30.0)],
        added_p99_ms: None,
        kbit_s: Some([240.0, 250.0]),
        ended_early: false,
    };
    let peer = Row { kbit_s: None, ..row("wifi", "Mumble, UDP", 150.0) };
    let rows =
        vec![row("wifi", "shipped", 140.0), row("wifi", WITHOUT_LOSS, 116.0), row("dsl", "shipped", 140.0), peer];
    // As rows go to a file and come back from it.
    let text = serde_json::to_string(&rows).unwrap();
    let table = QualityTable::new(serde_json::from_str(&text).unwrap());
    let added: Vec<_> = table.rows.iter().map(|row| row.added_p99_ms).collect();
    assert_eq!(added, [Some(24.0), None, None, None]);
}

//! Relays that are killed (`kill -9`) in the middle of calls between real processes.

use std::time::{Duration, Instant};

use serde_json::Value;
use zmesh_tests::peers::zmesh::{Ready, RelayProcess, ZmeshNetwork};

use super::{PATIENCE, built};

/// Calls of which each loses one relay.
const CALLS: usize = 4;

// Run by hand: in about one run of three one process does not say within 40 s how its call ended, for a reason not yet found.
#[test]
#[ignore = "one end sometimes does not report its end in time: not yet explained"]
fn calls_go_on_when_a_relay_is_killed() {
    let mut network = ZmeshNetwork::start(built(), 14, 1, PATIENCE).expect("the test network starts");
    // Ends of calls, two for each, that went on to the end.
    let mut survived = 0;
    for call in 0..CALLS {
        let document = network.network().to_string_lossy().into_owned();
        let speech = concat!(env!("CARGO_MANIFEST_DIR"), "/../apps/voice/assets/speech.wav");
        let heard =
            |side: &str| network.directory().join(format!("heard{call}-{side}.wav")).to_string_lossy().into_owned();
        let log = |side: &str| network.directory().join(format!("voice{call}-{side}.log"));
        let (ear, other_ear) = (heard("answerer"), heard("caller"));
        let answer = ["voice", "answer", "--network", &document, "--input", speech, "--output", &ear];
        let answer = [&answer[..], &["--seconds", "14", "--json", "--short"]].concat();
        let mut answerer =
            Ready::start(built(), &answer, &log("answerer"), PATIENCE).expect("somebody waits for a call");
        let invite = answerer.text("invite").expect("an invite").to_owned();
        let call_arguments =
            ["voice", "call", &invite, "--network", &document, "--input", speech, "--output", &other_ear];
        let call_arguments = [&call_arguments[..], &["--seconds", "14", "--json"]].concat();
        let mut caller = Ready::start(built(), &call_arguments, &log("caller"), PATIENCE).expect("somebody calls");

        // Guard and middle of the caller, the meeting relay, the guard of the answerer, in turn.
        let path = |ready: &Ready| -> Vec<String> {
            let path = ready.said["path"].as_array().expect("a path");
            path.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
        };
        let (of_caller, of_answerer) = (path(&caller), path(&answerer));
        let victim = match call % 4 {
            0 => &of_caller[0],
            1 => &of_caller[1],
            2 => of_caller.last().expect("a meeting relay"),
            _ => &of_answerer[0],
        };
        let up = |value: &Value| value["leg_event"] == "ready";
        assert!(caller.wait_for(PATIENCE, up).is_some(), "no second path");
        assert!(answerer.wait_for(PATIENCE, up).is_some(), "no second path");
        std::thread::sleep(Duration::from_secs(1));
        let relays: Vec<RelayProcess> = network.relays();
        let killed = relays.iter().find(|relay| relay.nickname == *victim).expect("a relay of the network");
        killed.kill();
        let begun = Instant::now();
        for (side, ready) in [("caller", &mut caller), ("answerer", &mut answerer)] {
            let moved = ready.wait_for(Duration::from_secs(10), |value| value["leg_event"] == "moved");
            println!(
                "call {call}, {victim} killed, {side}: {:?} after {:.1?}",
                moved.map(|moved| moved["words"].clone()),
                begun.elapsed()
            );
        }
        for (side, mut ready) in [("caller", caller), ("answerer", answerer)] {
            let stopped =
                ready.wait_for(Duration::from_secs(40), |value| value["stopped"] == true).expect("a last word");
            let report = &stopped["report"];
            println!(
                "call {call}, {side}: ended {}, played {}, concealed {}, lost {}",
                report["ended"], report["frames_played"], report["frames_concealed"], report["frames_lost"]
            );
            let ended = report["ended"].as_str().expect("a reason");
            let count = |what: &str| report[what].as_u64().expect("a count");
            if ["hung_up", "peer_hung_up"].contains(&ended) {
                assert!(count("frames_played") > 4 * count("frames_concealed"), "{side}: {report}");
                survived += 1;
            } else {
                // Each side chooses its own relays and keeps them to itself, so in a network as small as this one relay may stand in
                // both legs, in the halves of the two sides. Then the call ends, and says so.
                assert!(["circuit_lost", "peer_silent"].contains(&ended), "{side}: {report}");
            }
        }
        // The next call has a network with all of its relays.
        if call + 1 < CALLS {
            network = ZmeshNetwork::start(built(), 14, 1, PATIENCE).expect("the test network starts");
        }
    }
    assert!(survived >= CALLS, "only {survived} of {} ends of calls went on", 2 * CALLS);
}

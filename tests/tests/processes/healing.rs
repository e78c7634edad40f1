//! Relays that are killed (`kill -9`) in the middle of calls between real processes.
//!
//! The two sides choose their relays apart from each other, so a relay of one leg may be in the other side's half of the other leg.
//! Victims are chosen by the paths that both processes name; where none fits, other people call.

use std::collections::BTreeSet;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use serde_json::Value;
use zmesh_tests::peers::zmesh::{Ready, RelayProcess, ZmeshNetwork};

use super::{PATIENCE, built, stage};

/// Calls that are begun until one has the paths that a test needs.
const DRAWS: usize = 20;
/// How long a call lasts whose standby keeps it up: long enough for a slow machine to have the standby before it ends.
const TALK: Duration = Duration::from_secs(20);

/// One end of a call.
struct Side {
    name: &'static str,
    ready: Ready,
    /// The relays of this side's half of each leg, guard first.
    legs: [Vec<String>; 2],
}

impl Side {
    fn new(name: &'static str, mut ready: Ready) -> Side {
        let first = names(&ready.said["path"]);
        let up = |value: &Value| value["leg_event"] == "ready";
        let standby = ready.wait_for(PATIENCE, up).expect("a second path stands by");
        assert_eq!(standby["leg"], 1, "{standby}");
        Side { name, ready, legs: [first, names(&standby["path"])] }
    }

    /// How the call went on, in the order in which it was told, until its end.
    fn rest(&mut self) -> (Vec<Value>, Value) {
        let begun = Instant::now();
        let mut paths = Vec::new();
        loop {
            let left = (TALK + PATIENCE).saturating_sub(begun.elapsed());
            let said = self.ready.wait_for(left, |value| value["leg_event"].is_string() || value["stopped"] == true);
            let said =
                said.unwrap_or_else(|| panic!("the {} never said how its call ended; paths: {paths:?}", self.name));
            if said["stopped"] == true {
                println!("{}: {paths:?}, ended {}", self.name, said["report"]["ended"]);
                return (paths, said["report"].clone());
            }
            paths.push(said);
        }
    }
}

fn names(path: &Value) -> Vec<String> {
    let names = path.as_array().expect("a path").iter();
    names.map(|name| name.as_str().expect("a name").to_owned()).collect()
}

/// Two people in a call, each with a second path.
struct Call {
    network: ZmeshNetwork,
    sides: [Side; 2],
    _stage: MutexGuard<'static, ()>,
}

impl Call {
    fn begin(relays: usize) -> Call {
        let stage = stage();
        let network = ZmeshNetwork::start(built(), relays, 1, PATIENCE).expect("the test network starts");
        let document = network.network().to_string_lossy().into_owned();
        let speech = concat!(env!("CARGO_MANIFEST_DIR"), "/../apps/voice/assets/speech.wav");
        let heard = |side: &str| network.directory().join(format!("heard-{side}.wav")).to_string_lossy().into_owned();
        let log = |side: &str| network.directory().join(format!("voice-{side}.log"));
        let seconds = TALK.as_secs().to_string();
        let (ear, other_ear) = (heard("answerer"), heard("caller"));
        let answer = ["voice", "answer", "--network", &document, "--input", speech, "--output", &ear];
        let answer = [&answer[..], &["--seconds", &seconds, "--json", "--short"]].concat();
        let answerer = Ready::start(built(), &answer, &log("answerer"), PATIENCE).expect("somebody waits for a call");
        let invite = answerer.text("invite").expect("an invite").to_owned();
        let call = ["voice", "call", &invite, "--network", &document, "--input", speech, "--output", &other_ear];
        let call = [&call[..], &["--seconds", &seconds, "--json"]].concat();
        let caller = Ready::start(built(), &call, &log("caller"), PATIENCE).expect("somebody calls");
        let sides = [Side::new("caller", caller), Side::new("answerer", answerer)];
        Call { network, sides, _stage: stage }
    }

    /// The relays of a leg, both halves.
    fn relays(&self, leg: usize) -> BTreeSet<&String> {
        self.sides.iter().flat_map(|side| &side.legs[leg]).collect()
    }

    fn kill(&mut self, victim: &str) {
        let relays: Vec<RelayProcess> = self.network.relays();
        relays.iter().find(|relay| relay.nickname == victim).expect("a relay of the network").kill();
    }
}

/// A call with a relay as `find` wants it.
fn call_with(relays: usize, find: impl Fn(&Call) -> Option<String>) -> (Call, String) {
    for draw in 0..DRAWS {
        let call = Call::begin(relays);
        if let Some(victim) = find(&call) {
            return (call, victim);
        }
        println!("draw {draw}: no relay stands as it should");
    }
    panic!("no call of {DRAWS} had the paths for this test");
}

/// Kills the relay at `hop` of one side's half of the first leg, which stands nowhere on the second.
fn goes_on_without(side: usize, hop: usize) {
    let (mut call, victim) = call_with(14, |call| {
        let victim = &call.sides[side].legs[0][hop];
        (!call.relays(1).contains(victim)).then(|| victim.clone())
    });
    std::thread::sleep(Duration::from_secs(1));
    call.kill(&victim);
    for side in &mut call.sides {
        let (paths, report) = side.rest();
        let gone = paths.iter().any(|said| said["leg_event"] == "gone" && said["leg"] == 0);
        assert!(gone, "{}: {paths:?}", side.name);
        let ended = report["ended"].as_str().expect("a reason");
        assert!(["hung_up", "peer_hung_up"].contains(&ended), "{}: {report}", side.name);
        let count = |what: &str| report[what].as_u64().expect("a count");
        assert!(count("frames_played") > 4 * count("frames_concealed"), "{}: {report}", side.name);
    }
}

#[test]
fn calls_go_on_when_the_callers_guard_is_killed() {
    goes_on_without(0, 0);
}

#[test]
fn calls_go_on_when_the_callers_middle_is_killed() {
    goes_on_without(0, 1);
}

#[test]
fn calls_go_on_when_the_meeting_relay_is_killed() {
    goes_on_without(1, 1);
}

/// Each side keeps its relays to itself, so one relay may stand in both legs, in the halves of the two sides. Then the call ends, and
/// both people are told so while they still wonder.
#[test]
fn a_relay_of_both_legs_ends_both_sides_with_a_reason() {
    let (mut call, victim) = call_with(9, |call| {
        let [one, other] = [0, 1].map(|leg| call.relays(leg));
        one.intersection(&other).next().map(|victim| (*victim).clone())
    });
    call.kill(&victim);
    for side in &mut call.sides {
        let (paths, report) = side.rest();
        let ended = report["ended"].as_str().expect("a reason");
        assert!(["circuit_lost", "peer_silent"].contains(&ended), "{}: {report}, {paths:?}", side.name);
        // By the program's own clock: less than it would have talked.
        let seconds = report["seconds"].as_f64().expect("seconds");
        assert!(seconds < TALK.as_secs_f64(), "{}: {report}", side.name);
    }
}

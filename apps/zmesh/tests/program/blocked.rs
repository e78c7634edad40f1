//! People whose network lets no UDP through call each other over WebSocket over TLS, port 443. In network namespaces; without the right
//! to make them (root) the test is skipped, and says so.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use serde_json::Value;
use zmesh_netns::{Namespaces, address, connections_to_443, rules, wire};
use zmesh_proto::keys::RelayKeys;

use crate::support::running::{PATIENCE, Running};
use crate::support::{Folder, network_of};

/// Relays; the first two take links over WebSocket, each at an address of its own.
const RELAYS: u8 = 5;

/// What comes by UDP from where the people are goes nowhere, without a word, as at a strict firewall.
const BLOCKED: &str = "table ip blocked {
    chain in { type filter hook input priority 0 ; policy accept ; iifname people meta l4proto udp counter drop ; }
}";

/// Where a relay is.
fn place(number: u8) -> String {
    format!("5.9.0.{}", if number == 1 { 2 } else { 1 })
}

/// Writes the files of the relays and the document that names them; gives the fallbacks.
fn prepare(folder: &Folder) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut rng = ChaCha12Rng::from_seed([31; 32]);
    let keys: Vec<RelayKeys> = (0..RELAYS).map(|_| RelayKeys::generate(&mut rng, now)).collect();
    let at = |number| format!("{}:{}", place(number), 9_001 + u16::from(number));
    let network = network_of(now, &keys, |number, info| info.addresses = vec![at(number).parse().expect("an address")]);
    folder.write("network", &network);
    for (number, keys) in (0..RELAYS).zip(&keys) {
        std::fs::create_dir(folder.path(&format!("r{number}"))).expect("a directory");
        folder.write_secret(&format!("r{number}/keys"), &keys.to_text());
        let websocket = format!("[websocket]\nlisten = \"{}:443\"\n", place(number));
        let text = format!(
            "nickname = \"r{number}\"\noperator = \"test\"\nlisten = [\"{}\"]\nnetwork = \"../network\"\n\
             [chunks]\nenabled = false\n[nat]\nport_mapping = false\n{}",
            at(number),
            if number < 2 { &websocket } else { "" }
        );
        folder.write(&format!("r{number}/relay.toml"), &text);
    }
    (0..2).zip(&keys).map(|(number, keys)| format!("{}@wss://{}:443/", keys.id(), place(number))).collect()
}

/// The program in a namespace.
fn within(namespace: &str, folder: &Folder, arguments: &[&str]) -> Command {
    let plain = folder.command(arguments);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(plain.get_current_dir().expect("it has one"));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn start(namespace: &str, folder: &Folder, arguments: &[&str]) -> Running {
    let arguments = [arguments, &["--json", "--exit-with-stdin"]].concat();
    let mut running = Running::of(within(namespace, folder, &arguments).spawn().expect("it starts"));
    running.ready = running.result("ready");
    running
}

/// Datagrams that were thrown away before the relays.
fn dropped(namespace: &str) -> u64 {
    let args = ["netns", "exec", namespace, "nft", "list", "chain", "ip", "blocked", "in"];
    let out = Command::new("ip").args(args).output().expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let count = text.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no counter: {text}"))
}

#[test]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn a_call_goes_over_port_443_where_udp_is_blocked() {
    if let Err(why) = zmesh_netns::able() {
        println!("SKIPPED: {why}");
        return;
    }
    let folder = Folder::new();
    let mut namespaces = Namespaces::new("zmesh-test-blocked-");
    let (core, home) = (namespaces.make("relays").expect("made"), namespaces.make("people").expect("made"));
    wire(&core, "people", &home, "eth").expect("connected");
    for at in ["5.9.0.1/24", "5.9.0.2/24"] {
        address(&core, "people", at).expect("given");
    }
    address(&home, "eth", "5.9.0.9/24").expect("given");
    rules(&core, BLOCKED).expect("loaded");
    let fallbacks = prepare(&folder);
    std::fs::write(folder.path("say.wav"), zmesh_voice::SPEECH_WAV).expect("written");
    let configurations: Vec<String> = (0..RELAYS).map(|number| format!("r{number}/relay.toml")).collect();
    let _relays: Vec<Running> =
        configurations.iter().map(|file| start(&core, &folder, &["relay", "--config", file])).collect();

    let common = |output| {
        let ways = ["--fallback", &fallbacks[0], "--fallback", &fallbacks[1]];
        [&ways[..], &["--network", "network", "--input", "say.wav", "--output", output, "--seconds", "6"]].concat()
    };
    let mut answer = start(&home, &folder, &[&["voice", "answer"][..], &common("a.wav")].concat());
    folder.write("invite", &format!("{}\n", answer.text("invite")));
    let invite = std::fs::File::open(folder.path("invite")).expect("there");
    let call = within(&home, &folder, &[&["voice", "call", "--json"][..], &common("b.wav")].concat())
        .stdin(invite)
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    while connections_to_443(&home) < 2 {
        assert!(Instant::now() < deadline, "both have a connection to port 443");
        thread::sleep(Duration::from_millis(50));
    }
    let called = call.wait_with_output().expect("it ends");
    assert!(called.status.success());
    let answered = answer.result("stopped");
    let called = String::from_utf8(called.stdout).expect("text");
    let calls: Value = serde_json::from_str(called.lines().last().expect("a report")).expect("JSON");
    assert_eq!(calls["report"]["words"], answered["report"]["words"], "both see the same words");
    for call in [&calls, &answered] {
        let report = &call["report"];
        // Of 300. A machine that stalls skips some; how many is measured elsewhere.
        assert!(report["frames_sent"].as_u64() >= Some(150), "{report}");
        assert!(report["frames_played"].as_u64() >= Some(75), "{report}");
    }
    assert!(dropped(&core) > 0, "UDP was tried, and came to nothing");
}

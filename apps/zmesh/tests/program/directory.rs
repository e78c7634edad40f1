//! Real processes that agree on documents over loopback: no file and no person tells them who is there.
//!
//! Every child here stops when its stdin ends, so a test that fails leaves nothing running.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::echo::echo;
use crate::support::running::{PATIENCE, Running, signal};
use crate::support::{Folder, Ran, wav};
use serde_json::Value;
use zmesh_overlay::Bootstrap;
use zmesh_proto::wire::bootstrap::Checkpoint;
use zmesh_proto::wire::control::{Genesis, GenesisTerms, HeaderHash};

/// Relays that agree, for a test of their own.
fn testnet(folder: &Folder, relays: &str, exits: &str, epoch: &str) -> Running {
    let net = ["testnet", "--dir", "net", "--relays", relays, "--exits", exits, "--epoch", epoch];
    let net = Running::start(folder, &net);
    let log = std::fs::read_to_string(folder.path("testnet.log")).expect("a log");
    // That there are few of them is said beforehand.
    let warned = log.lines().any(|line| line.starts_with("warning: ") && !line.contains("has too few relays"));
    assert!(!warned, "every relay is in the document: {log}");
    net
}

/// What a relay of the test network says of itself.
fn status(folder: &Folder, relay: &str) -> Value {
    let config = format!("net/{relay}/relay.toml");
    serde_json::from_str(&folder.succeeds(&["status", "--config", &config, "--json"])).expect("JSON")
}

fn epoch(folder: &Folder, relay: &str) -> u64 {
    status(folder, relay)["directory"]["epoch"].as_u64().expect("an epoch")
}

/// Sends something through a SOCKS5 proxy and back.
fn fetch(proxy: SocketAddr, target: SocketAddr) {
    let mut stream = TcpStream::connect(proxy).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let SocketAddr::V4(v4) = target else { panic!("IPv4") };
    let request = [&[5, 1, 0, 5, 1, 0, 1][..], &v4.ip().octets(), &v4.port().to_be_bytes()].concat();
    stream.write_all(&request).expect("open");
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(reply[3], 0, "the proxy reached it");
    stream.write_all(b"over relays that agreed").expect("open");
    let mut back = [0; 23];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(&back, b"over relays that agreed");
}

/// A proxy that knows nothing of the network but its line.
fn proxy(folder: &Folder, line: &str, hops: &str) -> Running {
    let running = Running::start(folder, &["proxy", "--bootstrap", line, "--listen", "127.0.0.1:0", "--hops", hops]);
    let path = running.ready["circuits"][0]["path"].as_array().expect("a path");
    assert_eq!(path.len().to_string(), hops);
    running
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it took too long: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Ends a relay without a word, and starts it again with nobody to ask but whom its store remembers.
fn kill_and_restart(folder: &Folder, net: &Running, place: usize) -> Running {
    let relay = &net.ready["relays"][place];
    let (process, nickname) = (relay["process"].as_u64().expect("an id"), relay["nickname"].as_str().expect("a name"));
    signal("-KILL", u32::try_from(process).expect("an id"));
    let log = folder.path("testnet.log");
    let gone = format!("the relay {nickname} is gone");
    wait_until("its end is noticed", || std::fs::read_to_string(&log).unwrap_or_default().contains(&gone));
    let config = format!("net/relay-{}/relay.toml", place + 1);
    let text = std::fs::read_to_string(folder.path(&config)).expect("a configuration");
    let (before, after) = text.split_once("contacts = [").expect("contacts");
    let (contact, after) = after.split_once(']').expect("a list");
    assert!(contact.starts_with("\"127.0.0.1:"), "it had one contact: {contact}");
    folder.write(&config, &format!("{before}contacts = []{after}"));
    Running::start(folder, &["relay", "--config", &config])
}

#[test]
fn three_relays_agree_and_one_that_was_killed_votes_again_without_help() {
    let folder = Folder::new();
    let net = testnet(&folder, "3", "1", "8");
    let line = net.ready["line"].as_str().expect("a line").to_owned();
    assert!(line.starts_with("zmesh:net/1/") && net.ready["network"].is_null());
    let target = echo("127.0.0.1:0");
    let client = proxy(&folder, &line, "3");
    fetch(client.address(), target);
    client.terminate();
    for relay in ["relay-1", "relay-2", "relay-3"] {
        let told = status(&folder, relay);
        assert_eq!((told["directory"]["voters"].as_u64(), told["directory"]["votes"].as_bool()), (Some(3), Some(true)));
        assert_eq!((told["network"]["relays"].as_u64(), told["network"]["listed"].as_bool()), (Some(3), Some(true)));
        assert_eq!(told["directory"]["peers"], 2, "{told}");
    }

    // A relay that runs says which document a newcomer's history has to lead through.
    let printed = |relay: &str| {
        let config = format!("net/{relay}/relay.toml");
        let text = folder.succeeds(&["network", "line", "--config", &config]);
        text.trim().parse::<Bootstrap>().expect("a line")
    };
    let young = printed("relay-1");
    let checkpoint = *young.checkpoint().expect("it has one");
    assert!(young.to_string().starts_with("zmesh:net/2/") && young.entries().len() == 1);
    assert!(checkpoint.epoch >= 1 && checkpoint.epoch <= epoch(&folder, "relay-1"));
    let client = proxy(&folder, &young.to_string(), "2");
    fetch(client.address(), target);
    client.terminate();
    let other = Checkpoint { hash: HeaderHash([7; 32]), ..checkpoint };
    let other = young.with_checkpoint(Some(other)).to_string();
    let ran =
        folder.run(&["proxy", "--bootstrap", &other, "--state", "fresh", "--listen", "127.0.0.1:0", "--hops", "2"]);
    assert_eq!(ran.code, 1, "another history: {}", ran.stderr);
    assert!(ran.stderr.contains("the network cannot be entered"), "{}", ran.stderr);

    // Each relay says once an epoch that it lives.
    wait_until("everybody is heard", || status(&folder, "relay-3")["directory"]["health"]["relays"] == 3);
    let words = folder.succeeds(&["status", "--config", "net/relay-3/relay.toml"]);
    assert!(words.contains("about 3 relays said within the last two epochs that they live"), "{words}");

    // Of three voters all have to agree, so the network stands still without the one that is killed.
    let mut back = kill_and_restart(&folder, &net, 1);
    let again = back.result("document");
    assert_eq!(again["document"]["relays"], 3, "it is there at once, from its store");
    let before = again["document"]["epoch"].as_u64().expect("an epoch");
    wait_until("it votes again", || {
        ["relay-1", "relay-2", "relay-3"].iter().all(|relay| epoch(&folder, relay) > before + 1)
    });
    // After a crash the relay refuses set-ups for a while, as it cannot know which it has seen: two others are a path.
    let client = proxy(&folder, &line, "2");
    fetch(client.address(), target);
    client.terminate();
    let words = folder.succeeds(&["status", "--config", "net/relay-2/relay.toml"]);
    assert!(words.contains("3 voters, this relay votes, 2 peers"), "{words}");
    let stopped = back.terminate();
    assert!(stopped["metrics"].is_object(), "{stopped}");
    // One that does not run has it in its store.
    assert!(printed("relay-2").checkpoint().expect("kept").epoch > before);
}

/// Nobody told anybody how quick a relay is: voters measured it.
#[test]
fn documents_say_what_voters_measured_and_paths_are_explained_by_it() {
    let folder = Folder::new();
    let net = testnet(&folder, "6", "2", "8");
    let line = net.ready["line"].as_str().expect("a line").to_owned();
    let explain = || -> Value {
        // A document that was stored is good enough for a client, and says nothing of what was measured since.
        let _ = std::fs::remove_dir_all(folder.path("no-home"));
        let ran = folder.run(&["path", "explain", "--bootstrap", &line, "--port", "0", "--json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_default()
    };
    let told = |path: &Value| {
        let hops = path["path"].as_array().expect("relays");
        hops.iter().all(|hop| hop["capacity_kb_s"].is_u64())
            && hops.iter().skip(1).all(|hop| hop["expected_ms_from_before"].is_f64())
    };
    let mut path = Value::Null;
    wait_until("documents have capacities and places", || {
        path = explain();
        path["capacities_known"] == true && path["latencies_known"] == true && told(&path)
    });
    for hop in path["path"].as_array().expect("relays") {
        let capacity = hop["capacity_kb_s"].as_u64().expect("told");
        assert!((10..=1_250_000).contains(&capacity), "{capacity}");
    }
    let around = path["expected_ms_behind_guard"].as_f64().expect("told");
    assert!(around > 0.0 && around < 200.0, "loopback is near: {path}");
    let words = folder.succeeds(&["path", "explain", "--bootstrap", &line, "--port", "0"]);
    assert!(words.contains("kB/s") && !words.contains("nobody has measured"), "{words}");
}

#[test]
fn twenty_relays_agree_and_one_that_was_killed_comes_back_without_help() {
    let folder = Folder::new();
    let net = testnet(&folder, "20", "3", "24");
    let line = net.ready["line"].as_str().expect("a line").to_owned();
    let target = echo("127.0.0.1:0");
    let client = proxy(&folder, &line, "3");
    fetch(client.address(), target);
    client.terminate();
    // It follows and does not vote.
    let back = kill_and_restart(&folder, &net, 12);
    wait_until("it has met others", || status(&folder, "relay-13")["directory"]["peers"].as_u64() >= Some(3));
    let before = epoch(&folder, "relay-13");
    wait_until("it follows", || epoch(&folder, "relay-13") > before);
    let told = status(&folder, "relay-13");
    assert_eq!((told["directory"]["voters"].as_u64(), told["directory"]["votes"].as_bool()), (Some(7), Some(false)));
    assert_eq!((told["network"]["relays"].as_u64(), told["network"]["listed"].as_bool()), (Some(20), Some(true)));
    assert_eq!(told["directory"]["banned"], 0, "{told}");
    let client = proxy(&folder, &line, "3");
    fetch(client.address(), target);
    client.terminate();
    back.terminate();
}

#[test]
fn with_too_few_relays_one_message_says_how_many_are_missing() {
    let folder = Folder::new();
    let net = testnet(&folder, "2", "1", "8");
    let log = std::fs::read_to_string(folder.path("testnet.log")).expect("a log");
    assert_eq!(log.matches("a path of 3 relays lacks 1 of them: the network has too few relays").count(), 1, "{log}");
    let line = net.ready["line"].as_str().expect("a line");
    std::fs::write(folder.path("a.wav"), wav(1, 48_000, 48_000)).expect("written");
    let sound = ["--input", "a.wav", "--output", "heard.wav", "--seconds", "10"];
    let says = |command: &[&str], ran: &Ran| {
        assert_eq!(ran.code, 1, "{command:?}: {}", ran.stderr);
        let missing: Vec<&str> = ran.stderr.lines().filter(|line| line.contains("lacks")).collect();
        assert_eq!(missing.len(), 1, "{command:?}: {}", ran.stderr);
        let one = "a path of 3 relays lacks 1 of them: the network has too few relays";
        assert!(missing[0].starts_with("error: ") && missing[0].contains(one), "{command:?}: {}", ran.stderr);
    };
    let answer = [&["voice", "answer"][..], &sound].concat();
    let commands: [&[&str]; 4] =
        [&["proxy", "--listen", "127.0.0.1:0"], &answer, &["path", "explain"], &["path", "explain", "--measure"]];
    for command in commands {
        says(command, &folder.run(&[command, &["--hops", "3", "--ephemeral", "--bootstrap", line]].concat()));
    }
    // Who asks for no more than there is gets it; where the other side chose the meeting relay, that comes on top.
    proxy(&folder, line, "2").terminate();
    let waits = Running::start(&folder, &[&answer[..], &["--hops", "2", "--bootstrap", line]].concat());
    let call = [&["voice", "call"][..], &sound, &["--hops", "2"]].concat();
    folder.write("invite", waits.text("invite"));
    says(&call, &folder.run_with(&call, "invite"));
    let refused = folder.fails(&["demo", "--relays", "3", "--hops", "3"], 2);
    assert!(refused.contains("a path of 4 relays lacks 1 of them: the network has too few relays"), "{refused}");
}

/// Keys and a configuration of a relay that takes part, changed by `change`.
fn member(folder: &Folder, change: impl Fn(String) -> String) {
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let template = folder.succeeds(&["config", "print", "relay"]);
    let text = template
        .replace("operator = \"\"", "operator = \"me\"")
        .replace("0.0.0.0:9001", "127.0.0.1:0")
        .replace("0.0.0.0:9002", "127.0.0.1:0")
        .replace("advertise = []\n\n# The secret", "advertise = [\"192.0.2.1:9001\"]\n\n# The secret")
        .replace("#genesis = \"genesis\"", "genesis = \"genesis\"");
    folder.write("relay.toml", &change(text));
}

#[test]
fn a_network_begins_with_a_genesis_and_a_line_leads_to_it() {
    let folder = Folder::new();
    member(&folder, |text| text);
    folder.succeeds(&["keys", "descriptor", "--config", "relay.toml", "--out", "me.descriptor"]);
    folder.succeeds(&["keys", "generate", "--signer", "--out", "bob"]);
    let genesis = ["network", "genesis", "--name", "friends", "--voter", "me.descriptor", "--out", "genesis"];
    let made = folder.run(&[&genesis[..], &["--voter", "bob=bob", "--json"]].concat());
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("with 2 voters all have to agree"), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).expect("JSON");
    let operators: Vec<&str> =
        made["voters"].as_array().expect("a list").iter().filter_map(|voter| voter["operator"].as_str()).collect();
    assert!(operators.contains(&"me") && operators.contains(&"bob"), "{made}");
    let shown = folder.succeeds(&["network", "show", "genesis"]);
    assert!(shown.contains("friends") && shown.contains(made["id"].as_str().expect("an id")), "{shown}");
    let line = folder.succeeds(&["network", "line", "--genesis", "genesis", "me.descriptor"]);
    assert!(line.starts_with("zmesh:net/1/") && line.trim().len() == 187, "{line}");

    // The relay that has this configuration, which holds no document yet.
    let own = folder.run(&["network", "line", "--config", "relay.toml"]);
    assert_eq!((own.code, &own.stdout), (0, &line), "{}", own.stderr);
    assert!(own.stderr.contains("no document yet"), "{}", own.stderr);
    assert_eq!(folder.run(&["network", "line", "me.descriptor"]).code, 2, "of no network");
    // After a while nobody new believes a genesis alone.
    let text = std::fs::read(folder.path("genesis")).expect("there");
    let terms = Genesis::from_text(&text).expect("armour").expect("a genesis").terms().clone();
    let old = Genesis::new(GenesisTerms { epoch_zero: terms.epoch_zero - 91 * 86_400, ..terms }).expect("a genesis");
    folder.write("old", &old.to_text());
    let refused = folder.fails(&["network", "line", "--genesis", "old", "me.descriptor"], 1);
    assert!(refused.contains("nobody who is new") && refused.contains("--config"), "{refused}");
    let young = folder.run(&["network", "line", "--genesis", "old", "--config", "relay.toml"]);
    assert_eq!(young.code, 1, "it holds no document: {}", young.stderr);

    let again = folder.fails(&[&genesis[..], &["--voter", "bob=bob"]].concat(), 2);
    assert!(again.contains("exists already"), "{again}");
    let long = folder.fails(&[&genesis[..7], &["other", "--epoch", "80000"]].concat(), 2);
    assert!(long.contains("descriptors of relays may end"), "{long}");
    let twice = folder.fails(&[&genesis[..7], &["other", "--voter", "me=bob"]].concat(), 2);
    assert!(twice.contains("more voters of one operator"), "{twice}");
    folder.unchanged();
}

#[test]
fn a_relay_that_cannot_take_part_says_why() {
    let folder = Folder::new();
    member(&folder, |text| text);
    let line = folder.fails(&["relay", "--config", "relay.toml"], 2);
    assert!(line.contains("genesis") && line.contains("zmesh network genesis"), "{line}");
    folder.write("genesis", "nonsense");
    let line = folder.fails(&["relay", "--config", "relay.toml"], 2);
    assert!(line.contains("the genesis") && line.contains("cannot be used"), "{line}");
    std::fs::remove_file(folder.path("genesis")).expect("there");
    let genesis = ["network", "genesis", "--name", "friends", "--voter", "me=keys", "--out", "genesis"];
    assert_eq!(folder.run(&genesis).code, 0);

    // Somebody else is there already.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = format!("listen = [\"{}\"]", taken.local_addr().expect("bound"));
    let text = std::fs::read_to_string(folder.path("relay.toml")).expect("there");
    let (head, tail) = text.split_once("[directory]").expect("a table");
    folder.write("relay.toml", &format!("{head}[directory]{}", tail.replace("listen = [\"127.0.0.1:0\"]", &at)));
    let line = folder.fails_after_warnings(&["relay", "--config", "relay.toml"], 1);
    assert!(line.contains("cannot listen") && line.contains("[directory]"), "{line}");

    // Two relays with one store.
    folder.write("relay.toml", &text);
    let running = Running::start(&folder, &["relay", "--config", "relay.toml"]);
    let contacts = running.ready["contacts"].as_array().expect("a list");
    assert_eq!(contacts.len(), 0, "nobody can reach port 0");
    folder.write("other.toml", &text.replace("state = \"state\"", "state = \"other\""));
    let line = folder.fails_after_warnings(&["relay", "--config", "other.toml"], 1);
    assert!(line.contains("store") && line.contains("whether another relay runs with it"), "{line}");
    let words = folder.succeeds(&["status"]);
    assert!(words.contains("no document yet, 1 voters, 0 peers"), "{words}");
    running.terminate();
    assert!(Path::new(&folder.path("control")).exists());
}

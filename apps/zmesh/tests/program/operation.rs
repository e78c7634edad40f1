//! A relay as its operator sees it: figures, status, reload, limits, backup.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Folder;
use crate::support::running::{PATIENCE, Running, signal};
use serde_json::Value;

/// What a relay of its own needs, in a network of which it is no part, with a configuration changed by `change`.
fn configure(folder: &Folder, change: impl Fn(String) -> String) {
    folder.write("network", &crate::support::network(4, 1));
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let template = folder.succeeds(&["config", "print", "relay"]);
    folder.write("relay.toml", &change(template.replace("0.0.0.0:9001", "127.0.0.1:0")));
}

fn lone_relay(folder: &Folder, change: impl Fn(String) -> String) -> Running {
    configure(folder, change);
    Running::start(folder, &["relay", "--config", "relay.toml"])
}

/// What Prometheus would read.
fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_relay_tells_its_operator_how_it_does_and_reads_its_configuration_again() {
    let folder = Folder::new();
    let metrics = "#listen = \"127.0.0.1:9153\"";
    let relay = lone_relay(&folder, |text| text.replace(metrics, "listen = \"127.0.0.1:0\""));
    let address = relay.ready["metrics"].as_str().expect("an address").to_owned();
    let figures = scrape(&address);
    assert!(figures.starts_with("HTTP/1.1 200 ") && figures.contains("zmesh_network_relays 4.0"), "{figures}");
    assert!(figures.contains("zmesh_network_listed 0.0"), "{figures}");

    let status = folder.succeeds(&["status", "--config", "relay.toml"]);
    assert!(status.contains("unnamed (meetings, chunks)") && status.contains("nobody uses it"), "{status}");
    let json: Value = serde_json::from_str(&folder.succeeds(&["status", "--json"])).expect("JSON");
    assert_eq!(json["metrics"]["links_up"], 0);
    assert_eq!(json["month"]["limit_bytes"], 0);

    let text = std::fs::read_to_string(folder.path("relay.toml")).expect("there");
    let text = text.replace("send_bytes_per_month = 0", "send_bytes_per_month = 7000000000");
    folder.write("relay.toml", &text.replace("meeting = true", "meeting = false"));
    signal("-HUP", relay.process.id());
    let deadline = Instant::now() + PATIENCE;
    while !scrape(&address).contains("zmesh_month_limit_bytes 7000000000.0") {
        assert!(Instant::now() < deadline, "the new limit does not show");
        thread::sleep(Duration::from_millis(50));
    }
    folder.write("relay.toml", "nonsense");
    signal("-HUP", relay.process.id());
    let log = || std::fs::read_to_string(folder.path("relay.log")).unwrap_or_default();
    while !log().contains("the older configuration stays in use") {
        assert!(Instant::now() < deadline, "{}", log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(log().contains("takes effect at the next start: meeting"), "{}", log());

    relay.terminate();
    let line = folder.fails(&["status", "--config", "relay.toml"], 2);
    assert!(line.contains("relay.toml"), "the configuration is nonsense now: {line}");
    assert!(!folder.path("state/status.sock").exists());
    let month = std::fs::read_to_string(folder.path("state/month")).expect("kept");
    assert!(month.trim_end().split(' ').count() == 2, "{month}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_relay_may_open_as_many_files_as_the_system_lets_it() {
    let folder = Folder::new();
    configure(&folder, |text| text);
    let relay = folder.command(&["relay", "--config", "relay.toml", "--json", "--exit-with-stdin"]);
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -S -n 300 && exec \"$0\" \"$@\""]).arg(relay.get_program()).args(relay.get_args());
    few.current_dir(folder.path("")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut relay = Running::of(few.spawn().expect("it starts"));
    relay.result("ready");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.process.id())).expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a limit");
    let mut files = files.split_whitespace();
    let (soft, hard) = (files.next().expect("a number"), files.next().expect("a number"));
    assert_eq!(soft, hard);
}

#[test]
fn a_relay_without_bytes_left_takes_no_circuits() {
    let folder = Folder::new();
    let relay = lone_relay(&folder, |text| text.replace("send_bytes_per_month = 0", "send_bytes_per_month = 1000"));
    drop(relay);
    // A month of which more is used than is allowed now. (At a month's very end it would be another one: nothing is used of that.)
    let month = std::fs::read_to_string(folder.path("state/month")).expect("kept");
    let month = month.split(' ').next().expect("a month").to_owned();
    folder.write("state/month", &format!("{month} 1000\n"));
    let relay = Running::start(&folder, &["relay", "--config", "relay.toml"]);
    let json: Value = serde_json::from_str(&folder.succeeds(&["status", "--json"])).expect("JSON");
    assert_eq!(json["draining"], true);
    // It still knocks at its neighbours' doors.
    assert!(json["month"]["sent_bytes"].as_u64().expect("a number") >= 1000, "{json}");
    drop(relay);
}

#[test]
fn keys_come_back_from_a_backup() {
    let folder = Folder::new();
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    folder.write("phrase", "correct horse battery\n");
    folder.write("short", "horse\n");
    folder.write("other", "correct horse batterx\n");
    let backup = |phrase: &'static str| ["keys", "backup", "keys", "--out", "kept", "--passphrase-file", phrase];
    let line = folder.fails_after_warnings(&backup("short"), 2);
    assert!(line.contains("shorter than 10"), "{line}");
    assert_eq!(folder.run(&backup("phrase")).code, 0);
    let restore = |phrase: &'static str| ["keys", "restore", "kept", "--out", "again", "--passphrase-file", phrase];
    let line = folder.fails_after_warnings(&restore("other"), 2);
    assert!(line.contains("passphrase is wrong"), "{line}");
    let ran = folder.run(&restore("phrase"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let show = |file| folder.succeeds(&["keys", "show", file]);
    assert_eq!(show("again"), show("keys"));
}

#[test]
fn nobody_is_asked_for_a_passphrase_that_is_of_no_use() {
    let folder = Folder::new();
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    folder.succeeds(&["keys", "generate", "--service", "--out", "service.key"]);
    folder.write("phrase", "correct horse battery\n");
    assert_eq!(folder.run(&["keys", "backup", "keys", "--out", "kept", "--passphrase-file", "phrase"]).code, 0);
    // There is no terminal here: whoever asked before looking would say so.
    for (arguments, says) in [
        (&["backup", "keys", "--out", "kept"][..], "exists already"),
        (&["restore", "kept", "--out", "keys"], "exists already"),
        (&["restore", "keys", "--out", "new"], "this is the key file of a relay, not the backup of a relay's keys"),
        (&["backup", "kept", "--out", "new"], "make a key file of it with: zmesh keys restore"),
        (&["backup", "service.key", "--out", "new"], "the key file of a service, and only a relay's keys have backups"),
        (&["show", "kept"], "zmesh keys restore"),
        (&["restore", "kept", "--out", "new", "--passphrase-file", "missing"], "the file of the passphrase missing"),
    ] {
        let line = folder.fails(&[&["keys"][..], arguments].concat(), 2);
        assert!(line.contains(says), "{line}");
    }
    assert!(!folder.path("new").exists());
}

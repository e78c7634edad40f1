//! What a real Prometheus makes of a relay's figures. Skipped, and said so, where Prometheus is not installed (Debian: `prometheus`).

#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Folder;
use crate::support::running::{PATIENCE, Running};
use serde_json::Value;

/// Whether a program is there; says that the test is skipped if not.
fn is_installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        println!("SKIPPED: {program} is not installed (Debian: apt-get install prometheus)");
    }
    there
}

/// A relay of its own with an endpoint for figures.
fn relay(folder: &Folder) -> Running {
    folder.write("network", &crate::support::network(4, 1));
    folder.succeeds(&["keys", "generate", "--out", "keys"]);
    let template = folder.succeeds(&["config", "print", "relay"]);
    let text = template
        .replace("0.0.0.0:9001", "127.0.0.1:0")
        .replace("#listen = \"127.0.0.1:9153\"", "listen = \"127.0.0.1:0\"");
    folder.write("relay.toml", &text);
    Running::start(folder, &["relay", "--config", "relay.toml"])
}

/// The body of an answer; HTTP 1.0, so that it comes in one piece.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

/// `promtool check metrics` reads the classic format, in which a counter's family has the name of its sample: OpenMetrics leaves
/// `_total` off there. Nothing else is changed.
fn classic(figures: &str) -> String {
    let counters: Vec<&str> =
        figures.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let rename = |line: &str| {
        let mut words: Vec<&str> = line.splitn(4, ' ').collect();
        let total = words.get(2).filter(|name| line.starts_with('#') && counters.contains(name));
        let total = total.map(|name| format!("{name}_total"));
        if let Some(total) = &total {
            words[2] = total;
        }
        words.join(" ") + "\n"
    };
    figures.lines().map(rename).collect()
}

#[test]
fn promtool_finds_nothing_wrong_with_the_figures() {
    if !is_installed("promtool") {
        return;
    }
    let folder = Folder::new();
    let relay = relay(&folder);
    let figures = get(relay.text("metrics"), "/metrics").expect("figures");
    let mut check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    check.stdin.take().expect("piped").write_all(classic(&figures).as_bytes()).expect("read");
    let output = check.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success() && said.is_empty(), "{said}\n{figures}");
}

struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every figure arrives, with the type that it was given: Prometheus asks for OpenMetrics and takes nothing of a malformed page.
#[test]
fn a_real_prometheus_scrapes_a_relay() {
    if !is_installed("prometheus") {
        return;
    }
    let folder = Folder::new();
    let relay = relay(&folder);
    let target = relay.text("metrics").to_owned();
    let figures = get(&target, "/metrics").expect("figures");
    let count = figures.lines().filter(|line| !line.starts_with('#')).count();
    let scrape = format!(
        "scrape_configs:\n  - job_name: zmesh\n    scrape_interval: 1s\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
    );
    folder.write("prometheus.yml", &scrape);
    // It has no way to say which port it was given, so a free one is looked for.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let at = SocketAddr::from(([127, 0, 0, 1], free.port())).to_string();
    let log = std::fs::File::create(folder.path("prometheus.log")).expect("a log");
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path("figures").display()))
        .arg(format!("--web.listen-address={at}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts");
    let _prometheus = Prometheus(started);
    let deadline = Instant::now() + PATIENCE;
    let value = |query: &str| loop {
        let answer = get(&at, &format!("/api/v1/query?query={query}"));
        let answer = answer.and_then(|body| serde_json::from_str::<Value>(&body).ok());
        let value = answer.as_ref().and_then(|answer| answer.pointer("/data/result/0/value/1")?.as_str());
        if let Some(value) = value {
            break value.to_owned();
        }
        let log = || std::fs::read_to_string(folder.path("prometheus.log")).unwrap_or_default();
        assert!(Instant::now() < deadline, "{query} never came: {}", log());
        thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(value("zmesh_network_relays{job=\"zmesh\"}"), "4");
    assert_eq!(value("scrape_samples_scraped{job=\"zmesh\"}"), count.to_string());
    assert_eq!(value("up{job=\"zmesh\"}"), "1");
    let types = get(&at, "/api/v1/targets/metadata?metric=zmesh_received_bytes").expect("an answer");
    assert!(types.contains("\"type\":\"counter\"") && types.contains("Bytes of datagrams received"), "{types}");
    drop(relay);
}

//! Real processes: a web server behind `zmesh service`, fetched by curl through `zmesh proxy`.
//!
//! Every child here stops when its stdin ends, so a test that fails leaves nothing running.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use crate::support::running::Running;
use crate::support::{Folder, held_port};
use serde_json::Value;

const PAGE: &str = "a page from nowhere\n";

/// A web server with one page, which says what host it was asked for.
fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            thread::spawn(move || {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && connection.read_exact(&mut byte).is_ok() {
                    request.push(byte[0]);
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", PAGE.len());
                let _ = connection.write_all(head.as_bytes());
                let _ = connection.write_all(PAGE.as_bytes());
            });
        }
    });
    address
}

/// What curl fetches, or its exit code.
fn curl(arguments: &[&str]) -> Result<String, i32> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60"])
        .args(arguments)
        .output()
        .expect("curl is there");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        Err(output.status.code().unwrap_or(-1))
    }
}

#[test]
fn curl_reads_a_web_server_behind_a_service_and_a_restart_keeps_the_address() {
    let folder = Folder::new();
    let testnet = Running::start(&folder, &["testnet", "--dir", "net", "--relays", "7", "--exits", "1", "--file"]);
    let network = testnet.text("network").to_owned();
    let web = web_server().to_string();
    let proxy = Running::start(&folder, &["proxy", "--network", &network, "--listen", "127.0.0.1:0", "--hops", "2"]);
    let (socks, http) = (format!("socks5h://{}", proxy.text("address")), format!("http://{}", proxy.text("address")));
    let serve = || {
        Running::start(
            &folder,
            &["service", "--network", &network, "--target", &web, "--key", "service.key", "--port", "80"],
        )
    };

    let service = serve();
    let address = service.text("address").to_owned();
    assert!(address.ends_with(".zmesh") && address.len() == 62);
    let page = format!("http://{address}/");
    assert_eq!(curl(&["--proxy", &socks, &page]), Ok(PAGE.to_owned()), "SOCKS5");
    assert_eq!(curl(&["--proxy", &http, "--proxytunnel", &page]), Ok(PAGE.to_owned()), "HTTP CONNECT");
    assert_eq!(curl(&["--proxy", &socks, &format!("http://www.{address}/")]), Ok(PAGE.to_owned()), "a name below it");
    // 97: the proxy says no.
    assert_eq!(curl(&["--proxy", &socks, &format!("http://{address}:81/")]), Err(97), "a port that is closed");
    let unknown = format!("http://{}a{}/", &address[..9], &address[10..]);
    if unknown != page {
        assert_eq!(curl(&["--proxy", &socks, &unknown]), Err(97), "a mistyped address");
    }
    let again = ["service", "--network", &network, "--target", &web, "--key", "service.key"];
    let line = folder.fails(&again, 2);
    assert!(line.contains("service.key") && line.contains("a service runs with it already"), "{line}");
    let line = folder.fails(&["voice", "answer", "--network", &network, "--service", "service.key"], 2);
    assert!(line.contains("a service runs with it already"), "{line}");
    let last = service.terminate();
    assert!(last["service"]["met"].as_u64().expect("a count") >= 1);
    let shown = folder.succeeds(&["keys", "show", "service.key"]);
    assert!(shown.contains(&address));
    assert!(folder.path("service.key.relays").exists(), "second relays are kept");

    // At once: its descriptor is not newer than the one of before, so it waits until it is.
    let again = serve();
    assert_eq!(again.text("address"), address);
    let mut read = curl(&["--proxy", &socks, &page]);
    // The proxy may still try the circuit to the run before.
    for _ in 0..3 {
        if read.is_ok() {
            break;
        }
        read = curl(&["--proxy", &socks, &page]);
    }
    assert_eq!(read, Ok(PAGE.to_owned()));
    for log in ["service.log", "proxy.log"] {
        let log = std::fs::read_to_string(folder.path(log)).expect("a log");
        assert!(!log.contains(&address[..20]), "addresses stay out of logs");
    }
}

#[test]
fn a_call_to_an_address_that_stays() {
    let folder = Folder::new();
    std::fs::write(folder.path("say.wav"), zmesh_voice::SPEECH_WAV).expect("written");
    let testnet = Running::start(&folder, &["testnet", "--dir", "net", "--relays", "7", "--exits", "1", "--file"]);
    let network = testnet.text("network").to_owned();
    let sound = |output: &'static str| ["--input", "say.wav", "--output", output, "--seconds", "4"];
    let answer = ["voice", "answer", "--network", &network, "--service", "me.key"];
    let mut answer = Running::start(&folder, &[&answer[..], &sound("a.wav")].concat());
    let address = answer.text("address").to_owned();
    let call = ["voice", "call", &address, "--network", &network, "--json"];
    let called = folder.run(&[&call[..], &sound("b.wav")].concat());
    assert_eq!(called.code, 0, "{}", called.stderr);
    let answered = answer.result("stopped");
    let calls: Value = serde_json::from_str(called.stdout.lines().last().expect("a report")).expect("JSON");
    assert_eq!(calls["report"]["words"], answered["report"]["words"], "both see the same words");
    for call in [&calls, &answered] {
        assert!(call["report"]["frames_played"].as_u64() >= Some(50), "{}", call["report"]);
    }
    // The call is over, and nobody waits at the address any more.
    let again = folder.run(&[&call[..], &sound("c.wav")].concat());
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("the call cannot be made"), "{}", again.stderr);
}

#[test]
fn a_target_that_nobody_answers_at_is_named_before_anything_else() {
    let folder = Folder::new();
    folder.write("net", &crate::support::network(4, 1));
    let held = held_port();
    let target = held.local_addr().expect("bound").to_string();
    let arguments = ["service", "--network", "net", "--target", &target, "--exit-with-stdin"];
    let mut service =
        folder.command(&arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut first = String::new();
    BufReader::new(service.stderr.take().expect("piped")).read_line(&mut first).expect("a line");
    drop(service.stdin.take());
    service.wait().expect("it ends");
    assert!(
        first.starts_with("warning: ") && first.contains(&target) && first.contains("accepts no connections"),
        "{first}"
    );
}

#[test]
fn a_service_says_what_is_wrong() {
    let folder = Folder::new();
    folder.write("net", &crate::support::network(4, 1));
    folder.write("bad.key", "no key");
    let target = ["service", "--target", "127.0.0.1:1"];
    let line = folder.fails(&[&target[..], &["--network", "net", "--key", "bad.key"]].concat(), 2);
    assert!(line.contains("bad.key"), "{line}");
    folder.fails(&[&target[..], &["--network", "missing"]].concat(), 2);
    folder.succeeds(&["keys", "generate", "--service", "--out", "s.key"]);
    let shown = folder.succeeds(&["keys", "show", "--json", "s.key"]);
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["kind"], "service");
    folder.fails(&["keys", "generate", "--service", "--out", "s.key"], 2);
}

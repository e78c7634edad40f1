//! A relay that is killed in the middle of a download.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use zmesh_tests::load::client;
use zmesh_tests::peers::zmesh::RelayProcess;

use super::Scene;

/// How long a person may be left without an answer.
const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_killed_guard_ends_nothing_in_silence() {
    kill_in_download(0);
}

#[test]
fn a_killed_middle_ends_nothing_in_silence() {
    kill_in_download(1);
}

#[test]
fn a_killed_exit_ends_nothing_in_silence() {
    kill_in_download(2);
}

/// Kills the relay at `place` of the circuit that a download uses. Within five seconds the download goes on or fails, and a new
/// connection works.
fn kill_in_download(place: usize) {
    let scene = Scene::new();
    let path = circuit_in_use(&scene);
    let victim = &path[place];
    let target = scene.http.address();
    let mut stream = scene.socks().connect(target).expect("a stream");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    write!(stream, "GET /bytes/100000000000 HTTP/1.1\r\nHost: here\r\n\r\n").expect("a request");
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..50 {
        assert!(stream.read(&mut buffer).expect("a running download") > 0);
    }

    victim.kill();
    let killed = Instant::now();
    // What was on its way still arrives; then comes silence, until the stream goes on or ends.
    let mut longest = Duration::ZERO;
    let ending = loop {
        let asked = Instant::now();
        let read = stream.read(&mut buffer);
        longest = longest.max(asked.elapsed());
        match read {
            Ok(0) => break "the stream ended".to_owned(),
            Err(error) => break format!("the stream failed: {error}"),
            Ok(_) if killed.elapsed() > LIMIT + Duration::from_secs(2) => break "the stream goes on".to_owned(),
            Ok(_) => {}
        }
    };
    println!("{} (place {place}) killed: {ending}; longest silence {longest:.2?}", victim.nickname);
    assert!(longest <= LIMIT, "silence for {longest:?}, then: {ending}");

    let begun = Instant::now();
    client::warm_up(&scene.socks(), target, LIMIT).expect("a new stream after the loss");
    println!("a new connection took {:.2?}", begun.elapsed());
}

/// The relays of the circuit that streams without a user name take.
fn circuit_in_use(scene: &Scene) -> Vec<RelayProcess> {
    let relays = scene.network.relays();
    let path = scene.proxy.ready.said["circuits"][0]["path"].as_array().expect("the path of the first circuit").clone();
    path.iter()
        .map(|name| {
            let name = name.as_str().expect("a nickname");
            relays.iter().find(|relay| relay.nickname == name).expect("a relay of the network").clone()
        })
        .collect()
}

//! Lengths of datagrams, seen on a capture of real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use zmesh_proto::wire::datagram::{L_LEN, S_LEN};
use zmesh_tests::load::client;
use zmesh_tests::load::server::Server;
use zmesh_tests::peers::process::{Process, find_program};

use super::{LOCALHOST, Scene};

#[test]
fn captured_datagrams_have_two_lengths() {
    let Some(tcpdump) = find_program("tcpdump") else {
        println!("skipped: tcpdump is not installed (apt install tcpdump)");
        return;
    };
    let scene = Scene::new();
    let file = scene.network.directory().join("capture.pcap");
    let ports: BTreeSet<u16> = scene.network.relays().iter().map(|relay| relay.address.port()).collect();
    let mut capture = Process::start(
        "tcpdump",
        Command::new(tcpdump)
            .args(["-i", "lo", "-n", "-U", "-s", "64", "-B", "65536", "-w"])
            .arg(&file)
            .arg("udp")
            .stdout(Stdio::null())
            .stderr(Stdio::null()),
    )
    .expect("tcpdump starts");
    std::thread::sleep(Duration::from_secs(1));
    if !capture.runs() {
        println!("skipped: tcpdump may not capture here (it needs root)");
        return;
    }
    let echo = Server::udp_echo(LOCALHOST).expect("a UDP server");
    let udp = scene.socks().isolated("call").bind_udp().expect("a UDP association");
    client::udp_echoes(&udp, echo.address(), 100, Duration::from_millis(20)).expect("echoes");
    client::download(&scene.socks(), scene.http.address(), 3_000_000).expect("a download");
    std::thread::sleep(Duration::from_millis(500));
    capture.terminate(Duration::from_secs(3));

    let bytes = fs::read(&file).expect("the capture");
    let mut lengths: BTreeMap<u8, BTreeMap<usize, u64>> = BTreeMap::new();
    let mut total = 0_u64;
    for (from, to, length, kind) in udp_of(&bytes) {
        // The application's own datagrams run between proxy, exits and the echo server: no port of a relay's links is in them.
        if ports.contains(&from) || ports.contains(&to) {
            *lengths.entry(kind).or_default().entry(length).or_default() += 1;
            total += 1;
        }
    }
    println!("{total} datagrams by type and length: {lengths:?}");
    assert!(total > 300, "only {total} datagrams were captured");
    for (kind, lengths) in &lengths {
        for length in lengths.keys() {
            // On loopback the kernel shows a run of equal datagrams that left by one system call as one packet.
            let run = length % S_LEN == 0 || length % L_LEN == 0;
            assert!(run, "a datagram of type {kind} has {length} bytes");
        }
    }
    let single: BTreeSet<usize> = lengths.values().flat_map(BTreeMap::keys).copied().filter(|l| *l <= L_LEN).collect();
    // 1,152 is a run of two short ones.
    assert!(single.is_subset(&BTreeSet::from([S_LEN, 2 * S_LEN, L_LEN])), "{single:?}");
}

/// Source port, destination port, length of the payload and its first byte, of every UDP datagram over IPv4 in a capture
/// (libpcap's format, Ethernet framing, as loopback has).
fn udp_of(bytes: &[u8]) -> Vec<(u16, u16, usize, u8)> {
    let mut found = Vec::new();
    let swapped = match bytes.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1]) => true,
        Some([0xa1, 0xb2, 0xc3, 0xd4]) => false,
        _ => return found,
    };
    let word = |at: usize| -> Option<usize> {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        let value = if swapped { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        usize::try_from(value).ok()
    };
    let mut at = 24;
    while let Some(captured) = word(at + 8) {
        if let Some(frame) = bytes.get(at + 16..at + 16 + captured) {
            found.extend(udp_in(frame));
        }
        at += 16 + captured;
    }
    found
}

fn udp_in(frame: &[u8]) -> Option<(u16, u16, usize, u8)> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if frame.get(12..14)? != [8, 0] || packet.get(9)? != &17 {
        return None;
    }
    let udp = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    Some((port(0)?, port(2)?, usize::from(port(4)?).checked_sub(8)?, *udp.get(8)?))
}

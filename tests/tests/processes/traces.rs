//! What a session leaves behind: no address of a client or of a destination, on the disk or in a log at its most talkative.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use zmesh_tests::load::client;
use zmesh_tests::load::server::Server;
use zmesh_tests::load::socks::Socks;
use zmesh_tests::peers::zmesh::ZmeshNetwork;

use super::{LOCALHOST, PATIENCE, built, stage};

/// Every file below a directory.
fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Ports of 127.0.0.1 that these bytes name: in text as `127.0.0.1:port`, in binary as four bytes and two.
fn ports_in(bytes: &[u8]) -> BTreeSet<u16> {
    let text = b"127.0.0.1:";
    let in_text = bytes.windows(text.len()).enumerate().filter(|(_, window)| window == text).filter_map(|(at, _)| {
        let digits = bytes[at + text.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
    });
    let binary = bytes.windows(6).filter(|window| window[..4] == [127, 0, 0, 1]);
    // In descriptors the length of the address stands between.
    in_text.chain(binary.map(|window| u16::from_be_bytes([window[4], window[5]]))).collect()
}

/// The ports of UDP sockets that a process holds, from `/proc`.
fn udp_ports_of(process: u32) -> BTreeSet<u16> {
    let inodes: BTreeSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .expect("the process runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["udp", "udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| {
            table
                .lines()
                .skip(1)
                .filter_map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    inodes.contains(*fields.get(9)?).then_some(())?;
                    u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
#[cfg(target_os = "linux")]
fn a_session_leaves_no_address_on_disk_or_in_logs() {
    let _stage = stage();
    let mut network = ZmeshNetwork::start_talkative(built(), 8, 2, PATIENCE).expect("the test network starts");
    let state = network.directory().join("client");
    let mut proxy = network.proxy(&["--state", &state.to_string_lossy()], PATIENCE).expect("the proxy starts");
    let web = Server::http(LOCALHOST).expect("a port of loopback");
    let echo = Server::udp_echo(LOCALHOST).expect("a UDP server");
    let socks = Socks::new(proxy.socks);
    client::warm_up(&socks, web.address(), PATIENCE).expect("a first stream");
    client::download(&socks, web.address(), 500_000).expect("a download");
    let udp = socks.isolated("call").bind_udp().expect("a UDP association");
    client::udp_echoes(&udp, echo.address(), 20, std::time::Duration::from_millis(10)).expect("echoes");

    let mut private = udp_ports_of(proxy.ready.process.id());
    assert!(!private.is_empty(), "the client has a socket for its links");
    private.extend([web.address().port(), echo.address().port()]);
    let public: BTreeSet<u16> = network.relays().iter().map(|relay| SocketAddr::port(&relay.address)).collect();
    assert!(private.is_disjoint(&public));
    proxy.ready.stop();
    network.stop();

    let mut files = Vec::new();
    files_below(network.directory(), &mut files);
    let (mut logs, mut seen) = (0_usize, 0_usize);
    for file in files {
        let bytes = fs::read(&file).expect("readable");
        if file.to_string_lossy().ends_with("log") {
            logs += bytes.len();
        }
        let ports = ports_in(&bytes);
        seen += ports.intersection(&public).count();
        let told: Vec<&u16> = ports.intersection(&private).collect();
        assert!(told.is_empty(), "{} names {told:?}", file.display());
    }
    println!("{logs} bytes of logs; relays' own addresses were found {seen} times");
    // Else the search would find nothing whatever was there.
    assert!(seen >= public.len(), "the search does not see the relays' own addresses");
    assert!(logs > 0, "nothing was logged");
}

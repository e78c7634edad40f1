//! Where the queue stands when a download saturates the path.

use std::time::Duration;

use serde_json::Value;
use zmesh_tests::load::client::{self, Saturation};
use zmesh_tests::load::server::Server;
use zmesh_tests::peers::process::udp_drops_at;

use super::{LOCALHOST, Scene};

#[test]
fn receive_buffers_stay_empty_under_load() {
    let mut scene = Scene::new();
    let echo = Server::udp_echo(LOCALHOST).expect("a UDP server");
    let udp = scene.socks().isolated("call").bind_udp().expect("a UDP association");
    let idle = client::udp_echoes(&udp, echo.address(), 100, Duration::from_millis(20)).expect("echoes");
    let load = Saturation::start(scene.socks().isolated("bulk"), scene.http.address());
    std::thread::sleep(Duration::from_secs(1));
    let loaded = client::udp_echoes(&udp, echo.address(), 250, Duration::from_millis(20)).expect("echoes");
    let download = load.stop().expect("the download");

    // Asked while the sockets still exist.
    let ports: Vec<u16> = scene.network.relays().iter().map(|relay| relay.address.port()).collect();
    let buffer_drops: u64 = ports.iter().map(|port| udp_drops_at(*port)).sum();
    let counted = scene.network.stop();
    let sum = |name: &str| -> u64 {
        counted.iter().map(|relay| relay["metrics"].pointer(name).and_then(Value::as_u64).expect(name)).sum()
    };
    let received = sum("/datagrams_received");
    println!("download beside echoes: {:.1} MB/s", download.megabytes_per_second());
    println!(
        "echo p50 {:.2?} -> {:.2?}, p99 {:.2?} -> {:.2?}, {} of 250 came back",
        idle.round_trips.p50().unwrap_or_default(),
        loaded.round_trips.p50().unwrap_or_default(),
        idle.round_trips.p99().unwrap_or_default(),
        loaded.round_trips.p99().unwrap_or_default(),
        loaded.round_trips.len()
    );
    println!(
        "of {received} datagrams receive buffers dropped {buffer_drops}; FQ-CoDel dropped {} cells, bounds {}",
        sum("/drops/codel"),
        sum("/drops/circuit_bound") + sum("/drops/link_bound") + sum("/drops/node_bound")
    );
    assert!(received > 10_000, "no load: {received} datagrams");
    // Near 0: one in a thousand.
    assert!(buffer_drops * 1000 <= received, "{buffer_drops} of {received}");
    assert!(loaded.lost() <= 0.02, "{:.1} % of the echoes lost", 100.0 * loaded.lost());
}

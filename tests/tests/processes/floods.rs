//! Junk at a relay's port while somebody talks through it. The figures are printed; what must hold is that nothing breaks.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zmesh_proto::link::{LinkConfig, Links, LocalIdentity};
use zmesh_tests::load::client;
use zmesh_tests::load::server::Server;

use super::{LOCALHOST, Scene};

#[test]
fn a_flooded_relay_keeps_serving() {
    let scene = Scene::new();
    let echo = Server::udp_echo(LOCALHOST).expect("a UDP server");
    let udp = scene.socks().bind_udp().expect("a UDP association");
    let quiet = client::udp_echoes(&udp, echo.address(), 150, Duration::from_millis(20)).expect("echoes");
    let path = scene.proxy.ready.said["circuits"][0]["path"][0].as_str().expect("the guard's name").to_owned();
    let guard = scene.network.relays().into_iter().find(|relay| relay.nickname == path).expect("the guard");
    let before = guard.memory().expect("the guard runs");
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    let network = std::fs::read(scene.network.network()).expect("the network file");
    let network = zmesh_proto::directory::Network::decode(&network, unix.as_secs()).expect("a valid network");
    let peer = network
        .relays()
        .iter()
        .map(zmesh_proto::directory::Relay::link_peer)
        .find(|peer| peer.addresses.contains(&guard.address))
        .expect("the guard is in the document");

    for (name, first_messages) in [("junk", false), ("half-open handshakes", true)] {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let attacker = {
            let (stop, sent, peer) = (Arc::clone(&stop), Arc::clone(&sent), peer.clone());
            let unix = u64::try_from(unix.as_nanos()).expect("before 2554");
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let datagram = if first_messages {
                        first_message(&peer, number, unix)
                    } else {
                        vec![(number % 7) as u8; 1200]
                    };
                    let _ = socket.send_to(&datagram, peer.addresses[0]);
                    number += 1;
                    sent.store(number, Ordering::Relaxed);
                    // Enough to hurt, not enough to take the attacker's share of this machine as well.
                    if number.is_multiple_of(32) {
                        std::thread::sleep(Duration::from_micros(if first_messages { 3_000 } else { 500 }));
                    }
                }
            })
        };
        let begun = Instant::now();
        let attacked = client::udp_echoes(&udp, echo.address(), 150, Duration::from_millis(20)).expect("echoes");
        let elapsed = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        attacker.join().expect("the attacker ends");
        let after = guard.memory().expect("the guard still runs");
        println!(
            "{name}, {:.0} a second: {} of 150 echoes came back ({} before), p99 {:.2?} -> {:.2?}; guard's memory {:.1} -> {:.1} MB",
            sent.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64(),
            attacked.round_trips.len(),
            quiet.round_trips.len(),
            quiet.round_trips.p99().unwrap_or_default(),
            attacked.round_trips.p99().unwrap_or_default(),
            before.now as f64 / 1e6,
            after.now as f64 / 1e6
        );
        assert!(attacked.lost() <= 0.1, "{name}: {:.0} % lost", 100.0 * attacked.lost());
        assert!(after.now <= before.now + (30 << 20), "{name}: {} -> {} bytes", before.now, after.now);
    }
    client::warm_up(&scene.socks(), scene.http.address(), Duration::from_secs(5)).expect("a stream after the flood");
}

/// The first message of a fresh origin's handshake.
fn first_message(peer: &zmesh_proto::link::LinkPeer, number: u64, unix_nanos: u64) -> Vec<u8> {
    use rand_core::SeedableRng;

    let now = Instant::now();
    let rng = rand_chacha::ChaCha12Rng::seed_from_u64(number);
    let mut links = Links::new(LinkConfig::new(LocalIdentity::Anonymous), rng, now, unix_nanos);
    links.connect(now, peer).expect("an address to send to");
    while let Some(job) = links.poll_job() {
        links.handle_job(now, job.run());
    }
    links.finish_batch(now);
    links.transmits().next().map(|transmit| transmit.data[..transmit.segment].to_vec()).unwrap_or_default()
}

//! What a long datagram costs: `cargo test --release -p zmesh-proto link::tests::speed -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::network::relay_config;
use super::*;

#[test]
#[ignore = "a measurement, not a test"]
fn nanoseconds_for_sealing_and_opening_a_long_datagram() {
    for prefer_aes in [true, false] {
        let mut config = relay_config(1);
        config.prefer_aes = prefer_aes;
        let mut net = Net::new(config, relay_config(2));
        net.delay = Duration::from_micros(50);
        let (mut net, a, _) = net.linked();
        let (first, second) = (cell(1, 1), cell(2, 2));
        let (mut seal, mut open, mut other) = (Vec::new(), Vec::new(), Vec::new());
        let mut inbox = Vec::new();
        let (from, to) = (net.a.address, net.b.address);
        for _ in 0..20_000 {
            net.now += Duration::from_micros(200);
            let now = net.now;
            net.a.links.handle_timeout(now);
            net.b.links.handle_timeout(now);
            net.a.links.clear_transmits();
            net.b.links.clear_transmits();
            if !net.a.links.can_send(now, a) {
                continue;
            }
            let began = Instant::now();
            let mut burst = 0u32;
            while burst < 32 && net.a.links.can_send(now, a) {
                net.a.links.send_cells(now, a, &first, Some(&second));
                burst += 1;
            }
            seal.push(began.elapsed() / burst);
            let mut bytes: Vec<u8> = Vec::new();
            net.a.links.finish_batch(now);
            net.a.links.transmits().for_each(|transmit| bytes.extend(transmit.data));
            net.a.links.clear_transmits();
            let began = Instant::now();
            for datagram in bytes.chunks_mut(1200) {
                net.b.links.handle_datagram(now, from, datagram, &mut inbox);
            }
            open.push(began.elapsed() / burst);
            let began = Instant::now();
            net.b.links.finish_batch(now);
            let back: Vec<_> = net.b.links.transmits().map(|t| (t.segment, t.data.to_vec())).collect();
            net.b.links.clear_transmits();
            for (segment, mut data) in back {
                for datagram in data.chunks_mut(segment) {
                    net.a.links.handle_datagram(now, to, datagram, &mut inbox);
                }
            }
            other.push(began.elapsed() / burst);
            inbox.clear();
        }
        // The median burst: what other programs do to this one is not of interest.
        let median = |mut spans: Vec<Duration>| {
            spans.sort_unstable();
            spans[spans.len() / 2].as_nanos()
        };
        println!(
            "{}: {} bursts, seal {} ns, open {} ns, feedback and timers {} ns for each datagram",
            if prefer_aes { "AES-256-GCM" } else { "ChaCha20-Poly1305" },
            seal.len(),
            median(seal),
            median(open),
            median(other)
        );
    }
}

//! Relays that may send little: what a download by way of one gets, and what a voter that measured it would say.

use std::time::Duration;

use zmesh_proto::directory::measuring::speed;
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{BulkClient, BulkServer};
use zmesh_tests::sim::node::App;
use zmesh_tests::sim::wire::Path;

use super::{ms, no_app, world_with};

/// Of 1,200 bytes that the relay may send, and a twentieth set apart, 964 are payload of two cells, and QUIC's packets fill 1,400 of 1,446.
const GOODPUT: f64 = 0.95 * 964.0 / 1_200.0 * 0.97;
/// A load of a test network.
const LOAD: u64 = 1 << 20;
const LONGEST: Duration = Duration::from_secs(10);

/// What each of several downloads at once by way of a relay that may send so much (bytes in a second) brings: the figure that a
/// voter would state in kB/s, and the packets that QUIC took for lost.
fn downloads(seed: u64, delay: Duration, rate: u64, at_once: usize) -> Vec<(u32, u64)> {
    let mut world = world_with(seed, 3, Path::delay(delay), |number| -> Box<dyn App> {
        if number == 1 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let (now, narrow) = (world.sim.now(), world.relays[0]);
    world.relay(0).command().set_rate_limit(now, Some(rate));
    world.sim.poke(narrow);
    let path = world.path(&[0, 1]);
    let clients: Vec<HostId> = (0..at_once)
        .map(|n| world.add_origin(BulkClient::new(path.clone(), [u8::try_from(n).expect("few") + 9; 32])))
        .collect();
    let mut courses = vec![Vec::new(); at_once];
    let mut ready = vec![None; at_once];
    let mut passed = Duration::ZERO;
    while passed < LONGEST + Duration::from_secs(2) {
        world.run_for(ms(5));
        passed += ms(5);
        for ((client, course), ready) in clients.iter().zip(&mut courses).zip(&mut ready) {
            let app = world.app::<BulkClient>(*client);
            if app.circuit.ready().is_some() {
                let since = passed - *ready.get_or_insert(passed);
                if since <= LONGEST && app.bytes <= LOAD {
                    course.push((since, app.bytes));
                }
            }
        }
    }
    let lost = |client: &HostId| world.app::<BulkClient>(*client).lost_packets();
    let lost: Vec<u64> = clients.iter().map(lost).collect();
    courses.iter().map(|course| speed(course).unwrap_or(0)).zip(lost).collect()
}

#[test]
fn a_narrow_relay_is_found_about_as_quick_as_it_is() {
    for rate in [100_000, 150_000, 400_000, 1_000_000] {
        for delay in [ms(0), ms(5), ms(40)] {
            for at_once in [1, 3] {
                let found = downloads(61, delay, rate, at_once);
                let all: u32 = found.iter().map(|(speed, _)| speed).sum();
                let share = f64::from(all) * 1_000.0 / (rate as f64 * GOODPUT);
                println!(
                    "{rate} B/s, links of {delay:?}, {at_once} at once: {found:?} kB/s and lost packets, {share:.2} of what it carries"
                );
            }
        }
    }
}

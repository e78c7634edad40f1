//! Relays that measure each other over real circuits: what they find is what each forwards, and path choice follows it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use zmesh_overlay::testnet::{Testnet, TestnetConfig};
use zmesh_overlay::{Measuring, Preference, RelayId};
use zmesh_proto::directory::Measure;
use zmesh_proto::directory::measuring::Pace;
use zmesh_proto::path::{Chooser, Floor, LastHop, PathRequest};
use zmesh_proto::random::Generator;

/// A bound on everything that should take seconds, so that a hang is a failure and not a wait.
const SOON: Duration = Duration::from_secs(120);
/// What the slow relay sends at most, in bytes per second: one datagram in 8 ms, which is longer than a queue should stand.
const SLOW: u64 = 150_000;
/// What a voter finds of it at least, in kB/s: of what is sent 105 can be a load's bytes, and three voters may measure it at once.
const SLOW_LEAST: u32 = 20;
const RELAYS: usize = 6;

fn pace() -> Pace {
    let mut pace = Pace::of(2, true);
    pace.pause = Duration::from_millis(20);
    pace.bytes = 512 << 10;
    pace.longest = Duration::from_secs(4);
    pace
}

/// Waits until a voter has a capacity and a place for every other relay, and has looked again where something went badly.
async fn all(measuring: &Measuring) -> BTreeMap<RelayId, Measure> {
    let known = |measure: &Measure| measure.capacity >= SLOW_LEAST && measure.place.is_some();
    let mut figures = measuring.figures();
    let so_far = figures.clone();
    let done = figures.wait_for(|figures| figures.len() == RELAYS - 1 && figures.values().all(known));
    BTreeMap::clone(
        &timeout(SOON, done).await.unwrap_or_else(|_| panic!("in time: {:?}", so_far.borrow())).expect("it goes on"),
    )
}

fn middle(mut values: Vec<u32>) -> u32 {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_relay_is_found_out_and_drawn_less_often() {
    let config = TestnetConfig { relays: RELAYS, exits: 2, rate_limits: vec![(0, SLOW)], ..TestnetConfig::default() };
    let testnet = Testnet::start(config).await.expect("the test network starts");
    let ids: Vec<RelayId> = testnet.relays().map(|(id, _)| id).collect();
    // The slow one is none of them: a voter finds no more than what it carries itself.
    let voters: Vec<Measuring> =
        testnet.relays().skip(1).take(3).map(|(id, relay)| relay.measure(id, pace())).collect();
    let mut found = Vec::new();
    for voter in &voters {
        found.push(all(voter).await);
    }
    drop(voters);
    let measures: BTreeMap<RelayId, Measure> = ids
        .iter()
        .map(|id| {
            let of: Vec<Measure> = found.iter().filter_map(|figures| figures.get(id)).copied().collect();
            let capacity = middle(of.iter().map(|measure| measure.capacity).collect());
            (*id, Measure { capacity, place: of.first().and_then(|measure| measure.place) })
        })
        .collect();
    let slow = measures[&ids[0]].capacity;
    let others: Vec<u32> = ids[1..].iter().map(|id| measures[id].capacity).collect();
    assert!(u64::from(slow) * 1_000 <= SLOW, "no more than it sends: {slow} kB/s");
    assert!(others.iter().all(|other| *other > 2 * slow), "{others:?} beside {slow}");
    // Loopback: everybody is near to everybody.
    for (a, b) in ids.iter().zip(&ids[1..]) {
        let (a, b) = (measures[a].place.expect("a place"), measures[b].place.expect("a place"));
        assert!(a.round_trip(b) < Duration::from_millis(100), "{:?}", a.round_trip(b));
    }

    let network = testnet.network().as_ref().clone().with_measures(measures);
    // Among six relays of which two are much the largest, the floor may take all preference away. What follows from figures is
    // shown without it.
    let floor = Floor { entropy: 0, min_entropy: 0, ..Floor::DEFAULT };
    let mut chooser = Chooser::new(&network, Preference { floor, ..Preference::DEFAULT });
    let mut rng = Generator::new(&[7; 32]);
    let request =
        PathRequest { hops: 3, last: LastHop::Exit { port: 443, v6: false }, exclude: &[], guard: None, country: None };
    let mut drawn: BTreeMap<RelayId, usize> = BTreeMap::new();
    for _ in 0..2_000 {
        for id in chooser.select(&request, &mut rng).expect("a path").iter().take(2) {
            *drawn.entry(*id).or_default() += 1;
        }
    }
    let times = |id: &RelayId| drawn.get(id).copied().unwrap_or(0);
    // Of those that are no exits.
    for other in &ids[1..RELAYS - 2] {
        assert!(times(&ids[0]) * 3 < times(other) * 2, "{} beside {}", times(&ids[0]), times(other));
    }
    testnet.shutdown().await;
}

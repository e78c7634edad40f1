//! What repair of links gives a call and a download, and that it costs nothing without loss.

use std::time::Duration;

use zmesh_netem::{Conditions, Loss};
use zmesh_proto::node::NodeConfig;
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{BulkClient, BulkServer, Call, Role};
use zmesh_tests::sim::node::{App, NodeHost};
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::World;

use super::{in_ms, ms, no_app, secs};

/// Which links lose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    /// The caller's to its guard.
    First,
    /// All three of the caller's side.
    Three,
    /// All on the way: three of each side, the meeting relay being the third of both.
    All,
}

/// What the callee heard of the caller.
#[derive(Debug)]
struct Heard {
    missing: f64,
    p50: Duration,
    p99: Duration,
    max: Duration,
    /// Bytes that the caller's host sent.
    bytes: u64,
    recovered: u64,
}

fn call(seed: u64, loss: Loss, place: Where, repair: bool, span: Duration) -> Heard {
    let delay = ms(10);
    let tune = if repair { |_, _: &mut _| {} } else { |_, config: &mut NodeConfig| config.link.repair = false };
    let mut world = World::new(seed, 6, Path::delay(delay), tune, |_| no_app());
    let epoch = world.sim.now();
    let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
    let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
    let callee = world.add_origin_with(callee, |config| config.link.repair = repair);
    let caller = world.add_origin_with(caller, |config| config.link.repair = repair);
    let relays = world.relays.clone();
    let links: &[(HostId, HostId)] = &[
        (caller, relays[0]),
        (relays[0], relays[1]),
        (relays[1], relays[2]),
        (relays[2], relays[4]),
        (relays[4], relays[3]),
        (relays[3], callee),
    ];
    world.run_for(secs(4));
    let count = match place {
        Where::First => 1,
        Where::Three => 3,
        Where::All => 6,
    };
    for (one, other) in &links[..count] {
        world.sim.set_paths(*one, *other, Conditions { loss, ..Conditions::delay(delay) });
    }
    world.run_for(secs(10));
    let (from, sent_before) = (world.sim.now(), world.app::<Call>(caller).report.sent);
    let before = world.sim.host::<NodeHost>(caller).metrics().links;
    world.run_for(span);
    let until = world.sim.now();
    let sent = world.app::<Call>(caller).report.sent - sent_before;
    let after = world.sim.host::<NodeHost>(caller).metrics().links;
    let bytes = 576 * (after.sent_short - before.sent_short) + 1200 * (after.sent_long - before.sent_long);
    let recovered = world.relay(0).metrics().links.cells_repaired;
    // Frames that were sent in the span have arrived half a second after it.
    world.run_for(ms(500));
    let heard = world.app::<Call>(callee).report.one_way(from + ms(60), until + ms(60));
    Heard {
        missing: 1.0 - heard.len() as f64 / sent as f64,
        p50: heard.p50().expect("frames"),
        p99: heard.p99().expect("frames"),
        max: heard.max().expect("frames"),
        bytes,
        recovered,
    }
}

fn show(name: &str, heard: &Heard) {
    println!(
        "{name}: {:.2} % missing, p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms, {} bytes, {} recovered at the guard",
        heard.missing * 100.0,
        in_ms(Some(heard.p50)),
        in_ms(Some(heard.p99)),
        in_ms(Some(heard.max)),
        heard.bytes,
        heard.recovered,
    );
}

#[test]
fn a_call_over_lossy_links() {
    let clean = call(1, Loss::None, Where::First, true, secs(100));
    show("clean", &clean);
    for (share, burst) in [(0.05, 1.5), (0.10, 2.0)] {
        for place in [Where::First, Where::Three, Where::All] {
            for repair in [false, true] {
                let heard = call(2, Loss::bursts(share, burst), place, repair, secs(300));
                show(&format!("{share} burst {burst}, {place:?}, repair {repair}"), &heard);
                if repair && place == Where::First {
                    // What the code itself aims at; at 10 % it may not buy enough to be as early (`specs/fec.md`).
                    let (most, later) = if share < 0.1 { (0.002, ms(20)) } else { (0.01, ms(40)) };
                    assert!(heard.missing <= most, "{} missing", heard.missing);
                    assert!(heard.p99 <= clean.p99 + later, "p99 {:?}", heard.p99);
                } else if !repair {
                    assert!(heard.missing >= share / 2.0, "the links lose something");
                }
            }
        }
    }
}

/// Bytes that a download gets in ten seconds over three links that each lose this share.
fn download(seed: u64, loss: f64, repair: bool, path: Path) -> u64 {
    let tune = if repair { |_, _: &mut _| {} } else { |_, config: &mut NodeConfig| config.link.repair = false };
    let mut world = World::new(seed, 3, path.loss(loss), tune, |number| -> Box<dyn App> {
        if number == 2 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let client = BulkClient::new(world.path(&[0, 1, 2]), [9; 32]);
    let client = world.add_origin_with(client, |config| config.link.repair = repair);
    world.run_for(secs(5));
    let before = world.app::<BulkClient>(client).bytes;
    world.run_for(secs(10));
    let app = world.app::<BulkClient>(client);
    let bytes = app.bytes - before;
    let exit = world.relays[2];
    let (lost, slowed) = world.app::<BulkServer>(exit).losses();
    let links = world.relay(1).metrics().links;
    println!(
        "loss {loss} repair {repair}: {:.2} MB/s, QUIC at the exit took {lost} packets for lost and slowed down {slowed} times; middle: {} again, {} repaired, {} twice, {} repairs",
        bytes as f64 / 1e7,
        links.cells_again,
        links.cells_repaired,
        links.cells_twice,
        links.repairs_sent
    );
    bytes
}

#[test]
fn a_download_over_links_that_lose_one_in_a_hundred() {
    let mut shares = Vec::new();
    for delay in [ms(2), ms(10), ms(30)] {
        let path = Path::delay(delay).bottleneck(4_000_000, 400_000);
        println!("links of {delay:?}, 4 MB/s");
        let clean = download(51, 0.0, true, path);
        let without = download(51, 0.01, false, path);
        let with = download(51, 0.01, true, path);
        println!(
            "  {:.2} of loss-free with repair, {:.2} without",
            with as f64 / clean as f64,
            without as f64 / clean as f64
        );
        shares.push((with as f64 / clean as f64, without as f64 / clean as f64));
    }
    // Over long links the download has not got up to speed again after its start by then: shown, not judged.
    for (with, without) in &shares[..2] {
        assert!(*with >= 0.7, "{with} of loss-free");
        assert!(*without <= 0.5, "{without} of loss-free without repair: the test tests nothing");
    }
}

/// Bytes that a download gets in the third to eighth second over so many links.
fn fast_download(seed: u64, hops: usize, path: Path) -> u64 {
    let mut world = World::new(
        seed,
        hops,
        path,
        |_, _| {},
        |number| -> Box<dyn App> { if number + 1 == hops { Box::new(BulkServer::new([5; 32])) } else { no_app() } },
    );
    let path: Vec<usize> = (0..hops).collect();
    let client = BulkClient::new(world.path(&path), [9; 32]);
    let client = world.add_origin(client);
    world.run_for(secs(3));
    let before = world.app::<BulkClient>(client).bytes;
    world.run_for(secs(5));
    world.app::<BulkClient>(client).bytes - before
}

/// Where hundreds of packets are on their way, one that a link sends again is overtaken by as many: QUIC must not notice. Without a
/// bottleneck its window of 1 MiB is the limit, and what waits for a repair waits twice as long.
#[test]
fn a_download_over_fast_links_that_lose_one_in_a_hundred() {
    let free = Path::delay(ms(5));
    for (path, name, least) in [(free.bottleneck(12_500_000, 400_000), "100 Mbit/s", 0.7), (free, "no bottleneck", 0.4)]
    {
        for hops in 1..=3 {
            let clean = fast_download(52, hops, path) as f64;
            let lossy: f64 = (52..55).map(|seed| fast_download(seed, hops, path.loss(0.01)) as f64).sum::<f64>() / 3.0;
            println!("{hops} links, {name}: {:.1} of {:.1} MB/s, {:.2}", lossy / 5e6, clean / 5e6, lossy / clean);
            assert!(lossy >= least * clean, "QUIC takes for lost what links repair");
        }
    }
}

#[test]
fn nothing_is_added_without_loss() {
    let run = |repair| {
        let tune = if repair { |_, _: &mut _| {} } else { |_, config: &mut NodeConfig| config.link.repair = false };
        let mut world = World::new(61, 6, Path::delay(ms(10)).jitter(ms(3)), tune, |_| no_app());
        let epoch = world.sim.now();
        for (role, path) in [(Role::Caller, [0, 1, 2]), (Role::Callee, [3, 4, 2])] {
            let side = Call::new(role, world.path(&path), [7; 16], epoch);
            world.add_origin_with(side, |config| config.link.repair = repair);
        }
        world.run_for(secs(20));
        (world.sim.trace().times(), world.sim.trace().contents(), world.sim.trace().datagrams())
    };
    assert_eq!(run(true), run(false), "the same bytes at the same times");
}

//! A call beside a saturating download.

use std::time::Duration;

use zmesh_tests::sim::app::{BulkClient, BulkServer, Call, Role};
use zmesh_tests::sim::node::App;
use zmesh_tests::sim::wire::Path;

use super::{in_ms, ms, no_app, secs, world_with};

/// What a call felt of a download beside it.
struct Outcome {
    /// The worse of the two directions: how much later the 99th percentile of its frames came.
    rise: Duration,
    /// The fewest of 1,000 frames that one direction got.
    frames: usize,
    /// Payload of the download, as a share of the narrow link's rate.
    share: f64,
    /// Cells that FQ-CoDel dropped at the relay before the narrow link.
    fair_drops: u64,
    /// Datagrams that the narrow link's own queue dropped.
    wire_drops: u64,
    /// Datagrams that relays' receive buffers dropped.
    buffer_drops: u64,
}

/// A call and a download share the link from relay 1 to relay 0, which carries `rate` bytes a second and is the narrowest of the path.
fn call_beside_download(seed: u64, delay: Duration, rate: u64) -> Outcome {
    let mut world = world_with(seed, 7, Path::delay(delay), |number| -> Box<dyn App> {
        if number == 5 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let (narrow_from, narrow_to) = (world.relays[1], world.relays[0]);
    // A queue of 100 ms, as routers have.
    let queue = usize::try_from(rate / 10).expect("a modest rate");
    world.sim.set_path(narrow_from, narrow_to, Path::delay(delay).bottleneck(rate, queue));
    let epoch = world.sim.now();
    let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
    let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
    let callee = world.add_origin(callee);
    let caller = world.add_origin(caller);
    world.run_for(secs(4));
    let quiet_from = world.sim.now();
    world.run_for(secs(10));
    let quiet_until = world.sim.now();

    let download = BulkClient::new(world.path(&[0, 1, 5]), [9; 32]);
    let download = world.add_origin(download);
    // Until it has found the rate: a start over links of 30 ms that are not lossy takes QUIC so long.
    world.run_for(secs(10));
    let drops_before = world.sim.wire_drops();
    let (from, bytes_before) = (world.sim.now(), world.app::<BulkClient>(download).bytes);
    world.run_for(secs(20));
    let until = world.sim.now();

    let bytes = world.app::<BulkClient>(download).bytes - bytes_before;
    let share = bytes as f64 / (until - from).as_secs_f64() / rate as f64;
    let (mut rise, mut frames) = (Duration::ZERO, usize::MAX);
    println!("links of {delay:?}, {:.1} MB/s at the narrowest: the download gets {share:.2} of it", rate as f64 / 1e6);
    for (side, host) in [("caller", caller), ("callee", callee)] {
        let report = &world.app::<Call>(host).report;
        let quiet = report.one_way(quiet_from, quiet_until);
        let loaded = report.one_way(from, until);
        println!(
            "  the {side} hears: p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms, max {:.2} -> {:.2} ms, {} of 1000 frames",
            in_ms(quiet.p50()),
            in_ms(loaded.p50()),
            in_ms(quiet.p99()),
            in_ms(loaded.p99()),
            in_ms(quiet.max()),
            in_ms(loaded.max()),
            loaded.len()
        );
        assert!(quiet.len() >= 499, "{side}: {} frames on a quiet network", quiet.len());
        rise = rise.max(loaded.p99().expect("frames").saturating_sub(quiet.p99().expect("frames")));
        frames = frames.min(loaded.len());
    }
    let drops = world.relay(1).metrics().drops;
    let outcome = Outcome {
        rise,
        frames,
        share,
        fair_drops: drops.codel + drops.circuit_bound,
        wire_drops: world.sim.wire_drops() - drops_before,
        buffer_drops: world.relays.iter().map(|relay| world.sim.counters(*relay).buffer_drops).sum(),
    };
    println!(
        "  dropped: {} by FQ-CoDel, {} by the narrow link's queue, {} by receive buffers",
        outcome.fair_drops, outcome.wire_drops, outcome.buffer_drops
    );
    outcome
}

#[test]
fn a_saturating_download_leaves_a_call_alone() {
    let outcomes = [
        call_beside_download(41, ms(10), 5_000_000),
        call_beside_download(42, ms(2), 10_000_000),
        call_beside_download(43, ms(30), 4_000_000),
    ];
    // Shown, not judged: here one long datagram alone keeps the link busy for 1.2 ms.
    call_beside_download(44, ms(40), 1_000_000);
    for outcome in outcomes {
        assert!(outcome.rise <= ms(5), "the call's one-way p99 rose by {:?}", outcome.rise);
        assert!(outcome.frames >= 990, "{} of 1000 frames", outcome.frames);
        // Of 1,228 bytes on the narrow link about 930 are the download's payload; so 0.76 is all of it.
        assert!(outcome.share >= 0.5, "the download is not saturating: {:.2}", outcome.share);
        // The queue stands where circuits can be told apart, and nowhere else.
        assert!(outcome.fair_drops > 0, "no queue stood in FQ-CoDel");
        assert_eq!(outcome.buffer_drops, 0);
        assert!(outcome.wire_drops < 200, "{} drops on the wire", outcome.wire_drops);
    }
}

/// The network sees constant rate and two lengths, whatever is in the frames.
#[test]
fn a_call_sends_the_same_number_each_second() {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    let mut world = world_with(42, 6, Path::delay(ms(15)), |_| no_app());
    let epoch = world.sim.now();
    let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
    let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
    world.add_origin(callee);
    let caller = world.add_origin(caller);
    let per_second: Rc<RefCell<BTreeMap<u64, (u64, u64)>>> = Rc::default();
    let counts = Rc::clone(&per_second);
    world.sim.observe(move |seen| {
        if seen.from == caller {
            let mut counts = counts.borrow_mut();
            let entry = counts.entry(seen.at.as_secs()).or_default();
            entry.0 += 1;
            entry.1 += seen.data.len() as u64;
        }
    });
    world.run_for(secs(30));
    let counts = per_second.borrow();
    let steady: Vec<_> = counts.range(5..29).map(|(_, count)| *count).collect();
    let (least, most) = (steady.iter().min().expect("seconds"), steady.iter().max().expect("seconds"));
    println!("datagrams and bytes a second from the caller: {least:?} to {most:?}");
    // Fifty frames, and the link's own acknowledgements and keepalives.
    assert!(least.0 >= 50 && most.0 - least.0 <= 4, "{steady:?}");
}

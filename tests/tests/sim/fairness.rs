//! A call beside a saturating download.

use zmesh_tests::sim::app::{BulkClient, BulkServer, Call, Role};
use zmesh_tests::sim::node::App;
use zmesh_tests::sim::wire::Path;

use super::{in_ms, ms, no_app, secs, world_with};

/// Both ways of the call and the download share the link from relay 1 to relay 0, which is the narrowest of the path.
#[test]
fn a_saturating_download_leaves_a_call_alone() {
    const RATE: u64 = 5_000_000;
    let mut world = world_with(41, 7, Path::delay(ms(10)), |number| -> Box<dyn App> {
        if number == 5 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let (narrow_from, narrow_to) = (world.relays[1], world.relays[0]);
    world.sim.set_path(narrow_from, narrow_to, Path::delay(ms(10)).bottleneck(RATE, 512 << 10));
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
    world.run_for(secs(5));
    let drops_before = world.sim.wire_drops();
    let (from, bytes_before) = (world.sim.now(), world.app::<BulkClient>(download).bytes);
    world.run_for(secs(20));
    let until = world.sim.now();

    let bytes = world.app::<BulkClient>(download).bytes - bytes_before;
    let rate = bytes as f64 / (until - from).as_secs_f64();
    println!("download: {:.2} MB/s of {:.2} MB/s", rate / 1e6, RATE as f64 / 1e6);
    for (side, host) in [("caller", caller), ("callee", callee)] {
        let report = &world.app::<Call>(host).report;
        let quiet = report.one_way(quiet_from, quiet_until);
        let loaded = report.one_way(from, until);
        println!(
            "what the {side} hears: p50 {:.2} -> {:.2} ms, p99 {:.2} -> {:.2} ms, {} of 1000 frames",
            in_ms(quiet.p50()),
            in_ms(loaded.p50()),
            in_ms(quiet.p99()),
            in_ms(loaded.p99()),
            loaded.len()
        );
        assert!(quiet.len() >= 499, "{side}: {} frames", quiet.len());
        assert!(loaded.len() >= 995, "{side}: {} frames", loaded.len());
        let rise = loaded.p99().expect("frames").saturating_sub(quiet.p99().expect("frames"));
        assert!(rise <= ms(5), "{side}: one-way p99 rose by {rise:?}");
    }
    // Saturating: of 1,228 bytes on the narrow link about 930 are the download's payload.
    assert!(rate >= 0.6 * RATE as f64, "{rate}");

    // The queue stands where circuits can be told apart, and nowhere else.
    let queue = world.relay(1).metrics();
    let dropped = queue.drops.codel + queue.drops.circuit_bound;
    println!("dropped by FQ-CoDel {dropped}, by the bottleneck's own queue {}", world.sim.wire_drops() - drops_before);
    let lost_in_buffers: u64 =
        world.relays.clone().into_iter().map(|relay| world.sim.counters(relay).buffer_drops).sum();
    assert_eq!(lost_in_buffers, 0);
    assert!(dropped > 0, "{queue:?}");
    assert!(world.sim.wire_drops() - drops_before < 200);
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

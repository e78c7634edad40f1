//! What can be seen from outside: lengths always, and who talks to whom when both ends are watched.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use zmesh_proto::wire::datagram::{L_LEN, S_LEN};
use zmesh_tests::adversary::{Matching, Sightings};
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{BulkClient, BulkServer, Call, Echo, Reflector, Role};
use zmesh_tests::sim::node::App;
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::World;

use super::{ms, no_app, reflecting, secs, world_with};

#[test]
fn every_datagram_has_one_of_two_lengths() {
    let mut world = world_with(61, 6, Path::delay(ms(5)).loss(0.01), |number| -> Box<dyn App> {
        if number == 5 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let epoch = world.sim.now();
    let lengths: Rc<RefCell<BTreeMap<u8, BTreeSet<usize>>>> = Rc::default();
    let seen_lengths = Rc::clone(&lengths);
    world.sim.observe(move |seen| {
        seen_lengths.borrow_mut().entry(seen.data[0]).or_default().insert(seen.data.len());
    });
    let caller = Call::new(Role::Caller, world.path(&[0, 1, 2]), [7; 16], epoch);
    let callee = Call::new(Role::Callee, world.path(&[3, 4, 2]), [7; 16], epoch);
    let bulk = BulkClient::new(world.path(&[0, 1, 5]), [9; 32]);
    world.add_origin(callee);
    world.add_origin(caller);
    world.add_origin(bulk);
    world.run_for(secs(10));
    println!("lengths by type of datagram: {:?}", lengths.borrow());
    let all: BTreeSet<usize> = lengths.borrow().values().flatten().copied().collect();
    assert_eq!(all, BTreeSet::from([S_LEN, L_LEN]));
}

/// Constant-rate calls and bursty flows through a network whose guards and exits are watched, told apart by timing alone.
#[test]
fn guard_and_exit_together_match_flows() {
    let bursty = watch(71, |epoch, number, world| {
        // A page now and then, each origin at its own times: its period differs.
        let period = ms(400 + 37 * number);
        Echo::new(world.path(&[0, 1, 2]), period, 1400, epoch).tagged(number)
    });
    let steady_at_start = watch(72, |epoch, number, world| {
        Echo::new(world.path(&[0, 1, 2]), ms(20), 400, epoch)
            .starting_at(epoch + secs(4) + ms(137 * number))
            .tagged(number)
    });
    let steady = watch(73, |epoch, number, world| Echo::new(world.path(&[0, 1, 2]), ms(20), 400, epoch).tagged(number));
    println!("guard and exit watched for 20 s, 20 flows, matched rightly:");
    println!("  bursts at times of their own: {:.0} %", 100.0 * bursty.rate());
    println!("  constant rate, start seen:    {:.0} %", 100.0 * steady_at_start.rate());
    println!("  constant rate, 1 % loss only: {:.0} %", 100.0 * steady.rate());
    // Said plainly: timing gives flows away. A change that makes these figures small would be a discovery, or a broken measurement.
    assert!(bursty.rate() > 0.5);
    assert!(steady_at_start.rate() > 0.5);
    assert_eq!(steady.flows, 20);
}

/// Twenty origins over lossy access links send through one path; both its ends are watched from second 3 to 23.
fn watch(seed: u64, echo: impl Fn(std::time::Instant, u64, &World) -> Echo) -> Matching {
    const FLOWS: u64 = 20;
    let mut world = reflecting(seed, 3, Path::delay(ms(10)).jitter(ms(1)));
    let epoch = world.sim.now();
    let mut origins: BTreeMap<HostId, u64> = BTreeMap::new();
    for number in 0..FLOWS {
        let app = echo(epoch, number, &world);
        let host = world.add_origin(app);
        let guard = world.relays[0];
        world.sim.set_path(host, guard, Path::delay(ms(20)).jitter(ms(2)).loss(0.01));
        origins.insert(host, number);
    }
    let at_guard: Rc<RefCell<Sightings>> = Rc::default();
    let (seen_at_guard, guard) = (Rc::clone(&at_guard), world.relays[0]);
    world.sim.observe(move |seen| {
        if seen.to == guard
            && !seen.lost
            && let Some(number) = origins.get(&seen.from)
        {
            seen_at_guard.borrow_mut().note(*number, epoch + seen.at);
        }
    });
    world.run_for(secs(23));
    let exit = world.relays[2];
    let reflector = world.app::<Reflector>(exit);
    let tags = reflector.tags.clone();
    let mut at_exit = Sightings::default();
    for (circuit, times) in &reflector.arrivals {
        at_exit.insert(*circuit, times.clone());
    }
    at_guard.borrow().match_with(&at_exit, epoch + secs(3), Duration::from_secs(20), ms(20), |number, circuit| {
        tags.get(&circuit) == Some(&number)
    })
}

//! Calls whose relays die: how long it is silent, with one leg, with a standby and doubled.
//!
//! `cargo test --release -p zmesh-tests --test sim heal -- --nocapture` prints the table of `specs/11-legs.md`.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{BulkClient, BulkServer, LegCall, LegPaths, LegReport};
use zmesh_tests::sim::node::App;
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::{Tune, World};
use zmesh_voice::call::Role;
use zmesh_voice::legs::{LegEvent, Mode};

use super::{ms, no_app, secs, world_with};

/// Relays of one leg: guard and middle of the caller, the meeting relay, middle and guard of the answerer.
const LEG: usize = 5;
/// Relays for three legs of both sides.
const RELAYS: usize = 3 * LEG;
/// Kills of one relay each: every place of a leg, this often.
const ROUNDS: u64 = 24;

struct Scene {
    world: World,
    sides: [HostId; 2],
}

impl Scene {
    /// A call over these relays; leg k takes the five from 5 k on. Every pair of hosts has a delay of its own.
    fn new(seed: u64, mode: Mode, delay: Option<(u64, u64)>) -> Scene {
        Scene::tuned(seed, mode, delay, |_, _| {})
    }

    fn tuned(seed: u64, mode: Mode, delay: Option<(u64, u64)>, tune: Tune) -> Scene {
        let mut world = World::new(seed, RELAYS, Path::delay(ms(10)), tune, |_| no_app());
        let paths = |numbers: [usize; 2]| LegPaths {
            own: (0..3).map(|leg| world.path(&numbers.map(|at| leg * LEG + at))).collect(),
            meeting: (0..3).map(|leg| world.id(leg * LEG + 2)).collect(),
        };
        let (caller, answerer) = (paths([0, 1]), paths([4, 3]));
        let answerer = world.add_origin(LegCall::new(Role::Answerer, mode, answerer));
        let caller = world.add_origin(LegCall::new(Role::Caller, mode, caller));
        if let Some((least, most)) = delay {
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let hosts: Vec<HostId> = world.relays.iter().copied().chain([answerer, caller]).collect();
            for (at, one) in hosts.iter().enumerate() {
                for other in &hosts[..at] {
                    let delay = least + rng.next_u64() % (most - least + 1);
                    world.sim.set_paths(*one, *other, Path::delay(ms(delay)).jitter(ms(3)));
                }
            }
        }
        Scene { world, sides: [caller, answerer] }
    }

    /// The leg that a side relies on.
    fn active(&mut self, side: usize) -> usize {
        self.world.app::<LegCall>(self.sides[side]).active().0.into()
    }

    fn report(&mut self, side: usize) -> &LegReport {
        &self.world.app::<LegCall>(self.sides[side]).report
    }

    /// Kills one relay and lets the call go on; gives the silence on each side.
    fn kill(&mut self, relay: usize, after: Duration) -> [Duration; 2] {
        self.world.sim.kill(self.world.relays[relay]);
        let killed = self.world.sim.now();
        self.world.run_for(after);
        let until = self.world.sim.now();
        [0, 1].map(|side| self.report(side).longest_silence(killed, until))
    }
}

struct Figures {
    gaps: Vec<Duration>,
    lost: Vec<u64>,
    unmended: u64,
    ended: usize,
}

/// Kills every relay of the leg in use, again and again, in calls of their own.
fn kills(mode: Mode, delay: Option<(u64, u64)>, rounds: u64) -> Figures {
    let mut figures = Figures { gaps: Vec::new(), lost: Vec::new(), unmended: 0, ended: 0 };
    for seed in 0..rounds {
        for victim in 0..LEG {
            let mut scene = Scene::new(1_000 + seed * 10 + victim as u64, mode, delay);
            // The moment falls anywhere between two messages.
            scene.world.run_for(secs(4) + Duration::from_micros(seed * 7_919 % 60_000 + victim as u64 * 3_301));
            for side in scene.sides {
                let app = scene.world.app::<LegCall>(side);
                assert!(app.report.joined.is_some(), "no call");
                assert_eq!(app.has_standby(), mode != Mode::Single, "seed {seed}: {:?}", app.report.events);
            }
            // The two sides may rely on different legs where paths differ; each in turn loses what it relies on.
            let leg = scene.active(victim % 2);
            let gaps = scene.kill(leg * LEG + victim, secs(4));
            for (side, gap) in gaps.into_iter().enumerate() {
                let report = scene.report(side);
                let (lost, unmended) = report.missing(3);
                figures.ended += usize::from(gap >= secs(3));
                figures.gaps.push(gap);
                figures.lost.push(lost);
                figures.unmended += unmended;
            }
        }
    }
    figures.gaps.sort_unstable();
    figures.lost.sort_unstable();
    figures
}

fn percentile<T: Copy>(sorted: &[T], percent: usize) -> T {
    sorted[(sorted.len() * percent).div_ceil(100).clamp(1, sorted.len()) - 1]
}

#[test]
fn any_relay_of_a_call_may_die() {
    println!(
        "| paths | legs | kills | silence p50 | p99 | most | messages lost p50 | most | not in 3 copies | calls ended |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (words, delay) in [("every link 10 ms", None), ("links of 5–40 ms, ± 3 ms", Some((5, 40)))] {
        for mode in [Mode::Single, Mode::Standby, Mode::Doubled] {
            let rounds = if mode == Mode::Single { 2 } else { ROUNDS };
            let figures = kills(mode, delay, rounds);
            let in_ms = |gap: Duration| gap.as_secs_f64() * 1e3;
            let (p50, p99) = (percentile(&figures.gaps, 50), percentile(&figures.gaps, 99));
            println!(
                "| {words} | {mode:?} | {} | {:.0} ms | {:.0} ms | {:.0} ms | {} | {} | {} | {} |",
                figures.gaps.len() / 2,
                in_ms(p50),
                in_ms(p99),
                in_ms(percentile(&figures.gaps, 100)),
                percentile(&figures.lost, 50),
                percentile(&figures.lost, 100),
                figures.unmended,
                figures.ended,
            );
            match mode {
                Mode::Single => assert_eq!(figures.ended, figures.gaps.len(), "one leg has nothing to go on with"),
                Mode::Standby => assert!(p50 <= ms(100) && p99 <= ms(300) && figures.ended == 0),
                Mode::Doubled => {
                    assert_eq!(percentile(&figures.lost, 100), 0, "nothing is lost");
                    assert!(
                        delay.is_some() || percentile(&figures.gaps, 100) <= ms(22),
                        "no gap: {:?}",
                        figures.gaps.last()
                    );
                }
            }
        }
    }
}

#[test]
fn what_dies_is_replaced_and_the_next_death_is_borne_too() {
    let mut scene = Scene::new(7, Mode::Standby, Some((5, 40)));
    scene.world.run_for(secs(4));
    // The caller's guard of the leg in use; then the answerer's middle of the one in use by then.
    for victim in [0, 3] {
        for side in scene.sides {
            let app = scene.world.app::<LegCall>(side);
            assert!(app.has_standby(), "{:?}", app.report.events);
        }
        let leg = scene.active(0);
        let gaps = scene.kill(leg * LEG + victim, secs(9));
        assert!(gaps.iter().all(|gap| *gap <= ms(300)), "{gaps:?}");
    }
    for side in [0, 1] {
        let report = scene.report(side);
        let ready = report.events.iter().filter(|(_, event)| matches!(event, LegEvent::Ready { .. })).count();
        assert!(ready >= 2, "{:?}", report.events);
    }
}

#[test]
fn a_standby_costs_a_third_and_its_rate_is_constant() {
    let mut scene = Scene::new(8, Mode::Standby, None);
    scene.world.run_for(secs(4));
    let before = [0, 1].map(|side| (scene.report(side).cells, scene.report(side).slots));
    scene.world.run_for(secs(6));
    for (side, (cells, slots)) in before.into_iter().enumerate() {
        let report = scene.report(side);
        assert_eq!((report.cells - cells, report.slots - slots), (400, 300));
    }
}

#[test]
fn the_path_under_a_leg_may_degrade_and_is_left_without_flapping() {
    let degrade = [Path::delay(ms(10)).loss(0.4), Path::delay(ms(160)), Path::delay(ms(10)).loss(0.2).jitter(ms(80))];
    for worse in degrade {
        // What is lost must not be made good on the link, or there is little to leave.
        let mut scene = Scene::tuned(9, Mode::Standby, None, |_, config| config.link.repair = false);
        scene.world.run_for(secs(4));
        let (one, other) = (scene.world.relays[0], scene.world.relays[1]);
        scene.world.sim.set_paths(one, other, worse);
        scene.world.run_for(secs(60));
        for side in scene.sides {
            let app = scene.world.app::<LegCall>(side);
            let moves = app.report.events.iter().filter(|(_, event)| matches!(event, LegEvent::Moved { .. })).count();
            assert!((1..=3).contains(&moves), "{worse:?}: {:?}", app.report.events);
            assert_ne!(app.active().0, 0, "{worse:?}: {:?}", app.report.events);
        }
    }
}

#[test]
fn a_side_may_change_its_address() {
    for mode in [Mode::Single, Mode::Standby] {
        let mut scene = Scene::new(10, mode, None);
        scene.world.run_for(secs(4));
        let from: Instant = scene.world.sim.now();
        let fresh = scene.world.free_address();
        let caller = scene.sides[0];
        scene.world.sim.readdress(caller, fresh);
        scene.world.run_for(secs(6));
        let until = scene.world.sim.now();
        for side in [0, 1] {
            let silence = scene.report(side).longest_silence(from, until);
            println!("address changed, {mode:?}, side {side}: silence {silence:?}");
            assert!(silence <= ms(200), "{mode:?}, side {side}: {silence:?}");
            assert!(scene.report(side).ended.is_none());
        }
    }
}

#[test]
fn a_download_goes_on_when_its_reader_changes_address() {
    let mut world = world_with(11, 4, Path::delay(ms(10)), |number| -> Box<dyn App> {
        if number == 2 { Box::new(BulkServer::new([5; 32])) } else { no_app() }
    });
    let path = world.path(&[0, 1, 2]);
    let reader = world.add_origin(BulkClient::new(path, [9; 32]));
    world.run_for(secs(3));
    let fresh = world.free_address();
    world.sim.readdress(reader, fresh);
    let (mut last, mut silence, mut longest) = (world.app::<BulkClient>(reader).bytes, Duration::ZERO, Duration::ZERO);
    for _ in 0..500 {
        world.run_for(ms(10));
        let bytes = world.app::<BulkClient>(reader).bytes;
        silence = if bytes > last { Duration::ZERO } else { silence + ms(10) };
        (last, longest) = (bytes, longest.max(silence));
    }
    println!("address changed under a download: silence {longest:?}");
    assert!(longest <= secs(1), "{longest:?}");
    assert!(world.app::<BulkClient>(reader).closed.is_none());
}

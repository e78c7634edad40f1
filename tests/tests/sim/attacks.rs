//! Floods at ten times what a relay is made for: honest circuits keep their rate, memory keeps its bounds.

use std::time::Duration;

use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{Echo, Reflector, SetupFlood};
use zmesh_tests::sim::attack::{HalfOpen, Junk, Schedule};
use zmesh_tests::sim::node::NodeHost;
use zmesh_tests::sim::wire::Path;
use zmesh_tests::topology::{UNIX_START, World};

use super::{in_ms, ms, reflecting, secs};

/// What the relays of these tests are configured to forward, in bytes a second.
const RELAY_RATE: u64 = 5_000_000;

/// Datagrams of 1,200 bytes a second at that rate.
const RELAY_DATAGRAMS: u32 = 4_166;

/// Public-key operations a second that a quarter of a core does: about 240 µs each.
const PUBLIC_KEY_CAPACITY: u32 = 1_040;

/// How long an attack goes on.
const ATTACK: Duration = secs(5);

/// A network in which honest circuits run through relay 0, which will be attacked.
struct Scene {
    world: World,
    honest: Vec<HostId>,
}

/// Messages that came back in a period, and their delay.
struct Service {
    answers: usize,
    p99: f64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut world = World::new(
            seed,
            6,
            Path::delay(ms(10)),
            |_, config| config.link.rate_limit = Some(RELAY_RATE),
            |_| Box::<Reflector>::default(),
        );
        let epoch = world.sim.now();
        let mut honest = Vec::new();
        for path in [[0, 1, 2], [0, 3, 4], [5, 0, 2], [3, 1, 0]] {
            let echo = Echo::new(world.path(&path), ms(5), 400, epoch);
            honest.push(world.add_origin(echo));
        }
        world.run_for(secs(3));
        Scene { world, honest }
    }

    /// Runs for the length of an attack and says how honest circuits fared.
    fn serve(&mut self) -> Service {
        let from = self.world.sim.now();
        self.world.run_for(ATTACK);
        let until = self.world.sim.now();
        let mut answers = 0;
        let mut worst = 0.0_f64;
        for host in self.honest.clone() {
            let echo = self.world.app::<Echo>(host);
            if let Some((at, reason)) = echo.closed {
                println!("an honest circuit ended {:?} after the attack began: {reason}", at - from);
            }
            answers += echo.received_between(from, until);
            worst = worst.max(in_ms(echo.round_trips(from).p99()));
        }
        Service { answers, p99: worst }
    }

    /// When an attack that begins now ends.
    fn schedule(&self, per_second: u32) -> Schedule {
        let start = self.world.sim.now();
        Schedule { start, end: start + ATTACK, per_second }
    }

    fn compare(&mut self, name: &str, quiet: &Service, attacked: &Service) {
        let metrics = self.world.relay(0).metrics();
        let drops = self.world.sim.counters(self.world.relays[0]).buffer_drops;
        println!(
            "{name}: {} answers before, {} under attack; p99 {:.1} -> {:.1} ms; receive buffer dropped {drops}; {} circuits, {} links, {} set-ups waiting, queue memory {} kB",
            quiet.answers,
            attacked.answers,
            quiet.p99,
            attacked.p99,
            metrics.circuits.open,
            metrics.links_up,
            metrics.work.waiting,
            metrics.queue.memory / 1000,
        );
        assert!(
            attacked.answers as f64 >= 0.9 * quiet.answers as f64,
            "{name}: honest circuits fell from {} to {}",
            quiet.answers,
            attacked.answers
        );
        assert!(metrics.queue.memory < 20 << 20, "{:?}", metrics.queue);
        assert!(metrics.work.waiting <= 512, "{:?}", metrics.work);
    }
}

#[test]
fn junk_datagrams() {
    let mut scene = Scene::new(51);
    let quiet = scene.serve();
    let junk = Junk::new(scene.world.address(0), scene.schedule(10 * RELAY_DATAGRAMS), 1);
    let address = scene.world.free_address();
    let attacker = scene.world.sim.add(address, 1 << 20, junk);
    let attacked = scene.serve();
    let sent = scene.world.sim.host::<Junk>(attacker).sent;
    assert!(sent >= u64::from(9 * RELAY_DATAGRAMS) * ATTACK.as_secs(), "{sent}");
    scene.compare("junk datagrams", &quiet, &attacked);
    let links = scene.world.relay(0).metrics().links;
    println!(
        "refused: {} junk, {} unknown index, {} bad tag",
        links.refused_junk, links.refused_unknown_index, links.refused_bad_tag
    );
}

#[test]
fn half_open_handshakes() {
    let mut scene = Scene::new(52);
    let quiet = scene.serve();
    let id = scene.world.id(0);
    let target = scene.world.network().relay(&id).expect("a relay of the document").link_peer();
    let unix = (UNIX_START + scene.world.sim.elapsed().as_secs()) * 1_000_000_000;
    let flood = HalfOpen::new(target, scene.schedule(10 * PUBLIC_KEY_CAPACITY), unix, 2);
    let address = scene.world.free_address();
    let attacker = scene.world.sim.add(address, 1 << 20, flood);
    let attacked = scene.serve();
    let sent = scene.world.sim.host::<HalfOpen>(attacker).sent;
    assert!(sent >= u64::from(9 * PUBLIC_KEY_CAPACITY) * ATTACK.as_secs(), "{sent}");
    scene.compare("half-open handshakes", &quiet, &attacked);
    let metrics = scene.world.relay(0).metrics();
    println!("cookies sent: {}, over a limit: {}", metrics.links.sent_cookie, metrics.links.refused_over_limit);
    assert!(metrics.links_up < 64, "{}", metrics.links_up);

    // Under attack from elsewhere a newcomer who answers the cookie still gets in.
    let again = HalfOpen::new(
        scene.world.network().relay(&id).expect("a relay of the document").link_peer(),
        scene.schedule(10 * PUBLIC_KEY_CAPACITY),
        unix,
        3,
    );
    let address = scene.world.free_address();
    scene.world.sim.add(address, 1 << 20, again);
    scene.world.run_for(ms(500));
    let epoch = scene.world.sim.now();
    let newcomer = Echo::new(scene.world.path(&[0, 1, 2]), ms(20), 400, epoch);
    let newcomer = scene.world.add_origin(newcomer);
    scene.world.run_for(secs(4));
    let echo = scene.world.app::<Echo>(newcomer);
    println!("a newcomer under attack: circuit after {:?}", echo.circuit.took);
    assert!(echo.received.len() > 10, "the newcomer has no circuit: {:?}", echo.failed);
}

#[test]
fn set_up_floods() {
    const ATTACKERS: u32 = 10;
    let mut scene = Scene::new(53);
    let quiet = scene.serve();
    let start = scene.world.sim.now();
    let mut attackers = Vec::new();
    for _ in 0..ATTACKERS {
        let path = scene.world.path(&[0, 1, 2]);
        let interval = secs(1) * ATTACKERS / (10 * PUBLIC_KEY_CAPACITY);
        let flood = SetupFlood::new(path, interval, start);
        let host = scene.world.add_origin_with(flood, |config| {
            config.origin.max_circuits = 100_000;
        });
        scene.world.sim.host::<NodeHost>(host).set_free();
        attackers.push(host);
    }
    let attacked = scene.serve();
    let (mut begun, mut ready) = (0, 0);
    for host in attackers {
        let flood = scene.world.app::<SetupFlood>(host);
        begun += flood.begun;
        ready += flood.ready;
        scene.world.sim.kill(host);
    }
    println!("set-ups: {begun} begun, {ready} became circuits");
    assert!(begun >= u64::from(9 * PUBLIC_KEY_CAPACITY) * ATTACK.as_secs(), "{begun}");
    scene.compare("set-up flood", &quiet, &attacked);
    let metrics = scene.world.relay(0).metrics();
    println!("refused: {} busy, {} full", metrics.circuits.refused_busy, metrics.circuits.refused_full);
    assert!(metrics.circuits.open <= 16_384, "{:?}", metrics.circuits);
}

/// A slow relay that gets more than its core can do loses datagrams at its receive buffer, which the engine counts.
#[test]
fn overload_shows_in_the_receive_buffer() {
    let mut world = reflecting(54, 3, Path::delay(ms(1)));
    let start = world.sim.now();
    let flood = Schedule { start, end: start + secs(1), per_second: 3_000_000 };
    let junk = Junk::new(world.address(0), flood, 4);
    let address = world.free_address();
    world.sim.add(address, 1 << 20, junk);
    world.run_for(ms(300));
    let counters = world.sim.counters(world.relays[0]);
    assert!(counters.buffer_drops > 0, "{counters:?}");
    assert!(counters.buffer_peak <= zmesh_tests::topology::RECEIVE_BUFFER, "{counters:?}");
}

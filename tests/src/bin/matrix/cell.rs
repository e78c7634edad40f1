//! One cell of the matrix: a network with this many hops, this loss, with and without repair.

use std::time::Duration;

use zmesh_netem::{Conditions, Loss};
use zmesh_proto::node::NodeConfig;
use zmesh_tests::sim::HostId;
use zmesh_tests::sim::app::{BulkClient, BulkServer, Call, Echo, Reflector, Role};
use zmesh_tests::sim::cost::Costs;
use zmesh_tests::sim::node::{App, NoApp, NodeHost};
use zmesh_tests::topology::{Tune, World};

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) hops: usize,
    pub(crate) repair: bool,
    /// Share, and mean length of a run.
    pub(crate) loss: (f64, f64),
    pub(crate) delay_ms: u64,
    pub(crate) seed: u64,
    pub(crate) quick: bool,
    pub(crate) costs: Costs,
}

/// What came out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Payload of a download, bytes a second.
    pub(crate) throughput: f64,
    /// Round trips of 50 messages a second, ms.
    pub(crate) echo_p50: f64,
    pub(crate) echo_p99: f64,
    /// Share of the messages that did not come back.
    pub(crate) echo_lost: f64,
    /// Share of a call's frames that did not arrive, in the worse direction.
    pub(crate) call_lost: f64,
}

pub(crate) fn measure(setting: &Setting) -> Figures {
    let mut figures = Figures::default();
    echo_and_call(setting, &mut figures);
    figures.throughput = download(setting);
    figures
}

/// A network of `relays` relays, every link of which has the setting's delay and loss.
fn world(setting: &Setting, relays: usize, app: impl FnMut(usize) -> Box<dyn App>) -> World {
    let (share, run) = setting.loss;
    let loss = if run > 1.0 { Loss::bursts(share, run) } else { Loss::Independent(share) };
    let link = Conditions { loss, ..Conditions::delay(Duration::from_millis(setting.delay_ms)) };
    let tune: Tune =
        if setting.repair { |_, config| set_repair(config, true) } else { |_, config| set_repair(config, false) };
    let mut world = World::new(setting.seed, relays, link, tune, app);
    for host in world.relays.clone() {
        world.sim.host::<NodeHost>(host).set_costs(setting.costs);
    }
    world
}

fn set_repair(config: &mut NodeConfig, repair: bool) {
    config.link.repair = repair;
}

fn add(world: &mut World, setting: &Setting, app: impl App) -> HostId {
    let host = world.add_origin_with(app, |config| set_repair(config, setting.repair));
    world.sim.host::<NodeHost>(host).set_costs(setting.costs);
    host
}

/// Echoes to the last hop, and a call: each side's own hops, the meeting relay the caller's last and the callee's last.
fn echo_and_call(setting: &Setting, figures: &mut Figures) {
    let hops = setting.hops;
    // The echo's path, the caller's, and the callee's without the meeting relay, all apart from each other.
    let mut world = world(setting, 3 * hops, |number| -> Box<dyn App> {
        if number + 1 == hops { Box::<Reflector>::default() } else { Box::new(NoApp) }
    });
    let numbers = |from: usize| (from..from + hops).collect::<Vec<_>>();
    let (echo_path, caller_path) = (world.path(&numbers(0)), world.path(&numbers(hops)));
    let meeting = 2 * hops - 1;
    let callee_path: Vec<usize> = (2 * hops..3 * hops - 1).chain([meeting]).collect();
    let callee_path = world.path(&callee_path);
    let epoch = world.sim.now();
    let callee = add(&mut world, setting, Call::new(Role::Callee, callee_path, [7; 16], epoch));
    let caller = add(&mut world, setting, Call::new(Role::Caller, caller_path, [7; 16], epoch));
    let echo = add(&mut world, setting, Echo::new(echo_path, Duration::from_millis(20), 480, epoch));
    // Circuits are built, and repair has seen what the links lose.
    world.run_for(Duration::from_secs(10));
    let from = world.sim.now();
    let sent_before = sent(&mut world, echo, &[caller, callee]);
    world.run_for(Duration::from_secs(if setting.quick { 10 } else { 60 }));
    let until = world.sim.now();
    let sent_after = sent(&mut world, echo, &[caller, callee]);
    // What is still on its way.
    world.run_for(Duration::from_secs(3));

    let sent: Vec<f64> = sent_after.iter().zip(&sent_before).map(|(after, before)| (after - before) as f64).collect();
    let margin = Duration::from_millis(2 * setting.delay_ms * (2 * hops as u64 + 1));
    let app = world.app::<Echo>(echo);
    let trips = app.round_trips(from);
    let came = app.received_between(from + margin / 2, until + margin / 2) as f64;
    let ms = |duration: Option<Duration>| duration.unwrap_or_default().as_secs_f64() * 1e3;
    (figures.echo_p50, figures.echo_p99) = (ms(trips.p50()), ms(trips.p99()));
    figures.echo_lost = lost(sent[0], came);
    for (host, sent) in [(caller, sent[2]), (callee, sent[1])] {
        let one_way = world.app::<Call>(host).report.one_way(from + margin / 2, until + margin / 2);
        figures.call_lost = figures.call_lost.max(lost(sent, one_way.len() as f64));
    }
}

fn lost(sent: f64, came: f64) -> f64 {
    (1.0 - came / sent.max(1.0)).max(0.0)
}

/// What the echo and the calls have sent.
fn sent(world: &mut World, echo: HostId, calls: &[HostId]) -> Vec<u64> {
    let mut sent = vec![world.app::<Echo>(echo).sent];
    for call in calls {
        sent.push(world.app::<Call>(*call).report.sent);
    }
    sent
}

/// A download from the last hop.
fn download(setting: &Setting) -> f64 {
    let hops = setting.hops;
    let mut world = world(setting, hops, |number| -> Box<dyn App> {
        if number + 1 == hops { Box::new(BulkServer::new([5; 32])) } else { Box::new(NoApp) }
    });
    let path: Vec<usize> = (0..hops).collect();
    let path = world.path(&path);
    let client = add(&mut world, setting, BulkClient::new(path, [9; 32]));
    world.run_for(Duration::from_secs(3));
    let before = world.app::<BulkClient>(client).bytes;
    let seconds = if setting.quick { 2 } else { 5 };
    world.run_for(Duration::from_secs(seconds));
    (world.app::<BulkClient>(client).bytes - before) as f64 / seconds as f64
}

//! End to end: the same load on a private Tor network and on ours, in the same run.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use zmesh_tests::load::Samples;
use zmesh_tests::load::client::{self, Download, Echoes, Saturation};
use zmesh_tests::load::server::Server;
use zmesh_tests::load::socks::Socks;
use zmesh_tests::peers::process::cpu_seconds_of;
use zmesh_tests::peers::tor::TorNetwork;
use zmesh_tests::peers::zmesh::{self, ZmeshNetwork};
use zmesh_tests::table::{Row, Target, Unit};

use crate::api;

/// How long a network may take to be ready; tor usually takes twenty seconds, ours one.
const PATIENCE: Duration = Duration::from_secs(180);

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    bulk_bytes: u64,
    bulk_runs: usize,
    echoes: usize,
    echo_interval: Duration,
    pub(crate) connects: usize,
    pub(crate) circuits: usize,
}

impl Plan {
    fn new(quick: bool) -> Plan {
        Plan {
            bulk_bytes: if quick { 10_000_000 } else { 100_000_000 },
            bulk_runs: if quick { 1 } else { 5 },
            echoes: if quick { 100 } else { 1_000 },
            echo_interval: Duration::from_millis(20),
            connects: if quick { 3 } else { 15 },
            circuits: if quick { 50 } else { 1_000 },
        }
    }
}

/// Servers that both networks are asked to reach.
struct Servers {
    http: Server,
    echo: Server,
    udp_echo: Server,
}

/// What one network did under the load; what failed is missing, and `notes` says why.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    bulk: Vec<Download>,
    /// Processor time of all processes of the network for each 1,400 bytes of the bulk runs, in microseconds.
    bulk_cost: Option<f64>,
    idle: Option<Echoes>,
    loaded: Option<Echoes>,
    idle_datagrams: Option<Echoes>,
    loaded_datagrams: Option<Echoes>,
    load: Option<Download>,
    pub(crate) cold: Option<Samples>,
    warm: Option<Samples>,
    /// Resident memory of the largest relay after the load, in bytes.
    memory: Option<u64>,
    /// The same of the largest forwarding relay with idle circuits, and of an exit with QUIC sessions.
    pub(crate) idle_memory: Option<u64>,
    pub(crate) session_memory: Option<u64>,
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    pub(crate) fn take<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.notes.push(format!("{what} failed: {error}"));
                None
            }
        }
    }

    fn failed(note: impl Into<String>) -> Outcome {
        Outcome { notes: vec![note.into()], ..Outcome::default() }
    }
}

/// Measures both networks, one after the other, and gives the rows.
pub(crate) fn rows(quick: bool, program: Option<&Path>) -> Vec<Row> {
    let plan = Plan::new(quick);
    let servers = match (Server::http(LOCALHOST), Server::tcp_echo(LOCALHOST), Server::udp_echo(LOCALHOST)) {
        (Ok(http), Ok(echo), Ok(udp_echo)) => Servers { http, echo, udp_echo },
        (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
            return vec![
                Row::new("end to end", "tor", Unit::Count, Target::None).note(format!("no local server: {error}")),
            ];
        }
    };
    let tor = match TorNetwork::version() {
        None => Outcome::failed("tor is not installed (apt install tor): its column stays empty"),
        Some(version) => {
            eprintln!("starting a private network of tor {version} …");
            match TorNetwork::start(PATIENCE) {
                Ok(network) => {
                    eprintln!("ready after {:.0} s; measuring", network.took().as_secs_f64());
                    measure_tor(&network, &servers, plan)
                }
                Err(error) => Outcome::failed(error.to_string()),
            }
        }
    };
    let program = program.map_or_else(zmesh::program, |path| Ok(path.to_owned()));
    let ours = program.and_then(|program| {
        eprintln!("starting a test network of zmesh …");
        ZmeshNetwork::start(&program, 8, 2, PATIENCE)
    });
    let ours = match ours {
        Ok(mut network) => {
            eprintln!("ready after {:.1} s; measuring", network.took().as_secs_f64());
            measure_ours(&mut network, &servers, plan)
        }
        Err(error) => Outcome::failed(format!("zmesh: {error}")),
    };
    compare(&tor, &ours, plan)
}

fn measure_tor(network: &TorNetwork, servers: &Servers, plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    let socks = Socks::new(network.socks());
    let http = servers.http.address();

    let ready = client::warm_up(&socks, http, Duration::from_secs(60));
    outcome.take("tor: first stream", ready);
    let warm = times(plan.connects, |_| client::first_byte(&socks, http));
    outcome.warm = outcome.take("tor: warm connect", warm);
    let cold = network.set_ready_made_circuits(false).map_err(io::Error::other).and_then(|()| {
        times(plan.connects, |number| client::first_byte(&socks.isolated(&format!("cold{number}")), http))
    });
    outcome.cold = outcome.take("tor: cold connect", cold);
    if let Err(error) = network.set_ready_made_circuits(true) {
        outcome.notes.push(error.to_string());
    }
    measure_load("tor", &mut outcome, &socks, servers, plan, &network.process_ids());
    outcome.memory = network.relay_memory().iter().map(|memory| memory.now).max();
    outcome
}

fn measure_ours(network: &mut ZmeshNetwork, servers: &Servers, plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    let proxy = match network.proxy(&[], PATIENCE) {
        Ok(proxy) => proxy,
        Err(error) => return Outcome::failed(format!("zmesh: {error}")),
    };
    let socks = Socks::new(proxy.socks);
    let http = servers.http.address();
    let ready = client::warm_up(&socks, http, Duration::from_secs(30));
    outcome.take("zmesh: first stream", ready);
    let warm = times(plan.connects, |_| client::first_byte(&socks, http));
    outcome.warm = outcome.take("zmesh: warm connect", warm);

    let mut processes: Vec<u32> = network.relays().iter().map(|relay| relay.pid).collect();
    processes.push(proxy.ready.process.id());
    measure_load("zmesh", &mut outcome, &socks, servers, plan, &processes);
    let datagrams = socks.isolated("datagrams").bind_udp();
    if let Some(udp) = outcome.take("zmesh: UDP ASSOCIATE", datagrams) {
        let target = servers.udp_echo.address();
        let echo = || client::udp_echoes(&udp, target, plan.echoes, plan.echo_interval);
        outcome.idle_datagrams = outcome.take("zmesh: UDP echo", echo());
        let (loaded, load) = beside_bulk(&socks.isolated("bulk"), http, echo);
        outcome.loaded_datagrams = outcome.take("zmesh: UDP echo beside bulk", loaded);
        outcome.take("zmesh: bulk beside UDP echo", load);
    }
    outcome.memory = network.relays().iter().filter_map(|relay| Some(relay.memory()?.now)).max();
    drop(proxy);
    api::measure(network, http, plan, &mut outcome);
    outcome
}

/// Echo and bulk through a SOCKS port, in circuits of their own.
fn measure_load(name: &str, outcome: &mut Outcome, socks: &Socks, servers: &Servers, plan: Plan, processes: &[u32]) {
    let (http, echo) = (servers.http.address(), servers.echo.address());
    let (calls, bulk) = (socks.isolated("echo"), socks.isolated("bulk"));
    for token in [&calls, &bulk] {
        let ready = client::warm_up(token, http, Duration::from_secs(60));
        outcome.take(&format!("{name}: warm-up"), ready);
    }
    let idle = client::tcp_echoes(&calls, echo, plan.echoes, plan.echo_interval);
    outcome.idle = outcome.take(&format!("{name}: echo"), idle);
    let cpu = || processes.iter().filter_map(|pid| cpu_seconds_of(*pid)).sum::<f64>();
    let before = cpu();
    for _ in 0..plan.bulk_runs {
        let run = client::download(&bulk, http, plan.bulk_bytes);
        let run = outcome.take(&format!("{name}: bulk"), run);
        outcome.bulk.extend(run);
    }
    let packets = outcome.bulk.iter().map(|run| run.bytes).sum::<u64>() as f64 / 1400.0;
    outcome.bulk_cost = (packets > 0.0).then(|| (cpu() - before) * 1e6 / packets);
    let (loaded, load) = beside_bulk(&bulk, http, || client::tcp_echoes(&calls, echo, plan.echoes, plan.echo_interval));
    outcome.loaded = outcome.take(&format!("{name}: echo beside bulk"), loaded);
    outcome.load = outcome.take(&format!("{name}: bulk beside echo"), load);
}

/// Runs `echo` while a download, isolated from it, saturates the path.
fn beside_bulk(
    bulk: &Socks,
    http: SocketAddr,
    echo: impl FnOnce() -> io::Result<Echoes>,
) -> (io::Result<Echoes>, io::Result<Download>) {
    let saturation = Saturation::start(bulk.clone(), http);
    thread::sleep(Duration::from_secs(1));
    let echoes = echo();
    (echoes, saturation.stop())
}

fn times(count: usize, mut one: impl FnMut(usize) -> io::Result<Duration>) -> io::Result<Samples> {
    (0..count).map(&mut one).collect::<io::Result<Vec<_>>>().map(Samples::new)
}

fn compare(tor: &Outcome, ours: &Outcome, plan: Plan) -> Vec<Row> {
    let ms = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64() * 1e3);
    let megabytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / 1e6);
    let median = |runs: &[Download]| {
        let mut rates: Vec<f64> = runs.iter().map(Download::megabytes_per_second).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    };
    let echo = |what: &str, percent: f64, target, theirs: &Option<Echoes>, ours: &Option<Echoes>| {
        let at = |echoes: &Option<Echoes>| ms(echoes.as_ref().and_then(|e| e.round_trips.percentile(percent)));
        let row = Row::new(format!("{what}, p{percent}"), "tor, TCP", Unit::Milliseconds, target)
            .figures(at(theirs), at(ours));
        match ours.as_ref().map(Echoes::lost) {
            Some(lost) if lost > 0.0 => row.note(format!("{:.1} % of ours never came back", 100.0 * lost)),
            _ => row,
        }
    };
    let (half, tenth) = (Target::AtMostTimesPeer(1.0), Target::AtMostTimesPeer(0.1));
    let cost = |outcome: &Outcome| outcome.bulk_cost;
    let mut rows = vec![
        Row::new("bulk through 3 hops", "tor", Unit::MegabytesPerSecond, Target::AtLeastTimesPeer(5.0))
            .figures(median(&tor.bulk), median(&ours.bulk))
            .note(format!("median of {} downloads of {} MB", plan.bulk_runs, plan.bulk_bytes / 1_000_000)),
        Row::new("processor time for 1,400 bytes", "tor", Unit::Microseconds, Target::AtMost(21.0))
            .figures(cost(tor), cost(ours))
            .note("relays and client together"),
        echo("echo 50/s, idle, TCP", 50.0, half, &tor.idle, &ours.idle),
        echo("echo 50/s, idle, TCP", 99.0, tenth, &tor.idle, &ours.idle),
        echo("echo 50/s, idle, UDP", 50.0, half, &tor.idle, &ours.idle_datagrams),
        echo("echo 50/s, idle, UDP", 99.0, tenth, &tor.idle, &ours.idle_datagrams),
        echo("echo beside bulk, TCP", 50.0, Target::None, &tor.loaded, &ours.loaded),
        echo("echo beside bulk, TCP", 99.0, tenth, &tor.loaded, &ours.loaded),
        echo("echo beside bulk, UDP", 50.0, Target::None, &tor.loaded, &ours.loaded_datagrams),
        echo("echo beside bulk, UDP", 99.0, tenth, &tor.loaded, &ours.loaded_datagrams),
        Row::new("bulk while echoes run", "tor", Unit::MegabytesPerSecond, Target::None).figures(
            tor.load.map(|load| load.megabytes_per_second()),
            ours.load.map(|load| load.megabytes_per_second()),
        ),
        Row::new("connect to first byte, cold", "tor", Unit::Milliseconds, half)
            .figures(ms(tor.cold.as_ref().and_then(Samples::p50)), ms(ours.cold.as_ref().and_then(Samples::p50)))
            .note("a new circuit over a guard link that is up"),
        Row::new("connect to first byte, warm", "tor", Unit::Milliseconds, half)
            .figures(ms(tor.warm.as_ref().and_then(Samples::p50)), ms(ours.warm.as_ref().and_then(Samples::p50))),
        Row::new("largest relay after the load", "tor", Unit::Megabytes, Target::None)
            .figures(megabytes(tor.memory), megabytes(ours.memory)),
        Row::new(
            format!("relay, {} idle circuits", plan.circuits),
            "tor, after load",
            Unit::Megabytes,
            Target::AtMost(30.0),
        )
        .figures(megabytes(tor.memory), megabytes(ours.idle_memory)),
        Row::new(
            format!("exit, {} QUIC sessions", plan.circuits),
            "tor, after load",
            Unit::Megabytes,
            Target::AtMost(80.0),
        )
        .figures(megabytes(tor.memory), megabytes(ours.session_memory)),
    ];
    let notes: Vec<&str> = tor.notes.iter().chain(&ours.notes).map(String::as_str).collect();
    if let Some(first) = rows.first_mut() {
        *first = first.clone().note(notes.join("; "));
    }
    rows
}

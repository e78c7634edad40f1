//! End to end: the same load on a private Tor network and on ours, in the same run.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use zmesh_tests::load::Samples;
use zmesh_tests::load::client::{self, Download, Echoes, Saturation};
use zmesh_tests::load::server::Server;
use zmesh_tests::load::socks::Socks;
use zmesh_tests::peers::tor::TorNetwork;
use zmesh_tests::table::{Row, Target, Unit};

/// How long tor may take to be ready; about half a minute is usual.
const TOR_PATIENCE: Duration = Duration::from_secs(180);

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Plan {
    bulk_bytes: u64,
    bulk_runs: usize,
    echoes: usize,
    echo_interval: Duration,
    connects: usize,
}

impl Plan {
    fn new(quick: bool) -> Plan {
        Plan {
            bulk_bytes: if quick { 10_000_000 } else { 100_000_000 },
            bulk_runs: if quick { 1 } else { 3 },
            echoes: if quick { 100 } else { 1_000 },
            echo_interval: Duration::from_millis(20),
            connects: if quick { 3 } else { 15 },
        }
    }
}

/// Servers that both networks are asked to reach.
struct Servers {
    http: Server,
    echo: Server,
}

/// What one network did under the load; what failed is missing, and `notes` says why.
#[derive(Debug, Default)]
struct Outcome {
    bulk: Vec<Download>,
    idle: Option<Echoes>,
    loaded: Option<Echoes>,
    load: Option<Download>,
    cold: Option<Samples>,
    warm: Option<Samples>,
    memory: Option<u64>,
    notes: Vec<String>,
}

impl Outcome {
    fn take<T>(&mut self, what: &str, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.notes.push(format!("{what} failed: {error}"));
                None
            }
        }
    }
}

/// Measures both networks, one after the other, and gives the rows.
pub(crate) fn rows(quick: bool, _zmesh: Option<&Path>) -> Vec<Row> {
    let plan = Plan::new(quick);
    let servers = match (Server::http(LOCALHOST), Server::tcp_echo(LOCALHOST)) {
        (Ok(http), Ok(echo)) => Servers { http, echo },
        (Err(error), _) | (_, Err(error)) => {
            return vec![
                Row::new("end to end", "tor", Unit::Count, Target::None).note(format!("no local server: {error}")),
            ];
        }
    };
    let tor = match TorNetwork::version() {
        None => Outcome {
            notes: vec!["tor is not installed (apt install tor): its column stays empty".to_owned()],
            ..Outcome::default()
        },
        Some(version) => {
            eprintln!("starting a private network of tor {version} …");
            match TorNetwork::start(TOR_PATIENCE) {
                Ok(network) => {
                    eprintln!("ready after {:.0} s", network.took().as_secs_f64());
                    measure_tor(&network, &servers, plan)
                }
                Err(error) => Outcome { notes: vec![error.to_string()], ..Outcome::default() },
            }
        }
    };
    compare(&tor, &Outcome::default())
}

fn measure_tor(network: &TorNetwork, servers: &Servers, plan: Plan) -> Outcome {
    let mut outcome = Outcome::default();
    let socks = Socks::new(network.socks());
    let http = servers.http.address();
    let echo = servers.echo.address();

    let ready = client::warm_up(&socks, http, Duration::from_secs(60));
    outcome.take("tor: first stream", ready);
    let warm = times(plan.connects, |_| client::first_byte(&socks, http));
    outcome.warm = outcome.take("tor: warm connect", warm);
    let cold = network
        .set_ready_made_circuits(false)
        .map_err(io::Error::other)
        .and_then(|()| times(plan.connects, |i| client::first_byte(&socks.isolated(&format!("cold{i}")), http)));
    outcome.cold = outcome.take("tor: cold connect", cold);
    if let Err(error) = network.set_ready_made_circuits(true) {
        outcome.notes.push(error.to_string());
    }

    let (calls, bulk) = (socks.isolated("echo"), socks.isolated("bulk"));
    for token in [&calls, &bulk] {
        let ready = client::warm_up(token, http, Duration::from_secs(60));
        outcome.take("tor: warm-up", ready);
    }
    let idle = client::tcp_echoes(&calls, echo, plan.echoes, plan.echo_interval);
    outcome.idle = outcome.take("tor: echo", idle);
    for _ in 0..plan.bulk_runs {
        let run = client::download(&bulk, http, plan.bulk_bytes);
        let run = outcome.take("tor: bulk", run);
        outcome.bulk.extend(run);
    }
    let (loaded, load) = beside_bulk(&bulk, http, || client::tcp_echoes(&calls, echo, plan.echoes, plan.echo_interval));
    outcome.loaded = outcome.take("tor: echo beside bulk", loaded);
    outcome.load = outcome.take("tor: bulk beside echo", load);
    outcome.memory = network.relay_memory().iter().map(|memory| memory.now).max();
    outcome
}

/// Runs `echo` while a download, isolated from it, saturates the path.
fn beside_bulk(
    socks: &Socks,
    http: std::net::SocketAddr,
    echo: impl FnOnce() -> io::Result<Echoes>,
) -> (io::Result<Echoes>, io::Result<Download>) {
    let saturation = Saturation::start(socks.clone(), http);
    thread::sleep(Duration::from_secs(1));
    let echoes = echo();
    (echoes, saturation.stop())
}

fn times(count: usize, mut one: impl FnMut(usize) -> io::Result<Duration>) -> io::Result<Samples> {
    (0..count).map(&mut one).collect::<io::Result<Vec<_>>>().map(Samples::new)
}

fn compare(tor: &Outcome, ours: &Outcome) -> Vec<Row> {
    let millis = |duration: Option<Duration>| duration.map(|d| d.as_secs_f64() * 1e3);
    let best = |runs: &[Download]| runs.iter().map(Download::megabytes_per_second).reduce(f64::max);
    let idle = |o: &Outcome| o.idle.as_ref().map(|echoes| echoes.round_trips.clone());
    let loaded = |o: &Outcome| o.loaded.as_ref().map(|echoes| echoes.round_trips.clone());
    let ms = Unit::Milliseconds;
    let mut rows = vec![
        Row::new("bulk through 3 hops", "tor", Unit::MegabytesPerSecond, Target::AtLeastTimesPeer(5.0))
            .figures(best(&tor.bulk), best(&ours.bulk)),
        Row::new("echo at 50/s, idle, p50", "tor", ms, Target::AtMostTimesPeer(1.0))
            .figures(millis(idle(tor).and_then(|s| s.p50())), millis(idle(ours).and_then(|s| s.p50()))),
        Row::new("echo at 50/s, idle, p99", "tor", ms, Target::AtMostTimesPeer(0.1))
            .figures(millis(idle(tor).and_then(|s| s.p99())), millis(idle(ours).and_then(|s| s.p99()))),
        Row::new("echo beside bulk, p50", "tor", ms, Target::None)
            .figures(millis(loaded(tor).and_then(|s| s.p50())), millis(loaded(ours).and_then(|s| s.p50()))),
        Row::new("echo beside bulk, p99", "tor", ms, Target::AtMostTimesPeer(0.1))
            .figures(millis(loaded(tor).and_then(|s| s.p99())), millis(loaded(ours).and_then(|s| s.p99()))),
        Row::new("bulk while echoes run", "tor", Unit::MegabytesPerSecond, Target::None).figures(
            tor.load.map(|load| load.megabytes_per_second()),
            ours.load.map(|load| load.megabytes_per_second()),
        ),
        Row::new("connect to first byte, cold", "tor", ms, Target::AtMostTimesPeer(1.0)).figures(
            millis(tor.cold.as_ref().and_then(Samples::p50)),
            millis(ours.cold.as_ref().and_then(Samples::p50)),
        ),
        Row::new("connect to first byte, warm", "tor", ms, Target::AtMostTimesPeer(1.0)).figures(
            millis(tor.warm.as_ref().and_then(Samples::p50)),
            millis(ours.warm.as_ref().and_then(Samples::p50)),
        ),
        Row::new("relay memory after load", "tor", Unit::Megabytes, Target::AtMost(80.0))
            .figures(tor.memory.map(|bytes| bytes as f64 / 1e6), ours.memory.map(|bytes| bytes as f64 / 1e6)),
    ];
    let notes: Vec<&str> = tor.notes.iter().chain(&ours.notes).map(String::as_str).collect();
    if let Some(first) = rows.first_mut() {
        *first = first.clone().note(notes.join("; "));
    }
    rows
}

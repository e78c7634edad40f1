//! `zmesh path`: how relays are chosen, for people who want to know.

mod report;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use clap::Subcommand;
use tokio::time::timeout;
use zmesh_overlay::{Circuit, Network, Node, PathSpec, RelayId};
use zmesh_proto::path::{Chooser, GUARDS_DEFAULT, GuardSet, GuardState, LastHop, PathRequest, Preference, Strength};

use self::report::Report;
use crate::failure::{Failure, Outcome, no_circuit, not_started};
use crate::files;
use crate::guards::GuardOption;
use crate::network_file::{NetworkOption, Way};
use crate::randomness;
use crate::stop::Stop;
use crate::term;
use crate::time::unix_now;

/// Probes of each hop; the quickest one counts.
const PROBES: usize = 4;
/// How long a circuit may take, with its repetitions on other paths.
const CIRCUIT: Duration = Duration::from_secs(30);
/// How long closing it may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum PathCommand {
    /// Draw a path as every circuit is drawn, and say what it costs and what an observer would still have to guess.
    #[command(after_help = "Example:
  zmesh path explain --bootstrap line
  zmesh path explain --bootstrap line --hops 2 --measure --json")]
    Explain(Explain),
}

/// What to draw.
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// Relays in the path.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    /// The port that the exit must serve; 0 takes any exit.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// The exit must reach IPv6 destinations.
    #[arg(long)]
    ipv6: bool,
    /// The country that the exit must claim: two letters.
    #[arg(long, value_name = "COUNTRY", value_parser = country)]
    country: Option<[u8; 2]>,
    /// How strongly quick paths are preferred, 0 to 6 bits: none becomes more than 2 to this power times likelier.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(0..=6))]
    latency: Option<u8>,
    /// Choose uniformly, whatever was measured.
    #[arg(long, conflicts_with = "latency")]
    uniform: bool,
    /// Build the circuit and measure the round-trip time to each of its relays.
    #[arg(long)]
    measure: bool,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

fn country(text: &str) -> Result<[u8; 2], String> {
    let letters: [u8; 2] = text.as_bytes().try_into().map_err(|_| "a country has two letters, like DE".to_owned())?;
    let letters = letters.map(|letter| letter.to_ascii_uppercase());
    if letters.iter().all(u8::is_ascii_uppercase) { Ok(letters) } else { Err("a country has two letters".to_owned()) }
}

impl Explain {
    fn preference(&self) -> Preference {
        let default = Preference::DEFAULT;
        match self.latency {
            _ if self.uniform => Preference::UNIFORM,
            None => default,
            Some(bits) => Preference { strength: Strength { latency: 2 * bits, ..default.strength }, ..default },
        }
    }
}

pub(crate) async fn run(command: PathCommand) -> Outcome {
    let PathCommand::Explain(args) = command;
    let way = args.network.way()?;
    let report = match &way {
        _ if args.measure => measure(&args, &way).await?,
        Way::Document(known) => draw(&args, &known.network)?,
        Way::Line(..) => {
            let node = args.guards.node(&way)?.spares(0).start().await.map_err(not_started)?;
            let report = draw(&args, &node.network());
            let _ = timeout(GOODBYE, node.shutdown()).await;
            report?
        }
    };
    if args.json {
        term::json(&report.to_json());
    } else {
        report.print();
    }
    Ok(())
}

/// Draws a path without a node.
fn draw(args: &Explain, network: &Network) -> Outcome<Report> {
    let mut rng = randomness::generator()?;
    let mut chooser = Chooser::new(network, args.preference());
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::failed("there is no such path", error, "see what the network has: zmesh network show")
    };
    // The guards that the next circuit would use; new ones are not stored by looking.
    let mut guards = GuardSet::restore(GUARDS_DEFAULT, stored(args, network)?);
    guards.advance(u32::try_from(unix_now() / 86_400).unwrap_or(u32::MAX));
    let last = LastHop::Exit { port: args.port, v6: args.ipv6 };
    let mut passed = Vec::new();
    loop {
        let guard = guards.pick(Instant::now(), &chooser, &passed, &mut rng).map_err(|error| cannot(&error))?;
        let hops = args.hops.into();
        let request = PathRequest { hops, last, exclude: &[], guard: Some(guard), country: args.country };
        match chooser.select(&request, &mut rng) {
            Ok(path) => {
                let explanation = chooser.explain(&request).map_err(|error| cannot(&error))?;
                return Ok(Report::new(network, &chooser, &path, explanation));
            }
            // This guard does not fit the path, as it is the only exit, say; another one may.
            Err(error) if passed.len() + 1 >= guards.report(Instant::now()).len() => return Err(cannot(&error)),
            Err(_) => passed.push(guard),
        }
    }
}

/// The guards of earlier runs.
fn stored(args: &Explain, network: &Network) -> Outcome<GuardState> {
    let Some(path) = args.guards.file(&network.network_id().0, network.is_test_network()).filter(|path| path.exists())
    else {
        return Ok(GuardState::default());
    };
    let bytes = files::read(&path, "file of guards", "use --ephemeral")?;
    GuardState::decode(&bytes).map_err(|error| {
        let next = "move it away to draw new guards, or use --ephemeral";
        Failure::failed(format_args!("{} cannot be used", path.display()), error, next)
    })
}

/// Builds a circuit and measures it.
async fn measure(args: &Explain, way: &Way) -> Outcome<Report> {
    let mut stop = Stop::listen(false)?;
    let mut path = PathSpec::exit().hops(args.hops.into()).port(args.port);
    if args.ipv6 {
        path = path.ipv6();
    }
    if let Some(country) = args.country {
        path = path.country(country);
    }
    let builder = args.guards.node(way)?.spares(0).preference(args.preference());
    let node = builder.start().await.map_err(not_started)?;
    let network = node.network();
    term::progress(format_args!("building a circuit of {} relays and measuring it", args.hops));
    let measured = tokio::select! {
        biased;
        () = stop.wait() => Err(Failure::failed("nothing was measured", "it was stopped", "let it run for some seconds")),
        measured = timeout(CIRCUIT, measure_on(&node, &network, &path, args.preference())) => match measured {
            Ok(measured) => measured,
            Err(_) => Err(no_circuit("no circuit could be measured", "it did not answer in time")),
        },
    };
    let _ = timeout(GOODBYE, node.shutdown()).await;
    measured
}

async fn measure_on(node: &Node, network: &Network, spec: &PathSpec, preference: Preference) -> Outcome<Report> {
    let cannot = |error: &dyn std::fmt::Display| no_circuit("no circuit could be measured", error);
    let circuit = node.circuit(spec.clone()).await.map_err(|error| cannot(&error))?;
    let path: Vec<RelayId> = circuit.path().iter().map(|hop| hop.id).collect();
    let explanation = node.explain(spec, path.first().copied()).map_err(|error| cannot(&error))?;
    let mut report = Report::new(network, &Chooser::new(network, preference), &path, explanation);
    for hop in 0..path.len() {
        report.measured(hop, quickest(&circuit, hop).await?);
    }
    Ok(report)
}

/// The quickest of a few round trips to a hop.
async fn quickest(circuit: &Circuit, hop: usize) -> Outcome<Duration> {
    let mut quickest = Duration::MAX;
    for _ in 0..PROBES {
        let round_trip = circuit.ping(hop).await.map_err(|error| no_circuit("a relay did not answer", error))?;
        quickest = quickest.min(round_trip);
    }
    Ok(quickest)
}

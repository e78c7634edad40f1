//! `zmesh proxy`: any program through circuits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use zmesh_overlay::{Circuit, ConnectErrorKind, Node, PathSpec};
use zmesh_proxy::{Circuits, Server, Token};

use super::address;
use super::narrate::{follow, guards, narrate};
use crate::failure::{Failure, Outcome, no_circuit, not_started};
use crate::files;
use crate::guards::GuardOption;
use crate::network_file::NetworkOption;
use crate::stop::Stop;
use crate::term;
use crate::time::millis;

/// How long the first circuit may take, with its repetitions on other paths.
const FIRST_CIRCUIT: Duration = Duration::from_secs(30);
/// Between two tries at it.
const PAUSE: Duration = Duration::from_millis(500);
/// How long closing circuits may take.
const GOODBYE: Duration = Duration::from_secs(3);

/// Runs until Ctrl-C or SIGTERM. Programs with different user names or passwords never share a circuit.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh proxy --network network
  curl --proxy socks5h://127.0.0.1:9150 https://example.org/")]
pub(crate) struct Args {
    #[command(flatten)]
    network: NetworkOption,
    #[command(flatten)]
    guards: GuardOption,
    /// Where programs connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9150", value_parser = address)]
    listen: SocketAddr,
    /// Relays in a circuit.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    hops: u8,
    /// Say as JSON, one value a line, when it is usable, what happens to its paths, and its circuits and guards when it stops.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    exit_with_stdin: bool,
}

pub(crate) async fn run(args: Args) -> Outcome {
    let mut stop = Stop::listen(args.exit_with_stdin)?;
    let way = args.network.way()?;
    let server = Server::bind(args.listen).await.map_err(|error| {
        Failure::failed(
            format_args!("cannot listen on {}", args.listen),
            files::reason(&error),
            "choose another address with --listen (port 0 takes a free one)",
        )
    })?;
    let address = server.local_addr().unwrap_or(args.listen);

    term::progress(format_args!("building a circuit of {} relays", args.hops));
    let path = PathSpec::exit().hops(args.hops.into());
    let node = args.guards.node(&way)?.path(path.clone()).start().await.map_err(not_started)?;
    let circuits = Arc::new(Circuits::new(node.clone(), path));
    let outcome = tokio::select! {
        biased;
        () = stop.wait() => Ok(()),
        outcome = serve(&node, server, address, &circuits, args.json) => outcome,
        () = follow(&node, args.json) => Ok(()),
    };
    if args.json && outcome.is_ok() {
        let circuits: Vec<Value> = circuits.circuits().iter().map(circuit_json).collect();
        term::json(&json!({ "stopped": true, "circuits": circuits, "guards": guards(&node) }));
    }
    let _ = timeout(GOODBYE, node.shutdown()).await;
    outcome
}

async fn serve(node: &Node, server: Server, address: SocketAddr, circuits: &Arc<Circuits>, json: bool) -> Outcome {
    let first = circuits.session(Token::SHARED);
    // A bad network may lose a circuit that has just been built: its links repair losses only once they have seen some.
    let warm = async {
        loop {
            match first.warm().await {
                Err(error) if error.kind() == ConnectErrorKind::Lost => sleep(PAUSE).await,
                done => return done,
            }
        }
    };
    match timeout(FIRST_CIRCUIT, narrate(node, warm)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(no_circuit("no circuit could be built", &error)),
        Err(_) => {
            return Err(Failure::failed(
                "no circuit could be built",
                format_args!("no relay path answered within {} s", FIRST_CIRCUIT.as_secs()),
                "see whether UDP leaves this machine and whether the relays run",
            ));
        }
    }
    ready(address, &first.circuits(), json);
    server
        .serve(Arc::clone(circuits))
        .await
        .map_err(|error| Failure::failed("the proxy stopped", error, "start it again"))
}

fn ready(address: SocketAddr, circuits: &[Circuit], json: bool) {
    let curl = format!("curl --proxy socks5h://{address} https://example.org/");
    if json {
        let circuits: Vec<Value> = circuits.iter().map(circuit_json).collect();
        term::json(&json!({
            "ready": true, "role": "proxy", "address": address, "curl": curl, "circuits": circuits,
        }));
        return;
    }
    term::line(format_args!("the proxy is usable at {address} (SOCKS5 and HTTP CONNECT)"));
    term::line(format_args!("try it:  {curl}"));
    term::line("Ctrl-C stops it");
}

/// A circuit's path and build time, for reports.
pub(crate) fn circuit_json(circuit: &Circuit) -> Value {
    let path: Vec<String> = circuit.path().into_iter().map(|hop| hop.nickname).collect();
    json!({ "path": path, "build_ms": millis(circuit.build_time()) })
}

//! What is measured through the Rust interface: cold connections, and the memory of relays with many circuits.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use zmesh_overlay::{Circuit, Network, Node, PathSpec, RelayId};
use zmesh_tests::load::Samples;
use zmesh_tests::peers::zmesh::ZmeshNetwork;

use crate::end_to_end::{Outcome, Plan};

/// QUIC handshakes at the same time.
const AT_ONCE: usize = 16;

/// Circuits of one origin.
const PER_ORIGIN: usize = 100;

/// Measures and writes what came out into `outcome`.
pub(crate) fn measure(testnet: &ZmeshNetwork, http: SocketAddr, plan: Plan, outcome: &mut Outcome) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return outcome.notes.push(format!("no runtime: {error}")),
    };
    runtime.block_on(async {
        let cold = cold(testnet, http, plan.connects).await;
        outcome.cold = outcome.take("zmesh: cold connect", cold);
        let memory = memory(testnet, plan.circuits, outcome).await;
        outcome.take("zmesh: memory with many circuits", memory);
    });
}

async fn node(testnet: &ZmeshNetwork) -> io::Result<(Node, Arc<Network>)> {
    let bytes = std::fs::read(testnet.network())?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?.as_secs();
    let network = Arc::new(Network::decode(&bytes, unix).map_err(io::Error::other)?);
    let node = Node::builder().network(Arc::clone(&network)).spares(0).start().await.map_err(io::Error::other)?;
    Ok((node, network))
}

/// From nothing but a link to the guard to the first byte of a web server's answer.
async fn cold(testnet: &ZmeshNetwork, http: SocketAddr, count: usize) -> io::Result<Samples> {
    let (node, _) = node(testnet).await?;
    let mut taken = Vec::new();
    for number in 0..=count {
        let begun = Instant::now();
        let circuit = node.circuit(PathSpec::exit().hops(3)).await.map_err(io::Error::other)?;
        let mut stream = circuit.connect(http).await.map_err(io::Error::other)?;
        stream.write_all(b"GET /bytes/1 HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await?;
        stream.read_u8().await?;
        // The first also brings the links up.
        if number > 0 {
            taken.push(begun.elapsed());
        }
        circuit.close();
    }
    node.shutdown().await;
    Ok(Samples::new(taken))
}

/// Builds circuits to one exit, looks at the relays; brings QUIC up on each, looks again.
async fn memory(testnet: &ZmeshNetwork, count: usize, outcome: &mut Outcome) -> io::Result<()> {
    let (first, network) = node(testnet).await?;
    let exit = network
        .relays()
        .iter()
        .find(|relay| relay.exit().is_some())
        .map(|relay| relay.id())
        .ok_or_else(|| io::Error::other("the network has no exit"))?;
    // A relay lets one stranger have 128 circuits, so there are several origins.
    let mut nodes = vec![first];
    while nodes.len() * PER_ORIGIN < count {
        nodes.push(node(testnet).await?.0);
    }
    let mut circuits = Vec::with_capacity(count);
    for (number, node) in nodes.iter().enumerate() {
        let share = PER_ORIGIN.min(count - number * PER_ORIGIN);
        circuits.extend(build(node, exit, share).await?);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let relays = testnet.relays();
    let resident = |exits: bool| {
        relays.iter().filter(|relay| relay.exit == exits).filter_map(|relay| Some(relay.memory()?.now)).max()
    };
    outcome.idle_memory = resident(false);

    let (mut up, mut failure) = (0, None);
    for group in circuits.chunks(AT_ONCE) {
        let mut opening = JoinSet::new();
        for circuit in group {
            let circuit = circuit.clone();
            opening.spawn(async move { circuit.ready().await });
        }
        while let Some(done) = opening.join_next().await {
            match done {
                Ok(Ok(())) => up += 1,
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(error) => failure = Some(error.to_string()),
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    outcome.session_memory = resident(true);
    if up < count {
        let why = failure.unwrap_or_default();
        outcome.notes.push(format!("{up} of {count} QUIC sessions came up: {why}"));
    }
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}

/// Builds `count` circuits of three hops to `exit`, slowly enough for the limits of relays and exits.
async fn build(node: &Node, exit: RelayId, count: usize) -> io::Result<Vec<Circuit>> {
    let mut circuits = Vec::with_capacity(count);
    let mut refusals = 0;
    while circuits.len() < count {
        // QUIC begins with the circuit, and an exit takes 500 new sessions a second.
        tokio::time::sleep(Duration::from_millis(3)).await;
        match node.circuit(PathSpec::exit().hops(3).through(exit)).await {
            Ok(circuit) => circuits.push(circuit),
            Err(_) if refusals < 20 => {
                refusals += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(circuits)
}

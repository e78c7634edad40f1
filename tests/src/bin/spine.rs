//! The forwarding spine: an origin and four relays in one thread, without sockets, under full load. Three of the relays forward; what
//! their machines take is measured by itself, turn by turn, so the origin's work and the copying between them do not count.
//!
//! `cargo run --release -p zmesh-tests --bin zmesh-spine -- [SECONDS]`
#![allow(clippy::print_stdout, reason = "a program that people run in a terminal")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zmesh_proto::node::{CircuitId, Event, MESSAGE_MAX, Node};
use zmesh_tests::load::Samples;
use zmesh_tests::topology;

/// Datagrams that a machine takes in one turn.
const BATCH: usize = 64;

/// Messages that the origin queues in one turn.
const MESSAGES: usize = 64;

struct Stage {
    name: String,
    node: Node,
    address: SocketAddr,
    inbox: Vec<(SocketAddr, Vec<u8>)>,
    /// What full turns took, for one datagram.
    turns: Vec<Duration>,
    received: u64,
    sent: u64,
}

fn main() {
    let seconds: u64 = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(5);
    let (ids, nodes) = topology::bare_nodes(7, 4);
    let mut stages: Vec<Stage> = nodes
        .into_iter()
        .enumerate()
        .map(|(number, (address, node))| Stage {
            name: match number {
                0..=2 => format!("relay {} (forwards)", number + 1),
                3 => "relay 4 (the end)".to_owned(),
                _ => "origin".to_owned(),
            },
            node,
            address,
            inbox: Vec::new(),
            turns: Vec::new(),
            received: 0,
            sent: 0,
        })
        .collect();
    let origin = stages.len() - 1;
    let circuit = build(&mut stages, origin, &ids);

    let metrics_before: Vec<u64> = stages.iter().map(|stage| stage.node.metrics().cells_forwarded).collect();
    for stage in &mut stages {
        stage.turns.clear();
        (stage.received, stage.sent) = (0, 0);
    }
    let message = vec![0x77; MESSAGE_MAX];
    let mut messages = 0_u64;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        let now = Instant::now();
        for _ in 0..MESSAGES {
            if stages[origin].node.send(now, circuit, &message).is_err() {
                println!("the circuit ended early");
                return;
            }
        }
        messages += turn_all(&mut stages);
    }
    report(&stages, &metrics_before, messages, begun.elapsed());
}

/// Builds the circuit through all four relays.
fn build(stages: &mut [Stage], origin: usize, path: &[zmesh_sphinx::RelayId]) -> CircuitId {
    let circuit = stages[origin].node.build(Instant::now(), path).expect("a path of known relays");
    loop {
        let mut ready = false;
        let now = Instant::now();
        stages[origin].node.handle_timeout(now);
        while let Some(event) = stages[origin].node.poll_event() {
            match event {
                Event::CircuitReady { .. } => ready = true,
                other => unreachable!("nothing else can happen on a perfect network: {other:?}"),
            }
        }
        if ready {
            return circuit;
        }
        turn_all(stages);
    }
}

/// Gives each machine turns until its inbox is empty, once round; returns the messages that reached the end.
fn turn_all(stages: &mut [Stage]) -> u64 {
    let mut messages = 0;
    for number in 0..stages.len() {
        let mut waiting = std::mem::take(&mut stages[number].inbox);
        loop {
            let count = waiting.len().min(BATCH);
            let mut batch: Vec<(SocketAddr, Vec<u8>)> = waiting.drain(..count).collect();
            let stage = &mut stages[number];
            let begun = Instant::now();
            for (from, datagram) in &mut batch {
                stage.node.handle_datagram(begun, *from, datagram);
            }
            if stage.node.next_timeout().is_some_and(|at| at <= begun) {
                stage.node.handle_timeout(begun);
            }
            stage.node.flush(begun);
            if batch.len() >= BATCH / 2 {
                stage.turns.push(begun.elapsed() / u32::try_from(batch.len()).unwrap_or(u32::MAX));
            }
            stage.received += batch.len() as u64;

            while let Some(job) = stage.node.poll_job() {
                let done = job.run();
                stage.node.handle_job(Instant::now(), done);
            }
            if number != stages.len() - 1 {
                while let Some(event) = stages[number].node.poll_event() {
                    messages += u64::from(matches!(event, Event::LocalMessage { .. }));
                }
            }
            deliver(stages, number);
            if waiting.is_empty() {
                break;
            }
        }
    }
    messages
}

fn deliver(stages: &mut [Stage], from: usize) {
    let source = stages[from].address;
    let places: BTreeMap<SocketAddr, usize> = stages.iter().enumerate().map(|(i, s)| (s.address, i)).collect();
    let mut out: Vec<(usize, Vec<u8>)> = Vec::new();
    for transmit in stages[from].node.transmits() {
        if let Some(place) = places.get(&transmit.to) {
            out.extend(transmit.data.chunks(transmit.segment).map(|datagram| (*place, datagram.to_vec())));
        }
    }
    stages[from].node.clear_transmits();
    stages[from].sent += out.len() as u64;
    for (place, datagram) in out {
        stages[place].inbox.push((source, datagram));
    }
}

fn report(stages: &[Stage], before: &[u64], messages: u64, elapsed: Duration) {
    println!(
        "{messages} messages of {MESSAGE_MAX} bytes reached the end in {:.2} s of one core for everything",
        elapsed.as_secs_f64()
    );
    println!(
        "| machine | cells forwarded | ns a cell, median | fastest tenth | datagrams in | datagrams out | drops |"
    );
    println!("|---|---|---|---|---|---|---|");
    let (mut median, mut fast) = (0.0, 0.0);
    for (stage, before) in stages.iter().zip(before) {
        let metrics = stage.node.metrics();
        let forwarded = metrics.cells_forwarded - before;
        let turns = Samples::new(stage.turns.clone());
        // Under load every datagram carries two cells.
        let each = |percent| turns.percentile(percent).map_or(0.0, |taken| taken.as_nanos() as f64 / 2.0);
        if forwarded > 0 {
            median += each(50.0);
            fast += each(10.0);
        }
        let drops = &metrics.drops;
        println!(
            "| {} | {forwarded} | {:.0} | {:.0} | {} | {} | {} |",
            stage.name,
            each(50.0),
            each(10.0),
            stage.received,
            stage.sent,
            drops.codel + drops.circuit_bound + drops.link_bound + drops.node_bound
        );
    }
    println!(
        "three forwarders: {:.2} µs a cell ({:.2} in the fastest tenth of turns), {:.2} µs ({:.2}) for the three cells of a 1,400-byte packet; no system calls",
        median / 1e3,
        fast / 1e3,
        3.0 * median / 1e3,
        3.0 * fast / 1e3
    );
}

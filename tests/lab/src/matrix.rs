//! Runs the nodes, has each pair open a link, and prints the matrix.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};

use crate::call;
use crate::kinds::Kind;
use crate::node::Outcome;
use crate::weights::VARIANTS;
use crate::world::World;

/// How long nodes may take to be linked to an introducer.
const SETTLE: Duration = Duration::from_secs(45);
/// Links to introducers that a node needs before it is asked for.
const INTRODUCERS: u64 = 2;

/// What a node has said so far.
#[derive(Default)]
struct Said {
    ready: bool,
    failed: Option<String>,
    nat: Value,
    reachable_ms: Option<u64>,
    outcomes: BTreeMap<String, Outcome>,
}

struct Running {
    _child: Child,
    input: ChildStdin,
    said: Arc<Mutex<Said>>,
}

impl Running {
    fn said<T>(&self, see: impl FnOnce(&mut Said) -> T) -> T {
        see(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn hear(said: &Mutex<Said>, value: &Value) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.ready |= value["ready"] == true;
    if let Some(why) = value["failed"].as_str() {
        said.failed = Some(why.to_owned());
    }
    if value["nat"].is_object() {
        said.nat = value["nat"].clone();
        let known = said.nat["reachability"]["state"] != "asking";
        if known && said.reachable_ms.is_none() {
            said.reachable_ms = value["after_ms"].as_u64();
        }
    }
    if let (Some(id), Ok(outcome)) = (value["open"].as_str(), serde_json::from_value(value["outcome"].clone())) {
        said.outcomes.insert(id.to_owned(), outcome);
    }
}

/// Builds the lab, runs it, prints. Whether every pair was connected.
pub(crate) async fn run(only: &[String], patience: u64, as_json: bool) -> Result<bool, String> {
    let kinds: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| only.is_empty() || only.iter().any(|name| name == kind.name())).collect();
    if kinds.is_empty() {
        return Err(format!("no such kind; there are {}", Kind::ALL.map(Kind::name).join(", ")));
    }
    eprintln!("building namespaces for {} kinds …", kinds.len());
    let world = World::build(&kinds)?;
    let mut running = BTreeMap::new();
    for place in &world.places {
        let mut child = world
            .command(place)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("a node does not start: {error}"))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { return Err("a node has no pipes".into()) };
        let heard = Arc::clone(&said);
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(value) = serde_json::from_str(&line) {
                    hear(&heard, &value);
                }
            }
        });
        running.insert(place.name.clone(), Running { _child: child, input, said });
    }
    settle(&world, &running).await?;
    print_seen(&world, &running);
    let outcomes = open_all(&world, &mut running, &kinds, patience).await?;
    let complete = print_matrix(&kinds, &outcomes) & call::all(&world).await?;
    if as_json {
        let cells: Vec<Value> =
            outcomes.iter().map(|((a, b), outcome)| json!({ "from": a, "to": b, "outcome": outcome })).collect();
        println!("{}", json!({ "pairs": cells }));
    }
    Ok(complete)
}

async fn settle(world: &World, running: &BTreeMap<String, Running>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Some((name, why)) =
            running.iter().find_map(|(name, node)| Some((name, node.said(|said| said.failed.clone())?)))
        {
            return Err(format!("{name} does not start: {why}"));
        }
        let linked = |name: &String| {
            running[name].said(|said| said.ready && said.nat["introducers"].as_u64().unwrap_or(0) >= INTRODUCERS)
        };
        let missing: Vec<&String> = world
            .places
            .iter()
            .filter(|place| place.kind.is_some())
            .map(|place| &place.name)
            .filter(|name| !linked(name))
            .collect();
        if missing.is_empty() {
            // What relays say of reachability takes a little longer; it is printed with its own time.
            let wait = Duration::from_secs(11).saturating_sub(begun.elapsed());
            tokio::time::sleep(wait).await;
            eprintln!(
                "all {} nodes are linked to introducers after {:.1} s",
                running.len(),
                begun.elapsed().as_secs_f64()
            );
            return Ok(());
        }
        if begun.elapsed() > SETTLE {
            eprintln!("not linked to introducers after {} s: {missing:?}", SETTLE.as_secs());
            return Ok(());
        }
    }
}

fn print_seen(world: &World, running: &BTreeMap<String, Running>) {
    println!("\nwhat each node found out of itself");
    println!("{:<14} {:<12} {:<12} {:<34} after", "node", "mapping", "filtering", "reachable");
    for place in &world.places {
        running[&place.name].said(|said| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let reach = &said.nat["reachability"];
            let reachable = match reach["state"].as_str() {
                Some("open") => format!("{}, by {}", text(&reach["address"]), reach["confirmed_by"]),
                Some("closed") => format!("closed: open port {} (UDP)", reach["port"]),
                Some(other) => other.to_owned(),
                None => "-".to_owned(),
            };
            let mapping = if place.kind == Some(Kind::Ipv6Only) { "mapping_v6" } else { "mapping" };
            let after = said.reachable_ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1000.0));
            let (mapping, filtering) = (text(&said.nat[mapping]), text(&said.nat["filtering"]));
            println!("{:<14} {mapping:<12} {filtering:<12} {reachable:<34} {after}", place.name);
        });
    }
}

/// Each kind's first node opens a link to each kind's second node, so that every pair is two nodes that never met. In
/// rounds in which no node takes part twice.
async fn open_all(
    world: &World,
    running: &mut BTreeMap<String, Running>,
    kinds: &[Kind],
    patience: u64,
) -> Result<BTreeMap<(Kind, Kind), Outcome>, String> {
    let id = |name: &str| world.places.iter().find(|place| place.name == name).map(|place| place.id.clone());
    let mut outcomes = BTreeMap::new();
    for round in 0..kinds.len() {
        let pairs: Vec<(Kind, Kind)> =
            kinds.iter().enumerate().map(|(at, kind)| (*kind, kinds[(at + round) % kinds.len()])).collect();
        for (from, to) in &pairs {
            let target = id(&format!("{}-b", to.name())).ok_or("a node is missing")?;
            let node = running.get_mut(&format!("{}-a", from.name())).ok_or("a node is missing")?;
            let line = format!("open {target} {patience}\n");
            node.input.write_all(line.as_bytes()).await.map_err(|error| format!("a node is gone: {error}"))?;
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(patience + 2) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            for (from, to) in &pairs {
                let target = id(&format!("{}-b", to.name())).ok_or("a node is missing")?;
                let outcome = running[&format!("{}-a", from.name())].said(|said| said.outcomes.get(&target).cloned());
                if let Some(outcome) = outcome {
                    outcomes.insert((*from, *to), outcome);
                }
            }
            if pairs.iter().all(|pair| outcomes.contains_key(pair)) {
                break;
            }
        }
        eprintln!("round {} of {} after {:.1} s", round + 1, kinds.len(), begun.elapsed().as_secs_f64());
    }
    Ok(outcomes)
}

fn print_matrix(kinds: &[Kind], outcomes: &BTreeMap<(Kind, Kind), Outcome>) -> bool {
    println!("\nrow opens a link to column: how it goes, and seconds until it carries cells / until it goes directly");
    let cell = |outcome: Option<&Outcome>| match outcome {
        None => "no answer".to_owned(),
        Some(outcome) => {
            let seconds = |ms: Option<u64>| ms.map_or("-".to_owned(), |ms| format!("{:.2}", ms as f64 / 1000.0));
            let way = outcome.way.replace("punched:", "");
            format!("{way} {}/{}", seconds(outcome.up_ms), seconds(outcome.direct_ms))
        }
    };
    print!("{:<11}", "");
    kinds.iter().for_each(|kind| print!(" {:<23}", kind.name()));
    println!();
    for from in kinds {
        print!("{:<11}", from.name());
        kinds.iter().for_each(|to| print!(" {:<23}", cell(outcomes.get(&(*from, *to)))));
        println!();
    }
    let all = kinds.len() * kinds.len();
    let connected = outcomes.values().filter(|outcome| outcome.up_ms.is_some()).count();
    let direct = outcomes.values().filter(|outcome| outcome.is_direct()).count();
    println!("\n{connected} of {all} pairs connected, {direct} of them directly");
    let mut times: Vec<u64> = outcomes.values().filter_map(|outcome| outcome.up_ms).collect();
    times.sort_unstable();
    if let (Some(middle), Some(last)) = (times.get(times.len() / 2), times.last()) {
        println!("time to connect: median {middle} ms, longest {last} ms");
    }
    println!("\nshare of pairs, weighted by how often kinds are met (see tests/lab/src/weights.rs)");
    println!("{:<36} {:>8} {:>10}", "weights", "direct", "connected");
    for variant in &VARIANTS {
        let share = |counts: fn(&Outcome) -> bool| -> f64 {
            let pairs = kinds.iter().flat_map(|from| kinds.iter().map(move |to| (*from, *to)));
            let good = pairs.filter(|pair| outcomes.get(pair).is_some_and(counts));
            good.map(|(from, to)| variant.weight(from, kinds) * variant.weight(to, kinds)).sum::<f64>() * 100.0
        };
        let (direct, up) = (share(Outcome::is_direct), share(|outcome| outcome.up_ms.is_some()));
        println!("{:<36} {direct:>6.1} % {up:>8.1} %", variant.name);
    }
    connected == all
}

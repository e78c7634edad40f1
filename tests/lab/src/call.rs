//! What a call sends, between somebody whose network lets no UDP through and somebody behind a router: numbered messages
//! every 20 ms over circuits that meet, both ways.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use zmesh_overlay::{Fallback, Meet, MeetingSpec, Network, Node, RelayId};

use crate::kinds::Kind;
use crate::world::{Place, World};
use zmesh_netns::{connections_to_443, lose_one_in_a_hundred};

/// Messages each way, and the time between two: 20 s of a call.
const MESSAGES: u32 = 1000;
const EVERY: Duration = Duration::from_millis(20);
/// Bytes of a message: what a cell has room for.
const LEN: usize = 480;
/// How long a side may take to get its circuit, and the last message to come.
const PATIENCE: Duration = Duration::from_secs(40);
const LINGER: Duration = Duration::from_millis(1500);
/// When it is looked at what connections a call has.
const LOOK: Duration = Duration::from_secs(12);
/// Percent of the messages that may be lost.
const MOST_LOST: f64 = 2.0;

/// What one side is told.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Side {
    pub(crate) network: std::path::PathBuf,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) waits: bool,
    pub(crate) cookie: [u8; 16],
    pub(crate) meeting: [u8; 16],
}

pub(crate) async fn run(file: &Path) -> ExitCode {
    match talk(file).await {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{}", json!({ "failed": why }));
            ExitCode::FAILURE
        }
    }
}

async fn talk(file: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let side: Side = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let bytes = std::fs::read(&side.network).map_err(|error| error.to_string())?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let network = Network::decode(&bytes, unix).map_err(|error| error.to_string())?;
    let fallbacks: Result<Vec<Fallback>, _> = side.fallbacks.iter().map(|text| text.parse()).collect();
    let fallbacks = fallbacks.map_err(|error| error.to_string())?;
    let node = Node::builder().network(Arc::new(network)).traversal(true).fallbacks(fallbacks).spares(0);
    let node = node.start().await.map_err(|error| error.to_string())?;
    let begun = tokio::time::Instant::now();
    let relay = RelayId(side.meeting);
    let circuit = loop {
        let met = if side.waits {
            node.meet(Meet::wait(side.cookie), MeetingSpec::chosen(relay)).await
        } else {
            node.meet(Meet::join(side.cookie), MeetingSpec::given(relay).hops(3)).await
        };
        match met {
            Ok(circuit) => break circuit,
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.to_string()),
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    };
    tokio::time::timeout(PATIENCE, circuit.joined()).await.map_err(|_| "nobody came")?.map_err(|e| e.to_string())?;
    let joined = begun.elapsed();
    let circuit = Arc::new(circuit);
    let hearing = {
        let circuit = Arc::clone(&circuit);
        tokio::spawn(async move {
            let mut delays = BTreeMap::new();
            let end = tokio::time::Instant::now() + EVERY * MESSAGES + LINGER;
            while let Ok(Ok(message)) = tokio::time::timeout_at(end, circuit.recv()).await {
                let sent = message.first_chunk::<12>().map(|bytes| bytes.split_at(4));
                if let Some((Ok(number), Ok(at))) = sent.map(|(number, at)| (number.try_into(), at.try_into())) {
                    // Both sides run on one machine, by one clock.
                    let took = micros().saturating_sub(u64::from_be_bytes(at));
                    delays.entry(u32::from_be_bytes(number)).or_insert(took);
                }
            }
            delays.into_values().collect::<Vec<u64>>()
        })
    };
    let mut ticks = tokio::time::interval(EVERY);
    for number in 0..MESSAGES {
        ticks.tick().await;
        let mut message = [0; LEN];
        message[..4].copy_from_slice(&number.to_be_bytes());
        message[4..12].copy_from_slice(&micros().to_be_bytes());
        circuit.send(&message).map_err(|error| error.to_string())?;
    }
    let mut delays = hearing.await.map_err(|error| error.to_string())?;
    delays.sort_unstable();
    Ok(json!({ "delays_us": delays, "joined_ms": joined.as_millis() }))
}

fn micros() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What `percent` of these sorted delays do not exceed, in milliseconds.
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100);
    sorted.get(at.saturating_sub(1)).map_or(f64::NAN, |micros| *micros as f64 / 1000.0)
}

/// Calls where one side's UDP is blocked: over a network that loses nothing, and over one that does; before them one by UDP,
/// to compare. Whether all of them heard nearly everything.
pub(crate) async fn all(world: &World) -> Result<bool, String> {
    let place = |kind: Kind, at: usize| world.places.iter().filter(|place| place.kind == Some(kind)).nth(at);
    let (Some(blocked), Some(other), Some(third)) =
        (place(Kind::UdpBlocked, 0), place(Kind::PortRestricted, 0), place(Kind::PortRestricted, 1))
    else {
        return Ok(true);
    };
    println!("\n20 s of a call: {MESSAGES} cells each way, one each {} ms, over circuits that meet", EVERY.as_millis());
    println!("{:<44} {:>7} {:>9} {:>9} {:>9}  joined", "who hears", "lost", "median", "p99", "longest");
    let mut complete = between(world, third, other, "UDP").await?;
    complete &= between(world, blocked, other, "WebSocket").await?;
    lose_one_in_a_hundred(&format!("{}-router", blocked.namespace))?;
    // TCP repeats what is lost: it comes late, and not at all when too much waits behind it.
    complete &= between(world, blocked, other, "WebSocket, 1 % lost").await?;
    Ok(complete)
}

/// Has two such sides talk, and prints what each heard. Whether both heard nearly all.
async fn between(world: &World, joins: &Place, waits: &Place, by: &str) -> Result<bool, String> {
    let meeting = world.places.iter().find(|place| place.kind.is_none()).ok_or("no relay")?;
    let mut cookie = [0; 16];
    getrandom::fill(&mut cookie).map_err(|error| error.to_string())?;
    let side = |place: &Place| Side {
        network: world.relays_file(),
        fallbacks: if place.kind == Some(Kind::UdpBlocked) { world.fallbacks() } else { Vec::new() },
        waits: place.name == waits.name,
        cookie,
        meeting: meeting.relay_id().0,
    };
    let before = connections_to_443(&joins.namespace);
    let mut children = Vec::new();
    for place in [waits, joins] {
        let text = serde_json::to_string(&side(place)).map_err(|error| error.to_string())?;
        let mut command = world.call_command(place, &text)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        children.push((place, child.map_err(|error| error.to_string())?));
    }
    tokio::time::sleep(LOOK).await;
    let opened = connections_to_443(&joins.namespace).saturating_sub(before);
    let mut complete = (opened > 0) == (joins.kind == Some(Kind::UdpBlocked));
    for (place, mut child) in children {
        let output = child.stdout.take().ok_or("no pipe")?;
        let line = tokio::time::timeout(PATIENCE * 3, BufReader::new(output).lines().next_line()).await;
        let line = line.map_err(|_| "a side does not end")?.map_err(|error| error.to_string())?.unwrap_or_default();
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        let who =
            format!("{} from {} by {by}", place.name, if place.name == joins.name { &waits.name } else { &joins.name });
        if let Some(why) = value["failed"].as_str() {
            println!("{who:<44} {why}");
            complete = false;
            continue;
        }
        let delays: Vec<u64> = serde_json::from_value(value["delays_us"].clone()).unwrap_or_default();
        let lost = 100.0 * (1.0 - delays.len() as f64 / f64::from(MESSAGES));
        let (middle, p99, last) = (percentile(&delays, 50), percentile(&delays, 99), percentile(&delays, 100));
        println!("{who:<44} {lost:>5.1} % {middle:>6.1} ms {p99:>6.1} ms {last:>6.1} ms  {} ms", value["joined_ms"]);
        complete &= lost <= MOST_LOST;
    }
    println!("  ({} opened {opened} connections to port 443 for it)", joins.name);
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_came() {
        let delays: Vec<u64> = (1..=100).map(|ms| ms * 1000).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&delays, percent)), [50.0, 99.0, 100.0]);
        assert!(percentile(&[], 50).is_nan());
    }
}

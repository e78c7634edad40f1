//! What a call sends, between somebody whose network lets no UDP through and somebody behind a router: numbered messages
//! every 20 ms over circuits that meet, both ways.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use zmesh_overlay::{Fallback, Meet, MeetingSpec, Network, Node, RelayId};

use crate::kinds::Kind;
use crate::world::World;

/// Messages each way, and the time between two.
const MESSAGES: u32 = 500;
const EVERY: Duration = Duration::from_millis(20);
/// Bytes of a message: what a cell has room for.
const LEN: usize = 480;
/// How long a side may take to get its circuit, and the last message to come.
const PATIENCE: Duration = Duration::from_secs(40);
const LINGER: Duration = Duration::from_millis(1500);

/// What one side is told.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Side {
    pub(crate) network: std::path::PathBuf,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) waits: bool,
    pub(crate) cookie: [u8; 16],
    pub(crate) meeting: [u8; 16],
    /// Relays that its path leaves out.
    pub(crate) avoid: Vec<[u8; 16]>,
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
        let avoid = side.avoid.iter().map(|id| RelayId(*id));
        let met = if side.waits {
            node.meet(Meet::wait(side.cookie), MeetingSpec::chosen(relay).avoid(avoid)).await
        } else {
            node.meet(Meet::join(side.cookie), MeetingSpec::given(relay).hops(3).avoid(avoid)).await
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
            let mut heard = std::collections::BTreeSet::new();
            let end = tokio::time::Instant::now() + EVERY * MESSAGES + LINGER;
            while let Ok(Ok(message)) = tokio::time::timeout_at(end, circuit.recv()).await {
                heard.extend(message.first_chunk::<4>().map(|number| u32::from_be_bytes(*number)));
            }
            heard.len()
        })
    };
    let mut ticks = tokio::time::interval(EVERY);
    for number in 0..MESSAGES {
        ticks.tick().await;
        let mut message = [0; LEN];
        message[..4].copy_from_slice(&number.to_be_bytes());
        circuit.send(&message).map_err(|error| error.to_string())?;
    }
    let heard = hearing.await.map_err(|error| error.to_string())?;
    Ok(json!({ "heard": heard, "of": MESSAGES, "joined_ms": joined.as_millis() }))
}

/// Has two such sides talk, and prints what each heard. Whether both heard nearly all.
pub(crate) async fn between(world: &World) -> Result<bool, String> {
    let place = |kind: Kind| world.places.iter().find(|place| place.kind == Some(kind));
    let (Some(blocked), Some(other)) = (place(Kind::UdpBlocked), place(Kind::PortRestricted)) else {
        return Ok(true);
    };
    let meeting = world.places.iter().find(|place| place.kind.is_none()).ok_or("no relay")?;
    let mut cookie = [0; 16];
    getrandom::fill(&mut cookie).map_err(|error| error.to_string())?;
    let avoid: Vec<[u8; 16]> =
        world.places.iter().filter(|place| place.kind.is_some()).map(|place| place.relay_id().0).collect();
    let side = |waits: bool| Side {
        network: world.network_file(),
        fallbacks: if waits { Vec::new() } else { world.fallbacks() },
        waits,
        cookie,
        meeting: meeting.relay_id().0,
        avoid: avoid.clone(),
    };
    let mut words = Vec::new();
    let mut complete = true;
    let mut children = Vec::new();
    for (place, waits) in [(other, true), (blocked, false)] {
        let text = serde_json::to_string(&side(waits)).map_err(|error| error.to_string())?;
        let mut command = world.call_command(place, &text)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        children.push((place, child.map_err(|error| error.to_string())?));
    }
    for (place, mut child) in children {
        let output = child.stdout.take().ok_or("no pipe")?;
        let line = tokio::time::timeout(PATIENCE * 3, BufReader::new(output).lines().next_line()).await;
        let line = line.map_err(|_| "a side does not end")?.map_err(|error| error.to_string())?.unwrap_or_default();
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        let heard = value["heard"].as_u64().unwrap_or(0);
        complete &= heard * 100 >= u64::from(MESSAGES) * 98;
        words.push(match value["failed"].as_str() {
            Some(why) => format!("{}: {why}", place.name),
            None => format!("{} heard {heard} of {MESSAGES} (joined after {} ms)", place.name, value["joined_ms"]),
        });
    }
    println!("\na call's messages where one side's UDP is blocked: {}", words.join("; "));
    Ok(complete)
}

//! One node of the lab: a real relay, told by lines on its standard input what to do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use zmesh_overlay::{Fallback, Network, Relay, RelayHandle, RelayId, RelayKeys, WayKind, WebSocketServer};

/// How often the way of a link is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What a node of the lab is told at its start.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Setting {
    pub(crate) keys: String,
    pub(crate) network: std::path::PathBuf,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) meeting: bool,
    pub(crate) websocket: Option<SocketAddr>,
    pub(crate) fallbacks: Vec<String>,
    pub(crate) port_mapping: bool,
}

/// What became of a link.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Outcome {
    /// Milliseconds until it was up.
    pub(crate) up_ms: Option<u64>,
    /// Milliseconds until it went directly.
    pub(crate) direct_ms: Option<u64>,
    /// How it goes.
    pub(crate) way: String,
    /// Its round trip in milliseconds.
    pub(crate) rtt_ms: Option<f64>,
}

impl Outcome {
    pub(crate) fn is_direct(&self) -> bool {
        self.direct_ms.is_some() && self.way != "relayed" && self.way != "websocket"
    }
}

pub(crate) async fn run(file: &Path) -> ExitCode {
    let relay = match start(file).await {
        Ok(relay) => Arc::new(relay),
        Err(why) => {
            say(&json!({ "failed": why }));
            return ExitCode::FAILURE;
        }
    };
    say(&json!({ "ready": true }));
    let begun = Instant::now();
    let mut nat = relay.nat();
    let mut lines = lines();
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => obey(&relay, &line),
                None => break,
            },
            changed = nat.changed() => {
                if changed.is_err() {
                    break;
                }
                let report = nat.borrow_and_update().clone();
                say(&json!({ "nat": report, "after_ms": millis(begun.elapsed()) }));
            }
        }
    }
    relay.shutdown().await;
    ExitCode::SUCCESS
}

/// The lines of standard input, until it ends.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn start(file: &Path) -> Result<RelayHandle, String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let setting: Setting = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let keys = RelayKeys::from_text(setting.keys.as_bytes()).map_err(|error| error.to_string())?;
    let bytes = std::fs::read(&setting.network).map_err(|error| error.to_string())?;
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let network = Network::decode(&bytes, unix).map_err(|error| error.to_string())?;
    let fallbacks: Result<Vec<Fallback>, _> = setting.fallbacks.iter().map(|text| text.parse()).collect();
    let mut builder = Relay::builder()
        .keys(keys)
        .network(Arc::new(network))
        .meeting(setting.meeting)
        .replay_file(file.with_extension("replay"))
        .traversal(true)
        .port_mapping(setting.port_mapping)
        .fallbacks(fallbacks.map_err(|error| error.to_string())?);
    for address in &setting.listen {
        builder = builder.bind(*address);
    }
    if let Some(listen) = setting.websocket {
        builder = builder.websocket(WebSocketServer::new(listen));
    }
    builder.start().await.map_err(|error| error.to_string())
}

/// `open ID SECONDS`: opens a link and says how it went.
fn obey(relay: &Arc<RelayHandle>, line: &str) {
    let mut words = line.split_ascii_whitespace().skip(1);
    let id = words.next().and_then(parse);
    let patience = words.next().and_then(|seconds| seconds.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    let Some(id) = id else { return };
    let relay = Arc::clone(relay);
    tokio::spawn(async move {
        let outcome = open(&relay, id, patience).await;
        say(&json!({ "open": id.to_string(), "outcome": outcome }));
    });
}

async fn open(relay: &RelayHandle, id: RelayId, patience: Duration) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome { way: "none".into(), ..Outcome::default() };
    if let Err(error) = relay.open_link(id).await {
        outcome.way = error.to_string();
        return outcome;
    }
    while begun.elapsed() < patience {
        tokio::time::sleep(LOOK).await;
        let Some(way) = relay.way_to(id).await else {
            // Given up: begin again, as whoever needs the link would.
            let _ = relay.open_link(id).await;
            continue;
        };
        // A link that the peer opened before counts from here.
        let accepted = way.kind == WayKind::Accepted;
        let (up, direct) = (way.up_after.is_some() || accepted, way.direct_after.is_some() || accepted);
        if up && outcome.up_ms.is_none() {
            outcome.up_ms = Some(millis(begun.elapsed()));
        }
        if !up {
            continue;
        }
        outcome.way = name(way.kind);
        outcome.rtt_ms = way.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
        if direct && way.kind != WayKind::Relayed && way.kind != WayKind::Carried {
            outcome.direct_ms = Some(millis(begun.elapsed()));
            return outcome;
        }
    }
    outcome
}

fn name(kind: WayKind) -> String {
    match kind {
        WayKind::Advertised => "direct".into(),
        WayKind::Accepted => "accepted".into(),
        WayKind::Relayed => "relayed".into(),
        WayKind::Carried => "websocket".into(),
        other => {
            let value = serde_json::to_value(other).unwrap_or(Value::Null);
            let method = &value["punched"];
            let method = method["named"].as_str().or_else(|| method.as_str());
            method.map_or_else(|| value.to_string(), |method| format!("punched:{method}"))
        }
    }
}

fn parse(id: &str) -> Option<RelayId> {
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(id.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(RelayId(bytes))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn say(value: &Value) {
    println!("{value}");
}

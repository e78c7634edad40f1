//! Words while circuits are built and while they heal: a path that fails costs seconds, and nobody should wonder.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use zmesh_overlay::{DirectoryEvent, GuardReport, Node, NodeEvent};

use crate::term;

/// Circuits in a row that fail before a person is told: fewer are healed before anybody notices.
const FAILURES: u32 = 6;
/// How long it is then silent about it.
const AGAIN: Duration = Duration::from_secs(30);

/// Does `work` and says meanwhile which paths failed.
pub(super) async fn narrate<T>(node: &Node, work: impl Future<Output = T>) -> T {
    let mut events = node.events();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            Ok(event) = events.recv() => {
                if let NodeEvent::CircuitFailed { reason } = event {
                    term::progress(format_args!("a path failed ({reason}); trying another"));
                }
            }
        }
    }
}

/// Says what happens to the paths of sessions, in words or as JSON, for as long as it is polled.
pub(super) async fn follow(node: &Node, json: bool) {
    let mut events = node.events();
    let (mut failures, mut said) = (0_u32, None::<Instant>);
    loop {
        let (event, words) = match events.recv().await {
            Ok(NodeEvent::CircuitReady { .. }) => {
                failures = 0;
                continue;
            }
            Ok(NodeEvent::CircuitFailed { .. }) => {
                failures += 1;
                if failures < FAILURES || said.is_some_and(|said| said.elapsed() < AGAIN) {
                    continue;
                }
                said = Some(Instant::now());
                (
                    "unreachable",
                    format!(
                        "{failures} circuits in a row could not be built: see whether this machine is online; trying goes on"
                    ),
                )
            }
            Ok(NodeEvent::Standby { shared: 0 }) => ("standby", "a second path stands by".to_owned()),
            Ok(NodeEvent::Standby { shared }) => (
                "standby",
                format!(
                    "a second path stands by; it shares {shared} of its relays with the first: the network is small"
                ),
            ),
            Ok(NodeEvent::Moved) => {
                ("moved", "moved to another path: the one in use stopped answering or got worse".to_owned())
            }
            Ok(NodeEvent::Rebuilding) => ("rebuilding", "a path was lost; another one is being built".to_owned()),
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return std::future::pending().await,
        };
        if json {
            term::json(&json!({ "path_event": event, "words": words }));
        } else {
            term::progress(words);
        }
    }
}

/// Says what happens to the network's documents.
pub(crate) fn documents(event: &DirectoryEvent) {
    match event {
        DirectoryEvent::Entering { number: 1, .. } => {
            term::progress("asking an entry relay for the network's newest document")
        }
        DirectoryEvent::Entering { number, of } => term::progress(format_args!("asking entry relay {number} of {of}")),
        DirectoryEvent::EntryFailed { fault, .. } => {
            term::progress(format_args!("an entry relay did not let us in: {fault}"));
        }
        DirectoryEvent::Verifying => term::progress("verifying the document"),
        DirectoryEvent::Ready { epoch, relays, .. } => {
            term::progress(format_args!("the network has {relays} relays (document of epoch {epoch})"));
        }
        DirectoryEvent::RelayLied { lie, .. } => {
            term::warning(format_args!("a relay gave a false document, which was not believed: {lie}"));
        }
        DirectoryEvent::Warned(warning) => term::warning(warning),
        DirectoryEvent::Recovered => term::progress("the network's documents agree again"),
        DirectoryEvent::Storage { reason } => {
            term::warning(format_args!("the network's document cannot be kept for the next run: {reason}"));
        }
        _ => {}
    }
}

/// How the guards of this run do: circuits that came up through each, and those that failed at it or behind it.
pub(super) fn guards(node: &Node) -> Vec<Value> {
    let network = node.network();
    let guard = |report: &GuardReport| {
        let nickname = network.relay(&report.id).map(|relay| relay.nickname().to_owned());
        let tried = report.successes + report.failures;
        let rate = if tried == 0 { 0.0 } else { report.failures as f64 / tried as f64 };
        json!({ "relay": nickname, "circuits": report.successes, "failed": report.failures, "failure_rate": rate })
    };
    node.guard_reports().iter().map(guard).collect()
}

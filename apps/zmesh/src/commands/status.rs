//! `zmesh status`: what a running relay knows of itself.

use std::path::PathBuf;

use serde_json::Value;

use crate::config::RelayConfig;
use crate::failure::Outcome;
use crate::operation::exported::EVERY;
use crate::operation::status::ask;
use crate::term;
use crate::time::date;

/// Asks the relay that runs with this configuration, over a socket in its directory of state.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  zmesh status --config relay.toml")]
pub(crate) struct Args {
    /// The relay's configuration.
    #[arg(long, value_name = "FILE", default_value = "relay.toml")]
    config: PathBuf,
    /// Report as JSON, with all counters.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = RelayConfig::load(&args.config)?;
    let answer = ask(&config.state)?;
    if args.json {
        term::json(&answer);
        return Ok(());
    }
    for (what, value) in describe(&answer) {
        term::line(format_args!("{what:<11}{value}"));
    }
    Ok(())
}

/// The answer in words, a line each.
fn describe(answer: &Value) -> Vec<(&'static str, String)> {
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let text = |path: &str| answer.pointer(path).and_then(Value::as_str).unwrap_or("?").to_owned();
    let holds = |path: &str| answer.pointer(path).and_then(Value::as_bool).unwrap_or(false);
    let roles: Vec<&str> = [("/exit", "exit"), ("/meeting", "meetings"), ("/chunks", "chunks")]
        .into_iter()
        .filter(|(path, _)| holds(path))
        .map(|(_, word)| word)
        .collect();
    let roles = if roles.is_empty() { String::new() } else { format!(" ({})", roles.join(", ")) };
    let listed =
        if holds("/network/listed") { "this one among them" } else { "this one not among them: nobody uses it" };
    let month = match number("/month/limit_bytes") {
        0 => bytes(number("/month/sent_bytes")),
        limit => format!("{} of {}", bytes(number("/month/sent_bytes")), bytes(limit)),
    };
    let circuits = number("/metrics/circuits/open");
    let mut lines = vec![
        ("relay", format!("{}{roles}, zmesh {}", text("/nickname"), text("/version"))),
        ("up", span(number("/up_seconds"))),
        ("state", if holds("/draining") { "draining: takes no new circuits" } else { "takes circuits" }.into()),
        (
            "network",
            format!(
                "{}: {} relays, {listed}; until {}",
                text("/network/name"),
                number("/network/relays"),
                date(number("/network/valid_until"))
            ),
        ),
        ("traffic", format!("{circuits} circuits, {} links", number("/metrics/links_up"))),
        ("sent", format!("{} this month", month)),
        ("memory", bytes(number("/memory_bytes"))),
        ("as of", format!("{} s ago; figures are taken every {} s", number("/age_seconds"), EVERY.as_secs())),
    ];
    if answer.get("directory").is_some_and(|directory| !directory.is_null()) {
        lines.insert(4, ("directory", directory(answer)));
        if number("/directory/health/relays") > 0 {
            lines.insert(5, ("health", health(answer)));
        }
    }
    lines
}

/// What a member of a directory knows of it.
fn directory(answer: &Value) -> String {
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let document = match number("/directory/epoch") {
        0 => "no document yet".to_owned(),
        epoch => format!("document of epoch {epoch}"),
    };
    let votes = answer.pointer("/directory/votes").and_then(Value::as_bool).unwrap_or(false);
    let role = if votes { ", this relay votes" } else { "" };
    let (voters, peers, known) =
        (number("/directory/voters"), number("/directory/peers"), number("/directory/known_peers"));
    let alone = if peers == 0 { ": nobody to agree with, see contacts in the configuration" } else { "" };
    let liars = match number("/directory/convicted_voters") {
        0 => String::new(),
        1 => "; one voter was caught voting twice: ask its operator".to_owned(),
        count => format!("; {count} voters were caught voting twice: ask their operators"),
    };
    format!("{document}, {voters} voters{role}, {peers} peers of {known} known{alone}{liars}")
}

/// What the relays of the network say of themselves.
fn health(answer: &Value) -> String {
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let load = match number("/directory/health/typical_load") {
        1 => ", typically less than a quarter busy",
        2 => ", typically less than half busy",
        3 => ", typically less than three quarters busy",
        4 => ", typically more than three quarters busy",
        _ => "",
    };
    format!("about {} relays said within the last two epochs that they live{load}", number("/directory/health/relays"))
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_of_a_directory_tells_of_it() {
        let told = |directory: Value| directory_line(&json!({ "directory": directory }));
        let member = json!({ "epoch": 7, "voters": 4, "votes": true, "peers": 3, "known_peers": 9 });
        assert_eq!(told(member), "document of epoch 7, 4 voters, this relay votes, 3 peers of 9 known");
        let caught = told(json!({ "epoch": 7, "voters": 4, "peers": 3, "known_peers": 9, "convicted_voters": 2 }));
        assert!(caught.ends_with("known; 2 voters were caught voting twice: ask their operators"), "{caught}");
        let alone = told(json!({ "epoch": 0, "voters": 4, "votes": false, "peers": 0, "known_peers": 0 }));
        assert!(alone.starts_with("no document yet, 4 voters, 0 peers of 0 known: nobody to agree with"), "{alone}");
        assert!(describe(&json!({ "directory": null })).iter().all(|(what, _)| *what != "directory"));
    }

    #[test]
    fn what_the_network_says_of_itself_is_told_once_somebody_says_it() {
        let told = |health: Value| {
            let answer = json!({ "directory": { "epoch": 7, "health": health } });
            describe(&answer).into_iter().find(|(what, _)| *what == "health").map(|(_, words)| words)
        };
        assert_eq!(told(json!({ "relays": 0, "typical_load": null })), None);
        let quiet = told(json!({ "relays": 9, "typical_load": null })).expect("a line");
        assert_eq!(quiet, "about 9 relays said within the last two epochs that they live");
        let busy = told(json!({ "relays": 9, "typical_load": 2 })).expect("a line");
        assert_eq!(
            busy,
            "about 9 relays said within the last two epochs that they live, typically less than half busy"
        );
    }

    fn directory_line(answer: &Value) -> String {
        let mut lines = describe(answer).into_iter();
        lines.find(|(what, _)| *what == "directory").expect("a line").1
    }

    #[test]
    fn the_words_say_what_matters_to_an_operator() {
        let answer = json!({
            "nickname": "alice", "version": "0.1.0", "exit": false, "meeting": true, "chunks": true,
            "age_seconds": 7, "up_seconds": 93_600, "draining": true, "memory_bytes": 15_000_000,
            "network": { "name": "friends", "relays": 9, "listed": false, "valid_until": 0 },
            "month": { "sent_bytes": 5_000_000_000u64, "limit_bytes": 10_000_000_000u64 },
            "metrics": { "links_up": 3, "circuits": { "open": 7 } },
        });
        let lines: Vec<String> =
            describe(&answer).into_iter().map(|(what, value)| format!("{what}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "relay: alice (meetings, chunks), zmesh 0.1.0",
                "up: 1 d 2 h",
                "state: draining: takes no new circuits",
                "network: friends: 9 relays, this one not among them: nobody uses it; until 1970-01-01 00:00 UTC",
                "traffic: 7 circuits, 3 links",
                "sent: 5.00 GB of 10.00 GB this month",
                "memory: 15.0 MB",
                "as of: 7 s ago; figures are taken every 15 s",
            ]
        );
    }
}

//! What the demo found.

use std::path::PathBuf;

use serde_json::{Value, json};
use zmesh_voice::measure::MouthToEar;

use super::cost::Cost;
use super::download::Bulk;
use super::impair::Impaired;
use super::listen::Delay;
use crate::failure::{Failure, Outcome};
use crate::term;

/// One end of the call, as it reported.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    path: Vec<String>,
    build_ms: f64,
    frames_sent: u64,
    frames_played: u64,
    frames_concealed: u64,
    pub(super) first_input_unix_micros: u64,
    pub(super) first_output_unix_micros: u64,
    report: Value,
}

impl Call {
    pub(super) fn read(value: &Value) -> Call {
        let report = value["report"].clone();
        let number = |key: &str| report[key].as_u64().unwrap_or_default();
        Call {
            path: names(&value["path"]),
            build_ms: value["build_ms"].as_f64().unwrap_or_default(),
            frames_sent: number("frames_sent"),
            frames_played: number("frames_played"),
            frames_concealed: number("frames_concealed"),
            first_input_unix_micros: number("first_input_unix_micros"),
            first_output_unix_micros: number("first_output_unix_micros"),
            report,
        }
    }

    /// Share of what was heard that was made up.
    fn concealed_share(&self) -> f64 {
        self.frames_concealed as f64 / (self.frames_played + self.frames_concealed).max(1) as f64
    }
}

/// What was measured while everything ran.
#[derive(Debug)]
pub(crate) struct Performance {
    pub(super) hops: u8,
    pub(super) output: PathBuf,
    pub(super) recordings: Vec<PathBuf>,
    pub(super) caller: Call,
    pub(super) answerer: Call,
    pub(super) to_answerer: Delay,
    pub(super) to_caller: Delay,
    pub(super) proxy_circuits: Value,
    pub(super) bulk: Bulk,
    /// Of the caller's process and the answerer's.
    pub(super) costs: Vec<Cost>,
    pub(super) impaired: Option<Impaired>,
    pub(super) memory: Vec<Value>,
}

impl Performance {
    /// With the counters that the relays gave when they stopped.
    pub(crate) fn finish(self, relays: Vec<Value>) -> Report {
        let relays = self
            .memory
            .iter()
            .map(|running| {
                let id = &running["id"];
                let stopped = relays.iter().find(|relay| relay["id"] == *id);
                json!({
                    "nickname": running["nickname"],
                    "exit": running["exit"],
                    "memory_bytes": running["memory_bytes"],
                    "cells_forwarded": stopped.map(|relay| relay["metrics"]["cells_forwarded"].clone()),
                    "metrics": stopped.map(|relay| relay["metrics"].clone()),
                })
            })
            .collect();
        Report { performance: self, relays }
    }
}

/// Everything that the demo says.
pub(crate) struct Report {
    performance: Performance,
    relays: Vec<Value>,
}

impl Report {
    /// For machines.
    pub(crate) fn json(&self) -> Value {
        let p = &self.performance;
        let circuits: Vec<Value> = self
            .circuits()
            .into_iter()
            .map(|(whose, path, build_ms)| json!({ "of": whose, "path": path, "build_ms": build_ms }))
            .collect();
        json!({
            "hops": p.hops,
            "circuits": circuits,
            "call": {
                "caller_to_answerer": direction(&p.caller, &p.answerer, &p.to_answerer),
                "answerer_to_caller": direction(&p.answerer, &p.caller, &p.to_caller),
                "caller": p.caller.report,
                "answerer": p.answerer.report,
                "cost": {
                    "caller": p.costs.first().map(Cost::json),
                    "answerer": p.costs.get(1).map(Cost::json),
                },
            },
            "impaired": p.impaired.as_ref().map(Impaired::json),
            "bulk": p.bulk.json(),
            "relays": self.relays,
            "recordings": p.recordings,
        })
    }

    /// For people.
    pub(crate) fn print(&self) {
        let p = &self.performance;
        term::line("\nCircuits");
        let mut rows = vec![row(["OF", "BUILT IN", "PATH"])];
        for (whose, path, build_ms) in self.circuits() {
            rows.push(row([whose, &format!("{build_ms:.1} ms"), &path.join(" → ")]));
        }
        term::table(&rows);

        self.print_call();
        if let Some(impaired) = &p.impaired {
            let (name, rows) = impaired.table();
            term::line(format_args!("\nBad network: {name}"));
            term::table(&rows);
        }
        term::line(format_args!("\n{}", download_line(&p.bulk)));

        term::line("\nRelays");
        let mut rows = vec![row(["NICKNAME", "MEMORY", "CELLS FORWARDED"])];
        for relay in &self.relays {
            let memory = relay["memory_bytes"].as_f64().map_or("-".to_owned(), |b| format!("{:.1} MB", b / 1e6));
            let cells = relay["cells_forwarded"].as_u64().map_or("-".to_owned(), |cells| cells.to_string());
            rows.push(row([relay["nickname"].as_str().unwrap_or("-"), &memory, &cells]));
        }
        term::table(&rows);

        term::line(format_args!("\nListen to it; logs are in {}", p.output.display()));
        for recording in &p.recordings {
            term::line(format_args!("  {}", recording.display()));
        }
    }

    fn print_call(&self) {
        let p = &self.performance;
        term::line("\nCall (20 ms a frame; mouth to ear measured on the recordings)");
        let mut rows = vec![row([
            "DIRECTION",
            "SENT",
            "PLAYED",
            "CONCEALED",
            "SHARE",
            "P50",
            "P99",
            "P50, LONGEST BESIDE DOWNLOAD",
        ])];
        for (name, from, to, delay) in [
            ("caller → answerer", &p.caller, &p.answerer, &p.to_answerer),
            ("answerer → caller", &p.answerer, &p.caller, &p.to_caller),
        ] {
            let beside = delay
                .beside_download
                .map_or("-".to_owned(), |delay| format!("{:.1} ms, {:.1} ms", delay.p50_ms, delay.max_ms));
            rows.push(row([
                name,
                &from.frames_sent.to_string(),
                &to.frames_played.to_string(),
                &to.frames_concealed.to_string(),
                &format!("{:.2} %", to.concealed_share() * 100.0),
                &millis(delay.whole, |delay| delay.p50_ms),
                &millis(delay.whole, |delay| delay.p99_ms),
                &beside,
            ]));
        }
        term::table(&rows);
        if let [caller, answerer] = &p.costs[..] {
            term::line(format_args!(
                "Cost of the call at each end, before the download: caller {} of one core and {}, answerer {} and {}",
                caller.core(),
                caller.memory(),
                answerer.core(),
                answerer.memory(),
            ));
        }
    }

    /// Whether it all worked.
    pub(crate) fn verdict(&self) -> Outcome {
        let p = &self.performance;
        for (direction, delay) in [("caller to answerer", &p.to_answerer), ("answerer to caller", &p.to_caller)] {
            if delay.whole.is_none() {
                return Err(Failure::failed(
                    "the call was not heard",
                    format_args!("nothing of what was said was found again from {direction}"),
                    format_args!("listen to the recordings in {}", p.output.display()),
                ));
            }
        }
        Ok(())
    }

    fn circuits(&self) -> Vec<(&str, Vec<String>, f64)> {
        let p = &self.performance;
        let mut circuits = vec![
            ("the caller", p.caller.path.clone(), p.caller.build_ms),
            ("the answerer", p.answerer.path.clone(), p.answerer.build_ms),
        ];
        for circuit in p.proxy_circuits.as_array().into_iter().flatten() {
            circuits.push(("the proxy", names(&circuit["path"]), circuit["build_ms"].as_f64().unwrap_or_default()));
        }
        circuits
    }
}

fn direction(from: &Call, to: &Call, delay: &Delay) -> Value {
    json!({
        "frames_sent": from.frames_sent,
        "frames_played": to.frames_played,
        "frames_concealed": to.frames_concealed,
        "concealed_share": to.concealed_share(),
        "mouth_to_ear": delay.json(),
    })
}

fn download_line(bulk: &Bulk) -> String {
    let first = bulk
        .first_byte
        .map_or(String::new(), |took| format!(", first byte after {:.1} ms", took.as_secs_f64() * 1_000.0));
    let figures = format!("in {:.1} s = {:.2} MB/s{first}", bulk.took.as_secs_f64(), bulk.rate());
    if bulk.is_whole() {
        return format!("Download: {} MB {figures}, SHA-256 matches", bulk.of / 1_000_000);
    }
    let why = bulk.broke.as_deref().unwrap_or("the call was over");
    format!("Download: {:.1} of {} MB {figures}, then {why}", bulk.bytes as f64 / 1e6, bulk.of / 1_000_000)
}

fn names(path: &Value) -> Vec<String> {
    path.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn millis(delay: Option<MouthToEar>, pick: impl Fn(&MouthToEar) -> f64) -> String {
    delay.map_or("-".to_owned(), |delay| format!("{:.1} ms", pick(&delay)))
}

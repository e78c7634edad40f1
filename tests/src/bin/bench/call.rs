//! What a real 3-hop call costs each side, and how long sound takes: from the program's own demo, both ends processes of their own.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use zmesh_tests::peers::zmesh;
use zmesh_tests::table::{Row, Target, Unit};

/// Runs the demo and gives the rows.
pub(crate) fn rows(quick: bool, program: Option<&Path>) -> Vec<Row> {
    match report(quick, program) {
        Ok(report) => read(&report),
        Err(why) => vec![Row::new("3-hop call", "", Unit::Percent, Target::None).note(why)],
    }
}

fn report(quick: bool, program: Option<&Path>) -> Result<Value, String> {
    let program = program.map_or_else(zmesh::program, |path| Ok(path.to_owned())).map_err(|error| error.to_string())?;
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = directory.path().join("demo");
    eprintln!("a call over 3 hops of each side …");
    let ran = Command::new(program)
        .args(["demo", "--hops", "3", "--json", "--seconds", if quick { "12" } else { "60" }, "--output"])
        .arg(&output)
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !ran.status.success() {
        return Err("zmesh demo failed: run it by hand".to_owned());
    }
    serde_json::from_slice(&ran.stdout).map_err(|error| error.to_string())
}

fn read(report: &Value) -> Vec<Row> {
    let call = &report["call"];
    let seconds = call["cost"]["caller"]["over_seconds"].as_f64().unwrap_or_default();
    let mut rows = Vec::new();
    for end in ["caller", "answerer"] {
        let cost = &call["cost"][end];
        let share = cost["core_share"].as_f64().map(|share| share * 100.0);
        rows.push(
            Row::new(format!("3-hop call, {end}: one core"), "", Unit::Percent, Target::AtMost(5.0))
                .figures(None, share)
                .note(format!("user and system time of the process over {seconds:.0} s, nothing else on the network")),
        );
        let memory = cost["memory_bytes"].as_f64().map(|bytes| bytes / 1e6);
        rows.push(
            Row::new(format!("3-hop call, {end}: memory"), "", Unit::Megabytes, Target::AtMost(50.0))
                .figures(None, memory)
                .note("resident set at the end of that time"),
        );
    }
    for direction in ["caller_to_answerer", "answerer_to_caller"] {
        let delay = &call[direction]["mouth_to_ear"]["whole_call"];
        let name = direction.replace("_to_", " to ");
        for (key, what, target) in [("p50_ms", "p50", 60.0), ("p99_ms", "p99", 80.0)] {
            let row = Row::new(format!("mouth to ear, {name}, {what}"), "", Unit::Milliseconds, Target::AtMost(target));
            rows.push(row.figures(None, delay[key].as_f64()));
        }
    }
    rows
}

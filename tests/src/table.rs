//! The table that `make bench` prints: a peer's figure beside ours from the same run, and whether the target is met.

use std::fmt;

use serde::Serialize;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds; smaller is better.
    Nanoseconds,
    /// Microseconds; smaller is better.
    Microseconds,
    /// Milliseconds; smaller is better.
    Milliseconds,
    /// Millions of bytes a second; larger is better.
    MegabytesPerSecond,
    /// Millions of bytes; smaller is better.
    Megabytes,
    /// Per cent; smaller is better.
    Percent,
    /// A count; smaller is better.
    Count,
}

impl Unit {
    const fn sign(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::Milliseconds => "ms",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Megabytes => "MB",
            Unit::Percent => "%",
            Unit::Count => "",
        }
    }
}

/// What ours should reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At most this multiple of the peer's figure.
    AtMostTimesPeer(f64),
    /// At least this multiple of the peer's figure.
    AtLeastTimesPeer(f64),
    /// At most this, in the row's unit.
    AtMost(f64),
    /// Nothing to reach: the row informs.
    None,
}

impl Target {
    /// Whether `ours` reaches it; nothing when a figure is missing or nothing has to be reached.
    #[must_use]
    pub fn met(self, peer: Option<f64>, ours: Option<f64>) -> Option<bool> {
        let ours = ours?;
        match self {
            Target::AtMostTimesPeer(times) => Some(ours <= times * peer?),
            Target::AtLeastTimesPeer(times) => Some(ours >= times * peer?),
            Target::AtMost(limit) => Some(ours <= limit),
            Target::None => None,
        }
    }

    fn describe(self, unit: Unit) -> String {
        match self {
            Target::AtMostTimesPeer(times) => format!("≤ {times} ×"),
            Target::AtLeastTimesPeer(times) => format!("≥ {times} ×"),
            Target::AtMost(limit) => format!("≤ {}", figure(limit, unit)),
            Target::None => String::new(),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What is measured.
    pub what: String,
    /// Against whom.
    pub peer: String,
    /// The unit of both figures.
    pub unit: Unit,
    /// The peer's figure, where there is one.
    pub peer_figure: Option<f64>,
    /// Our figure, where there is one.
    pub our_figure: Option<f64>,
    /// What ours should reach.
    pub target: Target,
    /// Why a figure is missing, or what else a reader should know.
    pub note: String,
}

impl Row {
    /// A row without figures yet.
    #[must_use]
    pub fn new(what: impl Into<String>, peer: impl Into<String>, unit: Unit, target: Target) -> Row {
        Row {
            what: what.into(),
            peer: peer.into(),
            unit,
            peer_figure: None,
            our_figure: None,
            target,
            note: String::new(),
        }
    }

    /// The same row with these figures.
    #[must_use]
    pub fn figures(mut self, peer: Option<f64>, ours: Option<f64>) -> Row {
        self.peer_figure = peer;
        self.our_figure = ours;
        self
    }

    /// The same row with a further remark; an empty one changes nothing.
    #[must_use]
    pub fn note(mut self, note: impl AsRef<str>) -> Row {
        let note = note.as_ref();
        if !note.is_empty() {
            if !self.note.is_empty() {
                self.note.push_str("; ");
            }
            self.note.push_str(note);
        }
        self
    }

    /// Ours divided by the peer's.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.peer_figure.filter(|peer| *peer > 0.0).and_then(|peer| Some(self.our_figure? / peer))
    }

    /// Whether the target is met; nothing when that cannot be said.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        self.target.met(self.peer_figure, self.our_figure)
    }
}

/// The whole table.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// Its lines, in order.
    pub rows: Vec<Row>,
}

impl Table {
    /// The table as JSON, with ratio and verdict worked out.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let rows: Vec<serde_json::Value> = self
            .rows
            .iter()
            .map(|row| {
                let mut value = serde_json::json!(row);
                value["ratio"] = serde_json::json!(row.ratio());
                value["met"] = serde_json::json!(row.met());
                value
            })
            .collect();
        serde_json::json!({ "rows": rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEAD: [&str; 7] = ["what", "peer", "peer's figure", "ours", "ratio", "target", "met"];
        let mut lines: Vec<[String; 7]> = vec![HEAD.map(str::to_owned)];
        for row in &self.rows {
            let cell = |value: Option<f64>| value.map_or("–".to_owned(), |v| figure(v, row.unit));
            let met = match row.met() {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "",
            };
            lines.push([
                row.what.clone(),
                row.peer.clone(),
                cell(row.peer_figure),
                cell(row.our_figure),
                row.ratio().map_or(String::new(), |r| format!("{r:.2}")),
                row.target.describe(row.unit),
                met.to_owned(),
            ]);
        }
        let width = |column: usize| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 7] = std::array::from_fn(width);
        for (number, cells) in lines.iter().enumerate() {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "| {} |", padded.join(" | "))?;
            if number == 0 {
                let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "|-{}-|", rules.join("-|-"))?;
            }
        }
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            writeln!(f, "  {}: {}", row.what, row.note)?;
        }
        Ok(())
    }
}

/// A figure with three significant digits and its unit.
fn figure(value: f64, unit: Unit) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", unit.sign()).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_stays_and_says_so() {
        let table = Table {
            rows: vec![
                Row::new("bulk", "tor", Unit::MegabytesPerSecond, Target::AtLeastTimesPeer(5.0))
                    .figures(Some(10.0), Some(20.0)),
                Row::new("echo", "tor", Unit::Milliseconds, Target::AtMostTimesPeer(1.0))
                    .figures(None, Some(1.0))
                    .note("tor is not installed"),
            ],
        };
        let text = table.to_string();
        assert!(text.contains("| NO "), "{text}");
        assert!(text.contains("tor is not installed"), "{text}");
        assert_eq!(table.rows[0].ratio(), Some(2.0));
        assert_eq!(table.rows[1].met(), None);
        assert_eq!(table.to_json()["rows"][0]["met"], serde_json::json!(false));
    }

    #[test]
    fn targets() {
        assert_eq!(Target::AtMost(30.0).met(None, Some(29.0)), Some(true));
        assert_eq!(Target::AtMostTimesPeer(0.5).met(Some(4.0), Some(3.0)), Some(false));
        assert_eq!(Target::None.met(Some(1.0), Some(1.0)), None);
    }
}

//! What one measured call comes to, as one row of the table and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};
use zmesh_voice::call::CallStats;
use zmesh_voice::measure::MouthToEar;

use super::emodel;
use super::run::{Outcome, Side, tape_delay};
use super::score::Score;
use super::speech::Speech;

/// The setting of a row that shows the shipped setting over the same profile without its loss.
pub const WITHOUT_LOSS: &str = "without loss";

/// What one person heard of the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Heard {
    /// Frames of 20 ms that the other side sent, as far as heard of.
    pub expected: u64,
    /// Frames played, those brought back from later messages included.
    pub played: u64,
    /// Frames brought back from later messages.
    pub recovered: u64,
    /// Frames brought back from a description of the sound (DRED).
    pub described: u64,
    /// Frames that came after their turn.
    pub late: u64,
    /// Steps of 20 ms that were made up.
    pub concealed: u64,
    /// The share of what was heard that was made up, 0 to 1; unknown of programs that do not tell.
    pub concealed_share: Option<f64>,
    /// Share of messages that the circuit did not deliver, 0 to 1; unknown of programs that do not tell.
    pub message_loss: Option<f64>,
    /// Mouth to ear, found in the sound.
    pub mouth_to_ear: Option<MouthToEar>,
    /// R of the E-model for the median delay and the share made up.
    pub rating: Option<f64>,
    /// What the scorers say, one for each cycle of the speech; empty if they did not run.
    pub scores: Vec<Score>,
}

impl Heard {
    /// What `listener` heard of `talker`.
    #[must_use]
    pub fn new(talker: &Side, listener: &Side, speech: &Speech) -> Heard {
        let mouth_to_ear = tape_delay(&talker.tape, &listener.tape, speech, None);
        let frames = listener.stats.frames;
        let concealed_share = concealed_share(&listener.stats);
        Heard {
            expected: listener.stats.frames_expected,
            played: frames.played,
            recovered: frames.recovered,
            described: frames.described,
            late: frames.late,
            concealed: frames.concealed,
            concealed_share: Some(concealed_share),
            message_loss: Some(listener.stats.loss),
            rating: mouth_to_ear.map(|found| emodel::rating(found.p50_ms, concealed_share)),
            mouth_to_ear,
            scores: Vec::new(),
        }
    }
}

impl Heard {
    /// What was heard from a program that tells nothing about itself: only what the sound shows.
    #[must_use]
    pub fn untold(mouth_to_ear: Option<MouthToEar>) -> Heard {
        Heard {
            expected: 0,
            played: 0,
            recovered: 0,
            described: 0,
            late: 0,
            concealed: 0,
            concealed_share: None,
            message_loss: None,
            mouth_to_ear,
            rating: None,
            scores: Vec::new(),
        }
    }
}

/// The share of what was heard that was made up, 0 to 1.
#[must_use]
pub fn concealed_share(stats: &CallStats) -> f64 {
    let heard = stats.frames.played + stats.frames.concealed;
    if heard == 0 { 0.0 } else { stats.frames.concealed as f64 / heard as f64 }
}

/// One call: one line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The profile on the access links.
    pub profile: String,
    /// What protected the call: the name of a setting or of a peer, or [`WITHOUT_LOSS`].
    pub setting: String,
    /// The seed of the run.
    pub seed: u64,
    /// How long both talked, s.
    pub seconds: f64,
    /// What the answerer heard, then what the caller heard.
    pub heard: [Heard; 2],
    /// 99th percentile of mouth-to-ear beyond that of the same call over the same profile without loss, ms: [`QualityTable::new`] finds it.
    pub added_p99_ms: Option<f64>,
    /// What the caller's access link carried up and down, kbit/s, IPv4 and UDP headers included; not measured for peers.
    pub kbit_s: Option<[f64; 2]>,
    /// Whether the call was over before its time.
    pub ended_early: bool,
}

impl Row {
    /// The row of a call.
    #[must_use]
    pub fn new(profile: &str, setting: &str, seed: u64, seconds: f64, outcome: &Outcome, speech: &Speech) -> Row {
        let (caller, answerer) = (&outcome.caller, &outcome.answerer);
        Row {
            profile: profile.to_owned(),
            setting: setting.to_owned(),
            seed,
            seconds,
            heard: [Heard::new(caller, answerer, speech), Heard::new(answerer, caller, speech)],
            added_p99_ms: None,
            kbit_s: Some([caller.up, caller.down].map(|bytes| bytes * 8.0 / 1_000.0)),
            ended_early: caller.ended.is_some() || answerer.ended.is_some(),
        }
    }

    /// Both directions together: the share of what was heard that was made up.
    #[must_use]
    pub fn concealed_share(&self) -> Option<f64> {
        let sum = |count: fn(&Heard) -> u64| self.heard.iter().map(count).sum::<u64>();
        let heard = sum(|heard| heard.played + heard.concealed);
        (heard > 0).then(|| sum(|heard| heard.concealed) as f64 / heard as f64)
    }

    /// The worse direction's 99th percentile of mouth-to-ear, ms.
    #[must_use]
    pub fn p99_ms(&self) -> Option<f64> {
        self.heard.iter().filter_map(|heard| Some(heard.mouth_to_ear?.p99_ms)).reduce(f64::max)
    }

    /// The mean of both directions' medians of mouth-to-ear, ms.
    #[must_use]
    pub fn p50_ms(&self) -> Option<f64> {
        mean(self.heard.iter().filter_map(|heard| Some(heard.mouth_to_ear?.p50_ms)))
    }

    fn mean_score(&self, of: fn(&Score) -> Option<f64>) -> Option<f64> {
        mean(self.heard.iter().flat_map(|heard| heard.scores.iter().filter_map(of)))
    }

    /// In one line: what matters most.
    #[must_use]
    pub fn summary(&self) -> String {
        let part = |before: &str, value: Option<f64>, digits: usize, after: &str| {
            value.map_or(String::new(), |value| format!(", {before}{value:.digits$}{after}"))
        };
        let made_up = self.concealed_share().map(|share| share * 100.0);
        let figures = [
            part("PESQ ", self.mean_score(|score| Some(score.pesq)), 2, ""),
            part("", made_up, 2, " % made up"),
            part("mouth to ear ", self.p50_ms(), 0, " ms"),
            part("p99 ", self.p99_ms(), 0, " ms"),
        ];
        format!("{}, {}{}", self.profile, self.setting, figures.concat())
    }

    fn lowest_pesq(&self) -> Option<f64> {
        self.heard.iter().flat_map(|heard| heard.scores.iter().map(|score| score.pesq)).reduce(f64::min)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Every row, with a heading; in Markdown, so that it can stand in a document as it is.
#[derive(Debug, Default, Serialize)]
pub struct QualityTable {
    /// The rows in the order of the runs.
    pub rows: Vec<Row>,
}

/// The heading of the table.
const HEADING: [&str; 12] = [
    "profile",
    "setting",
    "PESQ",
    "lowest",
    "ViSQOL",
    "made up",
    "lost on the way",
    "p50 ms",
    "p99 ms",
    "added p99",
    "R",
    "kbit/s up, down",
];

impl QualityTable {
    /// A table of these rows, with what loss adds to the delay where a row tells the delay without it.
    #[must_use]
    pub fn new(mut rows: Vec<Row>) -> QualityTable {
        let quiet: Vec<(String, Option<f64>)> = rows
            .iter()
            .filter(|row| row.setting == WITHOUT_LOSS)
            .map(|row| (row.profile.clone(), row.p99_ms()))
            .collect();
        for row in rows.iter_mut().filter(|row| row.setting != WITHOUT_LOSS && row.kbit_s.is_some()) {
            let without = quiet.iter().find(|(profile, _)| *profile == row.profile).and_then(|(_, p99)| *p99);
            row.added_p99_ms = row.p99_ms().zip(without).map(|(here, without)| here - without);
        }
        QualityTable { rows }
    }

    fn cells(row: &Row) -> [String; 12] {
        let number =
            |value: Option<f64>, digits: usize| value.map_or("–".to_owned(), |value| format!("{value:.digits$}"));
        let share = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{:.2} %", value * 100.0));
        let lost = mean(row.heard.iter().filter_map(|heard| heard.message_loss));
        let rating = mean(row.heard.iter().filter_map(|heard| heard.rating));
        [
            row.profile.clone(),
            if row.ended_early { format!("{} (ended early)", row.setting) } else { row.setting.clone() },
            number(row.mean_score(|score| Some(score.pesq)), 2),
            number(row.lowest_pesq(), 2),
            number(row.mean_score(|score| score.visqol), 2),
            share(row.concealed_share()),
            share(lost),
            number(row.p50_ms(), 0),
            number(row.p99_ms(), 0),
            row.added_p99_ms.map_or("–".to_owned(), |added| format!("{added:+.0}")),
            number(rating, 1),
            row.kbit_s.map_or("–".to_owned(), |[up, down]| format!("{up:.0}, {down:.0}")),
        ]
    }
}

impl fmt::Display for QualityTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<[String; 12]> =
            std::iter::once(HEADING.map(str::to_owned)).chain(self.rows.iter().map(QualityTable::cells)).collect();
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        for (number, line) in lines.iter().enumerate() {
            for (column, cell) in line.iter().enumerate() {
                let padding = width(column) - cell.chars().count();
                write!(f, "| {cell}{} ", " ".repeat(padding))?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                (0..HEADING.len()).try_for_each(|column| write!(f, "|{}", "-".repeat(width(column) + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// The figures of one end after so many minutes, as one line that is the same for the same seed.
#[must_use]
pub fn minute_line(minute: u64, end: &str, stats: &CallStats) -> String {
    let frames = stats.frames;
    format!(
        "minute {minute}, {end}: {} messages of {} came, {} frames played, {} from later messages, {} from DRED, {} made up, {} late, {} lost; \
         held back {:?}, target {:?}, round trip {:?}",
        stats.messages_received,
        stats.frames_expected,
        frames.played,
        frames.recovered,
        frames.described,
        frames.concealed,
        frames.late,
        frames.lost,
        stats.held_back,
        stats.target,
        stats.round_trip,
    )
}

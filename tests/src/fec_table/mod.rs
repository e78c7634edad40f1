//! Link repair beside its peers, over the emulator's profiles: ours, Reed–Solomon blocks, RaptorQ blocks, nothing, and what no code could beat.
//!
//! All contenders meet the same delays, and the losses of the same seed in the order in which they send. `specs/fec.md` explains the columns.

mod blocks;
mod bound;
mod path;
mod primitives;
mod stats;
mod tetrys;

use std::fmt;

use serde::Serialize;
use zmesh_netem::{Profile, Timeline};

use crate::table::{Row, Target, Unit};
use blocks::{Code, Ideal, RaptorQ, ReedSolomon, Shape};
use path::{Delays, Link, MILLISECOND};
use stats::{DEADLINES, Figures, Run};
use tetrys::Redundancy;

pub use primitives::rows as primitives;

/// A call sends a cell so often.
const SLOT: u64 = 20 * MILLISECOND;

/// Cells before the first that counts: adaptation has begun by then.
const SKIP_TIME: u64 = 10_000 * MILLISECOND;

/// One contender in one scenario.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Profile, calls and links.
    pub scenario: String,
    /// Who repairs.
    pub code: String,
    /// Repairs for each cell.
    pub overhead: f64,
    /// Per cent of cells not there 20, 40 and 60 ms after they were due.
    pub residual: [f64; 3],
    /// Delay added in the median, ms; nothing when the cell is lost. Nothing for the bound, too.
    pub p50: Option<f64>,
    /// The same at the 99th percentile.
    pub p99: Option<f64>,
    /// Nanoseconds in the code for each cell, both sides; nothing for the bound.
    pub cpu: Option<f64>,
}

impl Line {
    fn new(scenario: &str, code: impl Into<String>, figures: Figures) -> Line {
        let known = |value: f64| value.is_finite().then_some(value);
        Line {
            scenario: scenario.into(),
            code: code.into(),
            overhead: figures.overhead,
            residual: figures.residual.map(|share| 100.0 * share),
            p50: known(figures.p50),
            p99: known(figures.p99),
            cpu: Some(figures.cpu),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    profile: &'static str,
    calls: u64,
    links: u64,
    /// Redundancies at which all codes are compared.
    fixed: &'static [f64],
}

const SCENARIOS: &[Scenario] = &[
    Scenario { profile: "clean", calls: 1, links: 1, fixed: &[] },
    Scenario { profile: "wifi", calls: 1, links: 1, fixed: &[1.0, 2.0] },
    Scenario { profile: "mobile", calls: 1, links: 1, fixed: &[1.0, 2.0, 4.0] },
    Scenario { profile: "international", calls: 1, links: 1, fixed: &[1.0, 2.0] },
    Scenario { profile: "wifi", calls: 1, links: 3, fixed: &[2.0] },
    Scenario { profile: "mobile", calls: 1, links: 3, fixed: &[2.0] },
    Scenario { profile: "wifi", calls: 10, links: 1, fixed: &[0.5] },
    Scenario { profile: "mobile", calls: 10, links: 1, fixed: &[0.5, 1.0] },
];

/// A scenario made ready: the same for every contender.
struct Stage {
    timeline: Timeline,
    delays: Vec<Delays>,
    /// When each cell comes to the first link, and when it would leave the last without loss.
    cells: Vec<u64>,
    due: Vec<u64>,
    interval: u64,
    skip: usize,
}

impl Stage {
    fn new(scenario: &Scenario, minutes: u64) -> Option<Stage> {
        let timeline = Profile::builtin(scenario.profile)?.caller.up;
        let length = minutes * 60_000 * MILLISECOND;
        let interval = SLOT / scenario.calls;
        let delays: Vec<Delays> =
            (0..scenario.links).map(|link| Delays::new(&timeline, 100 + link, length + SKIP_TIME)).collect();
        let cells: Vec<u64> = (0..length / interval).map(|cell| cell * interval).collect();
        let due = cells.iter().map(|at| delays.iter().fold(*at, |at, delays| delays.arrival(at))).collect();
        let skip = usize::try_from(SKIP_TIME / interval).ok()?;
        Some(Stage { timeline, delays, cells, due, interval, skip })
    }

    /// Runs a contender over all links, each of which repairs by itself. Also what it sent on the first.
    fn run(
        &self,
        mut contender: impl FnMut(&mut Link<'_>, &[(u64, usize)]) -> Run,
    ) -> (Figures, Vec<(u64, Option<u64>)>) {
        let mut cells: Vec<(u64, usize)> = self.cells.iter().copied().zip(0..).collect();
        let mut whole: Option<Run> = None;
        let mut log = Vec::new();
        for (number, delays) in self.delays.iter().enumerate() {
            let mut link = Link::new(&self.timeline, delays, 7 + number as u64);
            let run = contender(&mut link, &cells);
            cells = run.delivered.iter().enumerate().filter_map(|(cell, at)| at.map(|at| (at, cell))).collect();
            cells.sort_unstable();
            if number == 0 {
                log = link.log;
            }
            let before = whole.take();
            whole = Some(Run {
                sources: run.sources + before.as_ref().map_or(0, |b| b.sources),
                repairs: run.repairs + before.as_ref().map_or(0, |b| b.repairs),
                busy: run.busy + before.as_ref().map_or(std::time::Duration::ZERO, |b| b.busy),
                delivered: run.delivered,
            });
        }
        let run = whole.expect("there is a link");
        (run.figures(&self.due, self.skip), log)
    }

    fn blocks(&self, shape: Shape, code: &mut dyn Code) -> Figures {
        self.run(|link, cells| blocks::run(link, cells, self.cells.len(), shape, code)).0
    }

    /// The shape that loses least at 40 ms at this redundancy, found with a code that needs no more than k of k + r.
    fn best_shape(&self, redundancy: f64) -> Shape {
        let shapes = (1..=24_u16).filter_map(|cells| {
            let repairs =
                (0..=8 * cells).find(|repairs| (f64::from(*repairs) - redundancy * f64::from(cells)).abs() < 1e-9)?;
            let span = self.interval * u64::from(cells);
            // A block that is longer than the last deadline is no use.
            (span <= 60 * MILLISECOND).then_some((cells.into(), repairs.into(), span))
        });
        let spreads = shapes.flat_map(|(cells, repairs, span)| {
            [MILLISECOND, self.interval, span].map(|spread| Shape { cells, repairs, spread })
        });
        let judged = spreads.map(|shape| (self.blocks(shape, &mut Ideal(shape)).residual, shape));
        let best = judged.min_by(|(a, _), (b, _)| {
            (a[1], a[2], a[0]).partial_cmp(&(b[1], b[2], b[0])).unwrap_or(std::cmp::Ordering::Equal)
        });
        best.map_or(Shape { cells: 1, repairs: 1, spread: MILLISECOND }, |(_, shape)| shape)
    }

    fn bound(&self, log: &[(u64, Option<u64>)]) -> Option<[f64; 3]> {
        // For several links in a row the bound of one says little.
        (self.delays.len() == 1)
            .then(|| DEADLINES.map(|ms| bound::residual(&self.cells, &self.due, log, ms * MILLISECOND, self.skip)))
    }
}

fn scenario(scenario: &Scenario, minutes: u64) -> Vec<Line> {
    let Some(stage) = Stage::new(scenario, minutes) else { return Vec::new() };
    let plural = |count: u64, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let name = format!("{}, {}, {}", scenario.profile, plural(scenario.calls, "call"), plural(scenario.links, "link"));
    let count = stage.cells.len();
    let ours = |redundancy| stage.run(|link, cells| tetrys::run(link, cells, count, redundancy));
    let bound = |overhead, log: &[_]| {
        stage.bound(log).map(|residual| Line {
            scenario: name.clone(),
            code: "bound".into(),
            overhead,
            residual: residual.map(|share| 100.0 * share),
            p50: None,
            p99: None,
            cpu: None,
        })
    };
    let mut lines = vec![Line::new(&name, "none", ours(Redundancy::Fixed(0.0, stage.interval)).0)];
    let (figures, log) = ours(Redundancy::Adaptive);
    lines.push(Line::new(&name, "Tetrys, adaptive", figures));
    lines.extend(bound(figures.overhead, &log));
    for redundancy in scenario.fixed {
        let (figures, log) = ours(Redundancy::Fixed(*redundancy, stage.interval));
        lines.push(Line::new(&name, "Tetrys", figures));
        let shape = stage.best_shape(*redundancy);
        let blocks = format!("{}+{} in {} ms", shape.cells, shape.repairs, shape.spread / MILLISECOND);
        if let Some(mut code) = ReedSolomon::new(shape) {
            lines.push(Line::new(&name, format!("Reed–Solomon {blocks}"), stage.blocks(shape, &mut code)));
        }
        if let Some(mut code) = RaptorQ::new(shape) {
            lines.push(Line::new(&name, format!("RaptorQ {blocks}"), stage.blocks(shape, &mut code)));
        }
        lines.extend(bound(figures.overhead, &log));
    }
    lines
}

/// The comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Virtual minutes of each run.
    pub minutes: u64,
    /// Its lines, by scenario.
    pub lines: Vec<Line>,
}

impl Comparison {
    /// Runs everything; `quick` for rough figures.
    #[must_use]
    pub fn measure(quick: bool) -> Comparison {
        let minutes = if quick { 2 } else { 20 };
        Comparison { minutes, lines: SCENARIOS.iter().flat_map(|one| scenario(one, minutes)).collect() }
    }

    /// Rows for the table of `make bench`: the targets, and what is lost at 40 ms by ours and by the best block code at equal overhead.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (scenario, most) in
            [("clean, 1 call, 1 link", 0.0), ("wifi, 1 call, 1 link", 0.2), ("mobile, 1 call, 1 link", 1.0)]
        {
            let at = |code: &str| self.lines.iter().find(|line| line.scenario == scenario && line.code == code);
            let (Some(none), Some(ours)) = (at("none"), at("Tetrys, adaptive")) else { continue };
            let row = |what: &str, unit, most, peer, ours| {
                Row::new(format!("{what}: {scenario}"), "no repair", unit, Target::AtMost(most)).figures(peer, ours)
            };
            rows.push(row("lost at 60 ms", Unit::Percent, most, Some(none.residual[2]), Some(ours.residual[2])));
            let added = if most > 0.0 { 20.0 } else { 0.0 };
            rows.push(
                row("delay added, 99th percentile", Unit::Milliseconds, added, none.p99, ours.p99)
                    .note("lost counts as infinite"),
            );
            if most == 0.0 {
                rows.push(row("repairs for each cell", Unit::Percent, 0.0, None, Some(100.0 * ours.overhead)));
            }
        }
        for ours in self.lines.iter().filter(|line| line.code == "Tetrys") {
            let peers = self.lines.iter().filter(|peer| {
                peer.scenario == ours.scenario
                    && (peer.code.starts_with("Reed") || peer.code.starts_with("Raptor"))
                    && (peer.overhead - ours.overhead).abs() < 0.02
            });
            let best = peers.min_by(|a, b| a.residual[1].total_cmp(&b.residual[1]));
            let what = format!("lost at 40 ms: {}, {:.0} % repairs", ours.scenario, 100.0 * ours.overhead);
            let peer = best.map_or("block code", |peer| peer.code.as_str());
            let target = Target::AtMostTimesPeer(1.0);
            rows.push(
                Row::new(what, peer, Unit::Percent, target)
                    .figures(best.map(|peer| peer.residual[1]), Some(ours.residual[1])),
            );
        }
        rows
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Link repair over {} virtual minutes; cells lost at 20, 40, 60 ms; delay added (lost = ∞); time in the code for a cell",
            self.minutes
        )?;
        writeln!(f, "| scenario | code | repairs | 20 ms | 40 ms | 60 ms | p50 | p99 | CPU |")?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for line in &self.lines {
            let [soon, middle, late] = line.residual;
            let delay = |value: Option<f64>| match (value, line.cpu) {
                (Some(ms), _) => format!("{ms:.1} ms"),
                (None, Some(_)) => "∞".to_owned(),
                (None, None) => String::new(),
            };
            let cpu = line.cpu.map_or(String::new(), |nanos| format!("{nanos:.0} ns"));
            let overhead = 100.0 * line.overhead;
            let (scenario, code) = (&line.scenario, &line.code);
            let (p50, p99) = (delay(line.p50), delay(line.p99));
            writeln!(
                f,
                "| {scenario} | {code} | {overhead:.0} % | {soon:.2} % | {middle:.2} % | {late:.2} % | {p50} | {p99} | {cpu} |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_contender_beats_the_bound_and_nothing_is_added_without_loss() {
        let lines: Vec<Line> = SCENARIOS.iter().filter(|s| s.links == 1).flat_map(|one| scenario(one, 2)).collect();
        assert!(lines.len() > 20);
        for line in lines.iter().filter(|line| line.scenario.starts_with("clean")) {
            assert_eq!((line.overhead, line.residual), (0.0, [0.0; 3]), "{line:?}");
        }
        for pair in lines.windows(2).filter(|pair| pair[1].code == "bound" && pair[0].code.starts_with("Tetrys")) {
            assert!(
                pair[0].residual.iter().zip(pair[1].residual).all(|(ours, bound)| *ours >= bound - 1e-9),
                "{pair:?}"
            );
        }
    }
}

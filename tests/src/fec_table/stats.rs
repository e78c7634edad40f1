//! What became of the cells.

use std::time::{Duration, Instant};

use super::path::MILLISECOND;

/// The deadlines of the table, milliseconds.
pub(super) const DEADLINES: [u64; 3] = [20, 40, 60];

/// When each cell was handed on, and what it cost.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// By cell; nothing for one that was lost.
    pub(super) delivered: Vec<Option<u64>>,
    /// Datagrams with a cell.
    pub(super) sources: u64,
    /// Datagrams with a repair.
    pub(super) repairs: u64,
    /// Time in the code, sender and receiver together.
    pub(super) busy: Duration,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Share of cells that is not there at each of [`DEADLINES`] after the time at which it would have come.
    pub(super) residual: [f64; 3],
    /// Repairs for each cell.
    pub(super) overhead: f64,
    /// Delay added, milliseconds; a lost cell counts as infinitely late.
    pub(super) p50: f64,
    /// The same, 99th percentile.
    pub(super) p99: f64,
    /// Nanoseconds in the code for each cell.
    pub(super) cpu: f64,
}

impl Run {
    /// Compares with `due`, when each cell would have come without any loss. The first `skip` cells do not count.
    pub(super) fn figures(&self, due: &[u64], skip: usize) -> Figures {
        let mut added: Vec<u64> = self
            .delivered
            .iter()
            .zip(due)
            .skip(skip)
            .map(|(delivered, due)| delivered.map_or(u64::MAX, |at| at.saturating_sub(*due)))
            .collect();
        added.sort_unstable();
        let count = added.len().max(1);
        let later = |limit: u64| count - added.partition_point(|delay| *delay <= limit);
        let at = |percent: usize| match added.get(percent * count / 100).copied() {
            None | Some(u64::MAX) => f64::INFINITY,
            Some(delay) => delay as f64 / MILLISECOND as f64,
        };
        Figures {
            residual: DEADLINES.map(|ms| later(ms * MILLISECOND) as f64 / count as f64),
            overhead: self.repairs as f64 / self.sources.max(1) as f64,
            p50: at(50),
            p99: at(99),
            cpu: self.busy.as_nanos() as f64 / self.sources.max(1) as f64,
        }
    }
}

/// What takes time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    Push,
    MakeRepair,
    TakeSource,
    TakeRepair,
    Report,
}

/// Adds up short stretches of time, without what asking the clock takes: the median of each kind of work times its number, so that what
/// else the processor did in between does not count.
#[derive(Debug, Default)]
pub(super) struct Meter {
    stretches: [Vec<Duration>; 5],
}

impl Meter {
    pub(super) fn time<T>(&mut self, kind: Work, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.stretches[kind as usize].push(begun.elapsed());
        result
    }

    pub(super) fn total(self) -> Duration {
        let mut nothing: Vec<Duration> = (0..1_000).map(|_| std::hint::black_box(Instant::now()).elapsed()).collect();
        let cost = median(&mut nothing);
        let of_kind = |mut stretches: Vec<Duration>| {
            let count = u32::try_from(stretches.len()).unwrap_or(u32::MAX);
            median(&mut stretches).saturating_sub(cost) * count
        };
        self.stretches.into_iter().map(of_kind).sum()
    }
}

fn median(stretches: &mut [Duration]) -> Duration {
    stretches.sort_unstable();
    stretches.get(stretches.len() / 2).copied().unwrap_or_default()
}

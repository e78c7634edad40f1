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
        let at = |share: f64| match added.get((share * count as f64) as usize).copied() {
            None | Some(u64::MAX) => f64::INFINITY,
            Some(delay) => delay as f64 / MILLISECOND as f64,
        };
        Figures {
            residual: DEADLINES.map(|ms| later(ms * MILLISECOND) as f64 / count as f64),
            overhead: self.repairs as f64 / self.sources.max(1) as f64,
            p50: at(0.5),
            p99: at(0.99),
            cpu: self.busy.as_nanos() as f64 / self.sources.max(1) as f64,
        }
    }
}

/// Adds up short stretches of time, without what asking the clock takes. The longest hundredth counts as the longest of the others: in
/// such stretches something else had the processor.
#[derive(Debug)]
pub(super) struct Meter {
    stretches: Vec<Duration>,
    cost: Duration,
}

impl Meter {
    pub(super) fn new() -> Meter {
        const TRIES: u32 = 10_000;
        let begun = Instant::now();
        for _ in 0..TRIES {
            std::hint::black_box(Instant::now().elapsed());
        }
        // Of a call's cost about one half falls between the two readings.
        Meter { stretches: Vec::new(), cost: begun.elapsed() / TRIES / 2 }
    }

    pub(super) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        self.stretches.push(begun.elapsed());
        result
    }

    pub(super) fn total(mut self) -> Duration {
        self.stretches.sort_unstable();
        let longest = self.stretches.get(self.stretches.len() * 99 / 100).copied().unwrap_or_default();
        self.stretches.iter().map(|stretch| (*stretch).min(longest).saturating_sub(self.cost)).sum()
    }
}

//! What a run showed.

use std::fmt;

/// Figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Voters, and nodes that follow without voting.
    pub nodes: (usize, usize),
    /// Relays.
    pub relays: usize,
    /// Epochs that were agreed on.
    pub epochs: usize,
    /// Epochs that passed.
    pub passed: usize,
    /// From the first round's beginning until the first node had the document, milliseconds, by epoch.
    pub first: Vec<u64>,
    /// From there until the last node had it.
    pub spread: Vec<u64>,
    /// The round in which it was decided, at most.
    pub rounds: u32,
    /// Bytes that a node sent in an hour to agree, descriptors apart: mean, and the most of any.
    pub sent: (u64, u64),
    /// Of the mean: what gossip took, and what asking took.
    pub parts: (u64, u64),
    /// How old the document was that a node used, at most, in seconds after its epoch began: an epoch is what it has to be.
    pub oldest: u64,
    /// The share of a document's relays that were gone at the end of its epoch, in thousandths, at most.
    pub gone: u64,
    /// The length of the longest document, in bytes, without descriptors.
    pub document: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = |values: &[u64]| values.iter().copied().max().unwrap_or(0);
        let mean = |values: &[u64]| values.iter().sum::<u64>() / values.len().max(1) as u64;
        write!(
            f,
            "{} voters + {} followers, {} relays: {} of {} epochs agreed, round {} at most; decided {} ms after the first round began \
             (worst {}), the last node {} ms later (worst {}); {} kB sent per node and hour (worst {}; gossip {}, repair {}); \
             document {} kB, in use until {} s after its epoch began, {:.1} % of its relays gone by then",
            self.nodes.0,
            self.nodes.1,
            self.relays,
            self.epochs,
            self.passed,
            self.rounds,
            mean(&self.first),
            most(&self.first),
            mean(&self.spread),
            most(&self.spread),
            self.sent.0 / 1_000,
            self.sent.1 / 1_000,
            self.parts.0 / 1_000,
            self.parts.1 / 1_000,
            self.document / 1_000,
            self.oldest,
            f64::from(u32::try_from(self.gone).unwrap_or(u32::MAX)) / 10.0,
        )
    }
}

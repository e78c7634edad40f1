//! Decoding, and what it shows.

use std::collections::{BTreeMap, BTreeSet};

use zmesh_fec::chunk::{Encoder, REPAIRS, SYMBOL_LEN, decode};
use zmesh_sphinx::RelayId;

use crate::seeding::{ChunkId, ChunkRef, Class};

/// Symbols with numbers in a row.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) symbols: Vec<u8>,
}

impl Run {
    fn each(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let numbered = self.symbols.chunks_exact(SYMBOL_LEN).zip(0u32..);
        numbered.map(|(symbol, at)| ((self.first + at) % REPAIRS, symbol))
    }
}

/// How many symbols with different numbers there are.
pub(super) fn distinct<'a>(runs: impl Iterator<Item = &'a Run>) -> usize {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for run in runs {
        let count = u32::try_from(run.symbols.len() / SYMBOL_LEN).unwrap_or(0);
        let until_end = count.min(REPAIRS - run.first);
        spans.push((run.first, run.first + until_end));
        spans.push((0, count - until_end));
    }
    spans.sort_unstable();
    let (mut total, mut end) = (0, 0);
    for (from, to) in spans {
        total += to.saturating_sub(from.max(end));
        end = end.max(to);
    }
    total as usize
}

/// A decoding that takes milliseconds; run it where there is time, and hand what it gives to
/// [`Fetch::handle_judgement`](super::Fetch::handle_judgement).
pub struct Attempt {
    index: usize,
    chunk: ChunkRef,
    only: Option<RelayId>,
    suspect: bool,
    runs: BTreeMap<RelayId, Vec<Run>>,
}

/// What an [`Attempt`] found.
pub struct Judgement {
    index: usize,
    only: Option<RelayId>,
    runs: BTreeMap<RelayId, Vec<Run>>,
    outcome: Outcome,
}

pub(super) enum Outcome {
    /// The chunk, and whose symbols are not its own.
    Right { chunk: Vec<u8>, liars: Vec<RelayId> },
    /// More symbols are needed.
    NotEnough,
    /// Some of the symbols are wrong.
    Wrong,
}

impl Attempt {
    pub(super) fn new(
        index: usize,
        chunk: ChunkRef,
        only: Option<RelayId>,
        suspect: bool,
        runs: BTreeMap<RelayId, Vec<Run>>,
    ) -> Self {
        Self { index, chunk, only, suspect, runs }
    }

    /// How long the chunk is: what tells how long the attempt takes.
    #[must_use]
    pub fn class(&self) -> Class {
        self.chunk.class
    }

    /// Decodes and compares the hash.
    #[must_use]
    pub fn run(self) -> Judgement {
        let outcome = self.judge();
        Judgement { index: self.index, only: self.only, runs: self.runs, outcome }
    }

    fn judge(&self) -> Outcome {
        let chosen = self.runs.iter().filter(|(id, _)| self.only.is_none_or(|only| only == **id));
        let symbols = chosen.flat_map(|(_, runs)| runs).flat_map(Run::each);
        let mut seen = BTreeSet::new();
        let goal = usize::from(self.chunk.class.sources());
        // The first symbols suffice; each one more is a row more to solve.
        let symbols = symbols.filter(|(number, _)| seen.insert(*number)).take(goal + 8);
        let Some(chunk) = decode(self.chunk.class.sources(), symbols) else {
            return Outcome::NotEnough;
        };
        if ChunkId::of(&chunk) != self.chunk.id {
            return Outcome::Wrong;
        }
        let liars = if self.suspect { self.liars(&chunk) } else { Vec::new() };
        Outcome::Right { chunk, liars }
    }

    /// Whose symbols are not those of the right chunk.
    fn liars(&self, chunk: &[u8]) -> Vec<RelayId> {
        let Ok(encoder) = Encoder::new(chunk) else { return Vec::new() };
        let lies = |run: &Run| {
            let mut right = Vec::with_capacity(run.symbols.len());
            let count = u16::try_from(run.symbols.len() / SYMBOL_LEN).unwrap_or(0);
            encoder.symbols(run.first, count, &mut right);
            right != run.symbols
        };
        self.runs.iter().filter(|(_, runs)| runs.iter().any(lies)).map(|(id, _)| *id).collect()
    }
}

impl Judgement {
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn into_parts(self) -> (Option<RelayId>, BTreeMap<RelayId, Vec<Run>>, Outcome) {
        (self.only, self.runs, self.outcome)
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attempt({})", self.index)
    }
}

impl std::fmt::Debug for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = match self.outcome {
            Outcome::Right { .. } => "right",
            Outcome::NotEnough => "not enough",
            Outcome::Wrong => "wrong",
        };
        write!(f, "Judgement({}, {outcome})", self.index)
    }
}

//! One chunk on its way.

use std::collections::BTreeMap;

use zmesh_fec::chunk::{MARGIN, REPAIRS};
use zmesh_sphinx::RelayId;

use super::Shortage;
use super::attempt::{Attempt, Judgement, Outcome, Run, distinct};
use crate::seeding::placement::first_symbol;
use crate::seeding::{ChunkRef, SymbolRun};

/// Symbols added when those that are there do not decode, which happens about once in a million chunks.
const MORE: u16 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// From whoever gives symbols.
    Gather,
    /// Somebody lies: this seeder has to give the whole chunk.
    Test(RelayId),
    /// An attempt is under way.
    Judge,
}

/// What one seeder has given of this chunk.
#[derive(Default)]
pub(super) struct From {
    /// How many symbols it was asked for: the next one is this many behind its first.
    next: u32,
    runs: Vec<Run>,
    /// Under way and not late.
    out: u16,
    absent: bool,
    /// It gave symbols once.
    gave: bool,
}

pub(super) struct Wanted {
    pub(super) chunk: ChunkRef,
    /// Who may have it, best first.
    pub(super) ranked: Vec<RelayId>,
    pub(super) phase: Phase,
    from: BTreeMap<RelayId, From>,
    /// Symbols wanted beside the least number.
    extra: u16,
    /// Somebody lied.
    suspect: bool,
}

impl Wanted {
    pub(super) fn new(chunk: ChunkRef, ranked: Vec<RelayId>) -> Self {
        Self { chunk, ranked, phase: Phase::Gather, from: BTreeMap::new(), extra: MARGIN, suspect: false }
    }

    /// Whether this seeder may have the chunk, as far as it has said.
    pub(super) fn may_ask(&self, id: &RelayId) -> bool {
        !self.from.get(id).is_some_and(|from| from.absent)
    }

    fn goal(&self) -> usize {
        usize::from(self.chunk.class.sources() + self.extra)
    }

    /// Symbols to ask for now.
    pub(super) fn need(&self) -> u16 {
        let have = match self.phase {
            Phase::Judge => return 0,
            Phase::Gather => {
                let out: usize = self.from.values().map(|from| usize::from(from.out)).sum();
                self.distinct(None) + out
            }
            Phase::Test(id) => self.distinct(Some(&id)) + self.from.get(&id).map_or(0, |from| usize::from(from.out)),
        };
        u16::try_from(self.goal().saturating_sub(have)).unwrap_or(u16::MAX)
    }

    fn distinct(&self, only: Option<&RelayId>) -> usize {
        distinct(self.runs(only))
    }

    fn runs<'a>(&'a self, only: Option<&'a RelayId>) -> impl Iterator<Item = &'a Run> {
        let chosen = self.from.iter().filter(move |(id, _)| only.is_none_or(|only| only == *id));
        chosen.flat_map(|(_, from)| &from.runs)
    }

    /// Notes a question for `count` symbols; gives where they begin, and the question.
    pub(super) fn ask(&mut self, id: RelayId, count: u16) -> (u32, SymbolRun) {
        let from = self.from.entry(id).or_default();
        let at = from.next;
        from.next += u32::from(count);
        from.out += count;
        let first = number(&id, &self.chunk, at);
        (at, SymbolRun { chunk: self.chunk, first, count })
    }

    /// Symbols came.
    pub(super) fn came(&mut self, id: RelayId, at: u32, count: u16, late: bool, symbols: Vec<u8>) {
        let first = number(&id, &self.chunk, at);
        self.take_back(id, count, late);
        if let Some(from) = self.from.get_mut(&id) {
            from.gave = true;
            from.runs.push(Run { first, symbols });
        }
    }

    /// Symbols will come late: others are asked for as many.
    pub(super) fn late(&mut self, id: RelayId, count: u16) {
        self.take_back(id, count, false);
    }

    /// Symbols are not under way any more.
    pub(super) fn take_back(&mut self, id: RelayId, count: u16, late: bool) {
        if !late && let Some(from) = self.from.get_mut(&id) {
            from.out = from.out.saturating_sub(count);
        }
    }

    pub(super) fn absent(&mut self, id: RelayId) {
        self.from.entry(id).or_default().absent = true;
    }

    /// Whether somebody lied about this chunk, and this seeder is among those who gave symbols of it.
    pub(super) fn is_suspect(&self, id: &RelayId) -> bool {
        self.suspect && self.from.get(id).is_some_and(|from| from.gave)
    }

    /// What this seeder gave counts no more.
    pub(super) fn drop_symbols(&mut self, id: &RelayId) {
        if let Some(from) = self.from.get_mut(id) {
            from.runs.clear();
        }
    }

    /// An attempt, when there is enough for one.
    pub(super) fn attempt(&mut self, index: usize) -> Option<Attempt> {
        let only = match self.phase {
            Phase::Judge => return None,
            Phase::Gather => None,
            Phase::Test(id) => Some(id),
        };
        if self.distinct(only.as_ref()) < self.goal() {
            return None;
        }
        self.phase = Phase::Judge;
        let runs = self.from.iter_mut().map(|(id, from)| (*id, std::mem::take(&mut from.runs)));
        let runs = runs.filter(|(_, runs)| !runs.is_empty()).collect();
        Some(Attempt::new(index, self.chunk, only, self.suspect, runs))
    }

    /// Goes on after an attempt. Gives the chunk if it is there, and who lied for certain.
    pub(super) fn judged(
        &mut self,
        judgement: Judgement,
        usable: impl Fn(&RelayId) -> bool,
    ) -> (Option<Vec<u8>>, Vec<RelayId>) {
        let (only, runs, outcome) = judgement.into_parts();
        let alone = match (&only, runs.len()) {
            (None, 1) => runs.keys().next().copied(),
            _ => only,
        };
        for (id, runs) in runs {
            self.from.entry(id).or_default().runs.splice(0..0, runs);
        }
        self.phase = only.map_or(Phase::Gather, Phase::Test);
        match outcome {
            Outcome::Right { chunk, liars } => (Some(chunk), liars),
            Outcome::NotEnough => {
                self.extra += MORE;
                (None, Vec::new())
            }
            Outcome::Wrong => {
                self.suspect = true;
                self.phase = Phase::Gather;
                if let Some(liar) = alone {
                    self.drop_symbols(&liar);
                    return (None, vec![liar]);
                }
                let gone = self.from.iter().filter(|(id, from)| !usable(id) && !from.runs.is_empty());
                let gone: Vec<RelayId> = gone.map(|(id, _)| *id).collect();
                for id in &gone {
                    self.drop_symbols(id);
                }
                // Whoever gave most has least to add.
                let most = self.from.iter().filter(|(id, from)| usable(id) && !from.absent && !from.runs.is_empty());
                let most = most.max_by_key(|(_, from)| from.runs.iter().map(|run| run.symbols.len()).sum::<usize>());
                if gone.is_empty() || self.distinct(None) < self.goal() {
                    self.phase = most.map_or(Phase::Gather, |(id, _)| Phase::Test(*id));
                }
                (None, Vec::new())
            }
        }
    }

    pub(super) fn shortage(&self) -> Shortage {
        Shortage {
            seeders: self.ranked.len(),
            have: self.distinct(None),
            need: usize::from(self.chunk.class.sources()),
            ..Shortage::default()
        }
    }
}

/// The number of a seeder's own symbol `at`.
fn number(seeder: &RelayId, chunk: &ChunkRef, at: u32) -> u32 {
    // A circle of 16 million, of which a fetch walks a few hundred.
    (first_symbol(seeder, &chunk.id) + at % REPAIRS) % REPAIRS
}

//! Gathers chunks from several seeders at once, of which any may be slow, gone, or lying.
//!
//! Feed a [`Fetch`] what happens and drain it: after every `handle_*` call, [`Fetch::poll_connect`], [`Fetch::poll_ask`],
//! [`Fetch::poll_attempt`] and [`Fetch::poll_event`] until each gives nothing, then wait until [`Fetch::poll_timeout`] at
//! the latest and call [`Fetch::handle_timeout`]. Decoding takes milliseconds and is handed out as an [`Attempt`], to
//! be run wherever there is time.
//!
//! Any symbols will do, so a seeder is never waited for: each is asked for a few symbols at a time, those that answer soon
//! are asked more often, and what a late one owes is asked of others. A chunk that does not have its name was spoilt by
//! somebody: then one seeder after the other has to give the whole chunk alone. One that cannot is a liar, for certain,
//! and is asked for nothing any more; the first that can gives the chunk, which shows all other liars. So in
//! each chunk that is under way when it lies, a liar costs at most that chunk's symbols once more and two attempts, and
//! nothing afterwards; and no wrong byte gets out (decision 0142).

mod attempt;
mod seeder;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use zmesh_fec::chunk::SYMBOL_LEN;
use zmesh_sphinx::RelayId;

pub use self::attempt::{Attempt, Judgement};
use self::seeder::{Link, Seeder};
use self::wanted::{Phase, Wanted};
use super::{ChunkRef, SymbolRun};

/// Seeders that a chunk is asked of at once.
const ACTIVE: usize = 4;

/// Symbols asked for at once.
const BATCH: u16 = 32;

/// A seeder that has not answered for this long is given up.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What has happened to a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The seeder does not hold the chunk.
    Absent,
    /// The seeder has too much to do.
    Busy,
    /// The seeder is gone, or answered something that makes no sense.
    Lost,
}

/// A question for a seeder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask {
    /// Names the question in the answer.
    pub number: u64,
    /// Whom to ask.
    pub seeder: RelayId,
    /// For what.
    pub run: SymbolRun,
}

/// What a [`Fetch`] has to say.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A chunk is there, and is the right one.
    Done {
        /// The number under which it was wanted.
        index: usize,
        /// Its bytes.
        chunk: Vec<u8>,
    },
    /// A chunk cannot be had.
    Failed {
        /// The number under which it was wanted.
        index: usize,
        /// What was found.
        shortage: Shortage,
    },
    /// The answer to a question is of no use any more.
    Cancel {
        /// The question.
        number: u64,
    },
    /// A seeder gave symbols that are not the chunk's.
    Liar {
        /// Who.
        seeder: RelayId,
    },
}

/// Why a chunk could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Shortage {
    /// Relays that may keep it.
    pub seeders: usize,
    /// Of these, relays that do not hold it.
    pub absent: usize,
    /// Of these, relays that did not answer.
    pub lost: usize,
    /// Of these, relays that gave wrong symbols.
    pub liars: usize,
    /// Symbols that came.
    pub have: usize,
    /// Symbols needed.
    pub need: usize,
}

/// What a fetch has cost so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Symbols that came.
    pub symbols: u64,
    /// Symbols that the chunks that are done consist of.
    pub useful: u64,
    /// Times that decoding was tried.
    pub attempts: u64,
    /// Seeders that lied.
    pub liars: u64,
}

/// A question under way.
struct Out {
    seeder: RelayId,
    index: usize,
    count: u16,
    /// The first symbol, counted from where the seeder's own begin.
    at: u32,
    asked: Instant,
    late: bool,
}

/// See the head of this module.
#[derive(Default)]
pub struct Fetch {
    seeders: BTreeMap<RelayId, Seeder>,
    wanted: BTreeMap<usize, Wanted>,
    out: BTreeMap<u64, Out>,
    next: u64,
    attempts: VecDeque<Attempt>,
    events: VecDeque<Event>,
    totals: Totals,
}

impl Fetch {
    /// Nothing is wanted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks nothing of this seeder: it lied before.
    pub fn shun(&mut self, seeder: RelayId) {
        self.seeders.entry(seeder).or_default().link = Link::Liar;
    }

    /// Wants a chunk from these seeders, best first. Lower numbers go first; a number that is in use is left alone.
    pub fn want(&mut self, index: usize, chunk: ChunkRef, seeders: Vec<RelayId>) {
        for seeder in &seeders {
            self.seeders.entry(*seeder).or_default();
        }
        self.wanted.entry(index).or_insert_with(|| Wanted::new(chunk, seeders));
        self.look(index);
    }

    /// How many chunks are wanted now.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.wanted.len()
    }

    /// What it has cost so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Seeders that a circuit stands to.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.seeders.values().filter(|seeder| seeder.link == Link::Up).count()
    }

    /// A seeder to connect to.
    pub fn poll_connect(&mut self) -> Option<RelayId> {
        let idle = self.wanted.values().find_map(|wanted| {
            let usable = wanted.ranked.iter().filter(|id| wanted.may_ask(id) && self.seeders[*id].is_usable());
            usable.take(ACTIVE).find(|id| self.seeders[*id].link == Link::Idle).copied()
        })?;
        self.seeders.entry(idle).or_default().link = Link::Connecting;
        Some(idle)
    }

    /// A circuit to a seeder is up.
    pub fn handle_connected(&mut self, seeder: RelayId) {
        if let Some(seeder) = self.seeders.get_mut(&seeder)
            && seeder.link == Link::Connecting
        {
            seeder.link = Link::Up;
        }
    }

    /// No circuit to a seeder can be had, or the one that was there has ended.
    pub fn handle_lost(&mut self, id: RelayId) {
        let Some(seeder) = self.seeders.get_mut(&id) else { return };
        seeder.lose();
        self.forget_questions(id);
        self.look_at_all();
    }

    /// The circuit to a seeder was given up for want of use: no fault of the seeder's, and there may be another one later.
    pub fn release(&mut self, id: RelayId) {
        if let Some(seeder) = self.seeders.get_mut(&id).filter(|seeder| seeder.link == Link::Up) {
            seeder.link = Link::Idle;
            self.forget_questions(id);
        }
    }

    /// A question to ask now.
    pub fn poll_ask(&mut self, now: Instant) -> Option<Ask> {
        for (index, wanted) in &mut self.wanted {
            let need = wanted.need();
            if need == 0 {
                continue;
            }
            let asked = match wanted.phase {
                Phase::Judge => continue,
                Phase::Test(seeder) => Some(seeder).filter(|id| self.seeders[id].can_take(now)),
                Phase::Gather => {
                    let active = wanted.ranked.iter().filter(|id| wanted.may_ask(id) && self.seeders[*id].is_usable());
                    let free = active.take(ACTIVE).filter(|id| self.seeders[*id].can_take(now));
                    free.min_by_key(|id| self.seeders[*id].load()).copied()
                }
            };
            let Some(id) = asked else { continue };
            let count = need.min(BATCH);
            let (at, run) = wanted.ask(id, count);
            self.next += 1;
            let number = self.next;
            self.out.insert(number, Out { seeder: id, index: *index, count, at, asked: now, late: false });
            if let Some(seeder) = self.seeders.get_mut(&id) {
                seeder.out += 1;
            }
            return Some(Ask { number, seeder: id, run });
        }
        None
    }

    /// The symbols of a question came.
    pub fn handle_answer(&mut self, now: Instant, number: u64, symbols: Vec<u8>) {
        let Some(out) = self.out.remove(&number) else { return };
        let Some(seeder) = self.seeders.get_mut(&out.seeder) else { return };
        seeder.answered(now.saturating_duration_since(out.asked));
        if symbols.len() != usize::from(out.count) * SYMBOL_LEN {
            self.take_back(&out);
            return self.handle_lost(out.seeder);
        }
        self.totals.symbols += u64::from(out.count);
        if let Some(wanted) = self.wanted.get_mut(&out.index) {
            wanted.came(out.seeder, out.at, out.count, out.late, symbols);
        }
        self.look(out.index);
    }

    /// A question was not answered.
    pub fn handle_refusal(&mut self, now: Instant, number: u64, refusal: Refusal) {
        let Some(out) = self.out.remove(&number) else { return };
        self.take_back(&out);
        let Some(seeder) = self.seeders.get_mut(&out.seeder) else { return };
        seeder.out = seeder.out.saturating_sub(1);
        match refusal {
            Refusal::Absent => {
                if let Some(wanted) = self.wanted.get_mut(&out.index) {
                    wanted.absent(out.seeder);
                    if wanted.is_suspect(&out.seeder) {
                        seeder.contradict();
                        self.forget_questions(out.seeder);
                        self.drop_symbols(&out.seeder);
                    }
                }
            }
            Refusal::Busy => {
                if seeder.busy(now) {
                    self.forget_questions(out.seeder);
                }
            }
            Refusal::Lost => {
                seeder.lose();
                self.forget_questions(out.seeder);
            }
        }
        self.look_at_all();
    }

    /// A decoding to run.
    pub fn poll_attempt(&mut self) -> Option<Attempt> {
        self.attempts.pop_front()
    }

    /// What came of an attempt.
    pub fn handle_judgement(&mut self, judgement: Judgement) {
        self.totals.attempts += 1;
        let index = judgement.index();
        let Some(wanted) = self.wanted.get_mut(&index) else { return };
        let usable = |id: &RelayId| self.seeders.get(id).is_some_and(Seeder::is_usable);
        let (done, liars) = wanted.judged(judgement, usable);
        let sources = wanted.chunk.class.sources();
        // Who lied is said before the chunk is given: nobody listens after the last one.
        for liar in liars {
            self.convict(liar);
        }
        if let Some(chunk) = done {
            self.totals.useful += u64::from(sources);
            self.wanted.remove(&index);
            let idle: Vec<u64> = self.out.iter().filter(|(_, out)| out.index == index).map(|(n, _)| *n).collect();
            for number in idle {
                if let Some(out) = self.out.remove(&number)
                    && let Some(seeder) = self.seeders.get_mut(&out.seeder)
                {
                    seeder.out = seeder.out.saturating_sub(1);
                }
                self.events.push_back(Event::Cancel { number });
            }
            self.events.push_back(Event::Done { index, chunk });
        }
        self.look_at_all();
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Fetch::handle_timeout`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let outs = self.out.values().map(|out| {
            let wait = if out.late { ANSWER_MAX } else { self.patience(&out.seeder) };
            out.asked + wait
        });
        outs.chain(self.seeders.values().filter_map(|seeder| seeder.busy_until)).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut gone = Vec::new();
        let late: Vec<u64> = self
            .out
            .iter()
            .filter(|(_, out)| now >= out.asked + if out.late { ANSWER_MAX } else { self.patience(&out.seeder) })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let Some(out) = self.out.get_mut(&number) else { continue };
            if now >= out.asked + ANSWER_MAX {
                gone.push(out.seeder);
            } else if !out.late {
                out.late = true;
                let (seeder, index, count) = (out.seeder, out.index, out.count);
                if let Some(seeder) = self.seeders.get_mut(&seeder) {
                    seeder.window = 1;
                }
                if let Some(wanted) = self.wanted.get_mut(&index) {
                    wanted.late(seeder, count);
                }
            }
        }
        for seeder in self.seeders.values_mut() {
            if seeder.busy_until.is_some_and(|until| until <= now) {
                seeder.busy_until = None;
            }
        }
        gone.dedup();
        for seeder in gone {
            self.handle_lost(seeder);
        }
    }

    /// How long an answer may take before others are asked for the same: three times what this seeder takes, or, while
    /// that is not known, what the quickest takes.
    fn patience(&self, id: &RelayId) -> Duration {
        let own = self.seeders.get(id).and_then(|seeder| seeder.takes);
        let any = || self.seeders.values().filter_map(|seeder| seeder.takes).min();
        seeder::patience(own.or_else(any))
    }

    /// The symbols of a question will not come.
    fn take_back(&mut self, out: &Out) {
        if let Some(wanted) = self.wanted.get_mut(&out.index) {
            wanted.take_back(out.seeder, out.count, out.late);
        }
    }

    fn forget_questions(&mut self, id: RelayId) {
        let numbers: Vec<u64> = self.out.iter().filter(|(_, out)| out.seeder == id).map(|(n, _)| *n).collect();
        for number in numbers {
            if let Some(out) = self.out.remove(&number) {
                self.take_back(&out);
                self.events.push_back(Event::Cancel { number });
            }
        }
        if let Some(seeder) = self.seeders.get_mut(&id) {
            seeder.out = 0;
        }
    }

    fn convict(&mut self, id: RelayId) {
        let Some(seeder) = self.seeders.get_mut(&id).filter(|seeder| seeder.link != Link::Liar) else { return };
        seeder.link = Link::Liar;
        self.totals.liars += 1;
        self.forget_questions(id);
        self.drop_symbols(&id);
        self.events.push_back(Event::Liar { seeder: id });
    }

    /// What this seeder gave of any chunk counts no more.
    fn drop_symbols(&mut self, id: &RelayId) {
        self.wanted.values_mut().for_each(|wanted| wanted.drop_symbols(id));
    }

    fn look_at_all(&mut self) {
        let indices: Vec<usize> = self.wanted.keys().copied().collect();
        for index in indices {
            self.look(index);
        }
    }

    /// Sees whether a chunk can be tried now, or never.
    fn look(&mut self, index: usize) {
        let Some(wanted) = self.wanted.get_mut(&index) else { return };
        if let Phase::Test(seeder) = wanted.phase
            && (!self.seeders.get(&seeder).is_some_and(Seeder::is_usable) || !wanted.may_ask(&seeder))
        {
            // Who gives up under test proves nothing, and what it gave stays doubtful: away with it.
            wanted.drop_symbols(&seeder);
            wanted.phase = Phase::Gather;
        }
        if let Some(attempt) = wanted.attempt(index) {
            return self.attempts.push_back(attempt);
        }
        let hope = wanted.ranked.iter().any(|id| wanted.may_ask(id) && self.seeders[id].is_usable());
        if !hope && wanted.phase != Phase::Judge {
            let mut shortage = wanted.shortage();
            for id in &wanted.ranked {
                match self.seeders[id].link {
                    Link::Liar => shortage.liars += 1,
                    _ if !wanted.may_ask(id) => shortage.absent += 1,
                    _ => shortage.lost += 1,
                }
            }
            self.wanted.remove(&index);
            let numbers: Vec<u64> = self.out.iter().filter(|(_, out)| out.index == index).map(|(n, _)| *n).collect();
            for number in numbers {
                self.out.remove(&number);
                self.events.push_back(Event::Cancel { number });
            }
            self.events.push_back(Event::Failed { index, shortage });
        }
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done { index, .. } => write!(f, "Done({index})"),
            Self::Failed { index, shortage } => write!(f, "Failed({index}, {shortage:?})"),
            Self::Cancel { number } => write!(f, "Cancel({number})"),
            Self::Liar { .. } => f.write_str("Liar"),
        }
    }
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch").field("pending", &self.wanted.len()).field("totals", &self.totals).finish()
    }
}

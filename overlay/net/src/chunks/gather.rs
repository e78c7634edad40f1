//! Runs a [`Fetch`] over circuits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{AbortHandle, JoinSet};
use zmesh_proto::seeding::ChunkRef;
use zmesh_proto::seeding::fetch::{Event, Fetch, Judgement, Refusal, Shortage, Totals};

use super::Liars;
use super::lanes::is_small;
use super::seeder::{SeederCircuit, Way};
use crate::api::CircuitError;
use crate::origin::Origin;
use crate::{RelayId, clock};

/// The longest that nothing happens.
const LOOK: Duration = Duration::from_secs(1);

enum Happened {
    Connected(RelayId, Result<Arc<SeederCircuit>, CircuitError>),
    Ended(RelayId, usize),
    Answered(u64, Result<Vec<u8>, Refusal>),
    Judged(Box<Judgement>),
}

/// What became of a chunk.
pub(super) enum Gathered {
    /// It is there.
    Done(usize, Vec<u8>),
    /// It cannot be had.
    Failed(usize, Shortage),
}

/// One fetch: its circuits, each to a seeder, and what is under way on them. All ends when it is dropped.
pub(super) struct Gather {
    origin: Arc<Origin>,
    liars: Arc<Liars>,
    way: Way,
    fetch: Fetch,
    /// With the number of each: how many there were with it.
    circuits: HashMap<RelayId, (usize, Arc<SeederCircuit>)>,
    used: usize,
    asks: HashMap<u64, AbortHandle>,
    tasks: JoinSet<Happened>,
}

impl Gather {
    pub(super) fn new(origin: Arc<Origin>, liars: Arc<Liars>, way: Way) -> Self {
        let mut fetch = Fetch::new();
        for liar in liars.now() {
            fetch.shun(liar);
        }
        Self {
            origin,
            liars,
            way,
            fetch,
            circuits: HashMap::new(),
            used: 0,
            asks: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(super) fn want(&mut self, index: usize, chunk: ChunkRef, seeders: Vec<RelayId>) {
        self.fetch.want(index, chunk, seeders);
    }

    /// Lets go of circuits to relays that are none of these.
    pub(super) fn keep_circuits(&mut self, seeders: &[RelayId]) {
        let idle: Vec<RelayId> = self.circuits.keys().filter(|relay| !seeders.contains(relay)).copied().collect();
        for relay in idle {
            self.circuits.remove(&relay);
            self.fetch.release(relay);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.fetch.totals()
    }

    pub(super) fn connected(&self) -> usize {
        self.circuits.len()
    }

    /// Circuits that there have been.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Waits for the next chunk to be there, or not to be had. `None` when none is wanted.
    pub(super) async fn next(&mut self) -> Option<Gathered> {
        loop {
            if let Some(gathered) = self.drain() {
                return Some(gathered);
            }
            if self.fetch.pending() == 0 {
                return None;
            }
            let now = clock::now();
            let until = self.fetch.poll_timeout().map_or(now + LOOK, |at| at.min(now + LOOK));
            tokio::select! {
                happened = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    // A question that was cancelled has nothing to say.
                    if let Some(Ok(happened)) = happened {
                        self.handle(clock::now(), happened);
                    }
                }
                () = tokio::time::sleep(until.saturating_duration_since(now)) => {}
            }
            self.fetch.handle_timeout(clock::now());
        }
    }

    fn handle(&mut self, now: Instant, happened: Happened) {
        match happened {
            Happened::Connected(relay, Ok(circuit)) => {
                self.used += 1;
                let end = circuit.end();
                let number = self.used;
                self.circuits.insert(relay, (number, circuit));
                self.tasks.spawn(async move {
                    end.await;
                    Happened::Ended(relay, number)
                });
                self.fetch.handle_connected(relay);
            }
            Happened::Connected(relay, Err(error)) => {
                tracing::debug!(%error, "no circuit to a seeder");
                self.fetch.handle_lost(relay);
            }
            Happened::Ended(relay, number) => {
                // Another one may stand in its place by now.
                if self.circuits.get(&relay).is_some_and(|(current, _)| *current == number) {
                    self.circuits.remove(&relay);
                    self.fetch.handle_lost(relay);
                }
            }
            Happened::Answered(number, answer) => {
                self.asks.remove(&number);
                match answer {
                    Ok(symbols) => self.fetch.handle_answer(now, number, symbols),
                    Err(refusal) => self.fetch.handle_refusal(now, number, refusal),
                }
            }
            Happened::Judged(judgement) => self.fetch.handle_judgement(*judgement),
        }
    }

    /// Does what the fetch asks for, until it says that a chunk is there or needs to wait.
    fn drain(&mut self) -> Option<Gathered> {
        loop {
            while let Some(relay) = self.fetch.poll_connect() {
                self.connect(relay);
            }
            while let Some(ask) = self.fetch.poll_ask(clock::now()) {
                let Some(circuit) = self.circuits.get(&ask.seeder).map(|(_, circuit)| Arc::clone(circuit)) else {
                    self.fetch.handle_refusal(clock::now(), ask.number, Refusal::Lost);
                    continue;
                };
                let asked =
                    self.tasks.spawn(async move { Happened::Answered(ask.number, circuit.symbols(ask.run).await) });
                self.asks.insert(ask.number, asked);
            }
            let mut idle = true;
            while let Some(attempt) = self.fetch.poll_attempt() {
                if is_small(attempt.class()) {
                    self.fetch.handle_judgement(attempt.run());
                    idle = false;
                } else {
                    self.tasks.spawn_blocking(move || Happened::Judged(Box::new(attempt.run())));
                }
            }
            while let Some(event) = self.fetch.poll_event() {
                match event {
                    Event::Done { index, chunk } => return Some(Gathered::Done(index, chunk)),
                    Event::Failed { index, shortage } => return Some(Gathered::Failed(index, shortage)),
                    Event::Cancel { number } => {
                        if let Some(asked) = self.asks.remove(&number) {
                            asked.abort();
                        }
                    }
                    Event::Liar { seeder } => {
                        tracing::info!("a seeder gave wrong data and is dropped");
                        self.liars.add(seeder);
                        self.circuits.remove(&seeder);
                    }
                    _ => tracing::debug!("an event that this driver does not know"),
                }
            }
            if idle {
                return None;
            }
        }
    }

    fn connect(&mut self, relay: RelayId) {
        if self.circuits.contains_key(&relay) {
            return self.fetch.handle_connected(relay);
        }
        let origin = Arc::clone(&self.origin);
        let others: Vec<RelayId> = self.circuits.values().filter_map(|(_, circuit)| circuit.guard()).collect();
        let way = self.way;
        self.tasks
            .spawn(async move { Happened::Connected(relay, SeederCircuit::open(&origin, relay, way, &others).await) });
    }
}

//! How a relay sees to it that enough others keep what it keeps.
//!
//! A chunk that somebody left is offered, a little later, to the relays that should keep it, until as many hold it as
//! should; most say that they do. What people ask for is offered again from time to time, so that copies that went with
//! their relays are made good by relays further down the ranking.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zmesh_proto::pace::Pace;
use zmesh_proto::seeding::placement::COPIES;
use zmesh_proto::seeding::{ChunkId, ChunkRef, Shelf};

use super::keeper::Keeper;
use super::publish::Givers;
use super::seeder::{KeepError, Kept};
use crate::{RelayId, clock};

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(1);

/// Chunks of one round: they share their circuits.
const ROUND: usize = 64;

/// How often a round of chunks that people ask for begins, and how many those are.
const SWEEP: Duration = Duration::from_secs(600);
const SWEPT: usize = 32;

/// What the relay sends of its own accord, in bytes per second, and at once.
const RATE: u64 = 1 << 20;
const BURST: u64 = 16 << 20;

/// Relays that a chunk is offered to at most.
const OFFERS: usize = 6;

/// How long an offer may take, the circuit with it: a relay that needs longer is of little use to readers, too.
const OFFER: Duration = Duration::from_secs(15);

/// How long a relay that did not answer an offer is left alone.
const REST: Duration = Duration::from_secs(900);

/// Runs for as long as the relay does.
pub(super) async fn run(keeper: Weak<Keeper>) {
    let mut pace = Pace::new(RATE, BURST);
    let mut resting = Resting::new(OFFER);
    let mut swept = clock::now();
    let mut after: Option<ChunkId> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(keeper) = keeper.upgrade() else { return };
        let now = clock::now();
        if now.saturating_duration_since(swept) >= SWEEP {
            swept = now;
            let store = Arc::clone(&keeper.store);
            let next = spawn_blocking(move || {
                store.expire();
                store.kept_after(after, SWEPT)
            });
            let next = next.await.unwrap_or_default();
            after = next.last().map(|chunk| chunk.id);
            next.into_iter().for_each(|chunk| keeper.pass_on(now, chunk));
        }
        let due = keeper.due(now, ROUND);
        if !due.is_empty() {
            round(&keeper, due, &mut pace, &mut resting).await;
        }
    }
}

/// What a relay said to an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Offered {
    /// It holds the chunk: it has taken it, or had it.
    Holds {
        /// It has taken it.
        fresh: bool,
    },
    /// It does not want it, or not now.
    Refused,
    /// It cannot be reached, or does not answer.
    Lost,
}

/// Relays that did not take what they were offered in time, and until when they are offered nothing: one that stalls must not
/// hold up what is for all others.
struct Resting {
    /// How long an offer may take.
    patience: Duration,
    until: HashMap<RelayId, Instant>,
}

impl Resting {
    fn new(patience: Duration) -> Self {
        Self { patience, until: HashMap::new() }
    }

    fn rests(&mut self, now: Instant, relay: &RelayId) -> bool {
        self.until.retain(|_, until| *until > now);
        self.until.contains_key(relay)
    }

    fn rest(&mut self, now: Instant, relay: RelayId) {
        self.until.insert(relay, now + REST);
    }
}

async fn round(keeper: &Arc<Keeper>, due: Vec<ChunkRef>, pace: &mut Pace, resting: &mut Resting) {
    let Some(origin) = keeper.origin() else { return };
    let givers = Givers::new(Arc::clone(&origin), keeper.way());
    for chunk in due {
        let Some(others) = keeper.others(&origin, &chunk) else { continue };
        let store = Arc::clone(&keeper.store);
        let Ok(Some(bytes)) = spawn_blocking(move || store.read(&chunk.id)).await else { continue };
        let fresh = spread(others, resting, pace, bytes.len(), |relay| offer(&givers, relay, chunk, &bytes)).await;
        keeper.reseeded.fetch_add(fresh, Ordering::Relaxed);
    }
}

/// Offers a chunk of so many bytes to `others`, best first, until enough hold it. Gives how many have taken it.
async fn spread<Offer: Future<Output = Offered>>(
    others: Vec<RelayId>,
    resting: &mut Resting,
    pace: &mut Pace,
    len: usize,
    offer: impl Fn(RelayId) -> Offer,
) -> u64 {
    let (mut holders, mut taken) = (1, 0);
    for relay in others.into_iter().take(OFFERS) {
        if holders >= COPIES {
            break;
        }
        if resting.rests(clock::now(), &relay) {
            continue;
        }
        while !pace.take(clock::now(), len as u64) {
            tokio::time::sleep(LOOK).await;
        }
        match timeout(resting.patience, offer(relay)).await.unwrap_or(Offered::Lost) {
            Offered::Holds { fresh } => {
                holders += 1;
                taken += u64::from(fresh);
            }
            Offered::Refused => {}
            Offered::Lost => resting.rest(clock::now(), relay),
        }
    }
    taken
}

async fn offer(givers: &Givers, relay: RelayId, chunk: ChunkRef, bytes: &[u8]) -> Offered {
    // One circuit to each relay: what it is offered tells that a relay offers it, whatever the circuit.
    let circuit = match givers.circuit(Shelf([0; 16]), relay).await {
        Ok(circuit) => circuit,
        Err(error) => {
            tracing::debug!(%error, "no circuit to another relay that keeps chunks");
            return Offered::Lost;
        }
    };
    match circuit.keep(chunk, bytes).await {
        Ok(Kept::Held) => Offered::Holds { fresh: false },
        Ok(Kept::Stored) => Offered::Holds { fresh: true },
        Err(KeepError::Lost) => {
            givers.forget(Shelf([0; 16]), relay);
            Offered::Lost
        }
        Err(_) => Offered::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A relay that takes offers and never answers ranks first for all of 64 chunks.
    #[tokio::test]
    async fn one_relay_that_stalls_holds_up_one_offer() {
        let relays: Vec<RelayId> = (0..6).map(|number| RelayId([number; 16])).collect();
        let (mut resting, mut pace) = (Resting::new(Duration::from_millis(10)), Pace::new(1 << 40, 1 << 40));
        let stalled = Cell::new(0);
        let offer = |relay: RelayId| {
            let stalls = relay == relays[0];
            stalled.set(stalled.get() + u32::from(stalls));
            async move {
                if stalls {
                    std::future::pending::<()>().await;
                }
                Offered::Holds { fresh: true }
            }
        };
        for _ in 0..ROUND {
            assert_eq!(spread(relays.clone(), &mut resting, &mut pace, 1024, offer).await, 3, "the next ones take it");
        }
        assert_eq!(stalled.get(), 1);
        let later = clock::now() + REST;
        assert!(!resting.rests(later, &relays[0]), "it may come to its senses");
    }
}

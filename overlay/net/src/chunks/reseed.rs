//! How a relay sees to it that enough others keep what it keeps.
//!
//! A chunk that somebody left is offered, a little later, to the relays that should keep it, until as many hold it as
//! should; most say that they do. What people ask for is offered again from time to time, so that copies that went with
//! their relays are made good by relays further down the ranking.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::spawn_blocking;
use zmesh_proto::seeding::cache::Pace;
use zmesh_proto::seeding::placement::COPIES;
use zmesh_proto::seeding::{ChunkId, ChunkRef, Shelf};

use super::keeper::Keeper;
use super::publish::Givers;
use super::seeder::{KeepError, Kept};
use crate::clock;

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

/// Runs for as long as the relay does.
pub(super) async fn run(keeper: Weak<Keeper>) {
    let mut pace = Pace::new(RATE, BURST);
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
            round(&keeper, due, &mut pace).await;
        }
    }
}

async fn round(keeper: &Arc<Keeper>, due: Vec<ChunkRef>, pace: &mut Pace) {
    let Some(origin) = keeper.origin() else { return };
    let givers = Givers::new(Arc::clone(&origin), keeper.way());
    for chunk in due {
        let Some(others) = keeper.others(&origin, &chunk) else { continue };
        let store = Arc::clone(&keeper.store);
        let Ok(Some(bytes)) = spawn_blocking(move || store.read(&chunk.id)).await else { continue };
        let mut holders = 1;
        for relay in others.into_iter().take(OFFERS) {
            if holders >= COPIES {
                break;
            }
            while !pace.take(clock::now(), bytes.len() as u64) {
                tokio::time::sleep(LOOK).await;
            }
            // One circuit to each relay: what it is offered tells that a relay offers it, whatever the circuit.
            let circuit = match givers.circuit(Shelf([0; 16]), relay).await {
                Ok(circuit) => circuit,
                Err(error) => {
                    tracing::debug!(%error, "no circuit to another relay that keeps chunks");
                    continue;
                }
            };
            match circuit.keep(chunk, &bytes).await {
                Ok(Kept::Held) => holders += 1,
                Ok(Kept::Stored) => {
                    holders += 1;
                    keeper.reseeded.fetch_add(1, Ordering::Relaxed);
                }
                Err(KeepError::Lost) => givers.forget(Shelf([0; 16]), relay),
                Err(_) => {}
            }
        }
    }
}

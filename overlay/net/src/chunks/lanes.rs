//! How many requests a relay works on at once: small ones have a lane of their own, so that none waits behind a bulk of
//! long ones.

use tokio::sync::{Semaphore, SemaphorePermit};
use zmesh_proto::seeding::Class;

/// Requests worked on at once in each lane. Each takes a thread for some milliseconds.
const LANE: usize = 2;

/// Requests that may wait for a turn in each lane.
const WAITING: usize = 256;

struct Lane {
    turns: Semaphore,
    places: Semaphore,
}

impl Lane {
    fn new() -> Self {
        Self { turns: Semaphore::new(LANE), places: Semaphore::new(LANE + WAITING) }
    }

    async fn turn(&self) -> Option<Turn<'_>> {
        let place = self.places.try_acquire().ok()?;
        let turn = self.turns.acquire().await.ok()?;
        Some(Turn { _turn: turn, _place: place })
    }
}

/// The two lanes.
pub(super) struct Lanes {
    small: Lane,
    bulk: Lane,
}

/// A request's turn, until it is dropped.
pub(super) struct Turn<'a> {
    _turn: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self { small: Lane::new(), bulk: Lane::new() }
    }

    /// Waits for a turn; `None` when too many wait.
    pub(super) async fn turn(&self, class: Class) -> Option<Turn<'_>> {
        if is_small(class) { self.small.turn().await } else { self.bulk.turn().await }
    }
}

/// Whether a chunk of this length goes ahead of others.
pub(crate) fn is_small(class: Class) -> bool {
    matches!(class, Class::Note | Class::Page)
}

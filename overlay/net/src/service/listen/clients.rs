//! The places of a service's clients: who is there, what was paid for it, and who has to go for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;
use zmesh_proto::service::places::Places;

use crate::clock;

struct Table {
    places: Places,
    lost: HashMap<u64, Arc<Notify>>,
}

/// See the head of this module.
pub(super) struct Clients(Mutex<Table>);

impl Clients {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Table { places: Places::new(most), lost: HashMap::new() })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client that did so much work would get a place.
    pub(super) fn has_room(&self, now: Instant, effort: u32) -> bool {
        self.table().places.has_room(now, effort)
    }

    /// A place for a client that did so much work; that of another one, if need be.
    pub(super) fn enter(self: &Arc<Self>, now: Instant, effort: u32) -> Option<Place> {
        let mut table = self.table();
        let (number, loser) = table.places.enter(now, effort)?;
        if let Some(loser) = loser.and_then(|loser| table.lost.remove(&loser)) {
            loser.notify_one();
        }
        let lost = Arc::new(Notify::new());
        table.lost.insert(number, Arc::clone(&lost));
        Some(Place { clients: Arc::clone(self), number, lost })
    }

    /// How many were met and are there.
    pub(super) fn met(&self) -> usize {
        self.table().places.clients()
    }
}

/// A client's place; dropping it leaves it.
pub(super) struct Place {
    clients: Arc<Clients>,
    number: u64,
    lost: Arc<Notify>,
}

impl Place {
    /// The client was met.
    pub(super) fn met(&self) {
        self.clients.table().places.met(self.number, clock::now());
    }

    /// The client moved something.
    pub(super) fn used(&self) {
        self.clients.table().places.used(self.number, clock::now());
    }

    /// Waits until the place goes to another client.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.clients.table();
        table.places.leave(self.number);
        table.lost.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_loses_its_place_hears_of_it_and_the_next_one_has_it() {
        let clients = Clients::new(1);
        let now = clock::now();
        let first = clients.enter(now, 0).expect("room");
        first.met();
        let later = clock::now() + Duration::from_secs(31);
        assert!(clients.enter(later, 0).is_none() && !clients.has_room(later, 0), "who pays no more waits");
        let second = clients.enter(later, 1).expect("another's place");
        first.lost().await;
        // The one that lost its place takes nothing with it when it goes.
        drop(first);
        assert!(!clients.has_room(later, 1) && clients.met() == 0);
        second.met();
        assert_eq!(clients.met(), 1);
        drop(second);
        assert!(clients.has_room(later, 0));
    }
}

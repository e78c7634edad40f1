//! Which sessions there are, on which circuits they began, and who leaves when others need the room.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;
use zmesh_proto::node::LocalId;

use crate::quic::local_address;

/// Sessions that began on one circuit: the second may come only while the first is on another circuit.
const PER_CIRCUIT: usize = 2;

/// The sessions of an exit. `C` is a connection.
pub(super) struct Sessions<C> {
    all: HashMap<u64, Entry<C>>,
    /// Those without a stream. Numbers rise, so the first is the oldest.
    idle: BTreeSet<u64>,
    by_circuit: HashMap<LocalId, Vec<u64>>,
    /// Sessions whose first circuit has gone: they are on another one, or wait for it.
    orphans: HashSet<u64>,
    /// Circuits that have closed since the last call of [`Sessions::take_closed`].
    closed: HashSet<SocketAddr>,
}

impl<C> Default for Sessions<C> {
    fn default() -> Self {
        Self {
            all: HashMap::new(),
            idle: BTreeSet::new(),
            by_circuit: HashMap::new(),
            orphans: HashSet::new(),
            closed: HashSet::new(),
        }
    }
}

/// One session.
pub(super) struct Entry<C> {
    pub(super) born_on: LocalId,
    /// Missing while QUIC shakes hands.
    pub(super) connection: Option<C>,
    /// Told when the session has lost its place.
    pub(super) evicted: Arc<Notify>,
    streams: usize,
}

impl<C: Clone> Sessions<C> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a new session may begin on this circuit, when there may be `max` in all. `at` tells where a connection
    /// is now.
    pub(super) fn has_room(&self, local: LocalId, max: usize, at: impl Fn(&C) -> SocketAddr) -> bool {
        let here = local_address(local);
        let born_here = self.by_circuit.get(&local).map(Vec::as_slice).unwrap_or_default();
        let moved = |number: &u64| {
            let connection = self.all.get(number).and_then(|entry| entry.connection.as_ref());
            connection.is_some_and(|connection| at(connection) != here)
        };
        (self.all.len() < max || !self.idle.is_empty()) && born_here.len() < PER_CIRCUIT && born_here.iter().all(moved)
    }

    /// Gives a new session its place. Where there are `max` already, the oldest one without a stream loses its own and
    /// comes back.
    pub(super) fn enter(
        &mut self,
        number: u64,
        born_on: LocalId,
        max: usize,
        evicted: Arc<Notify>,
    ) -> Option<Entry<C>> {
        let oldest = if self.all.len() < max { None } else { self.idle.first().copied() };
        let leaves = oldest.and_then(|oldest| self.remove(oldest));
        self.all.insert(number, Entry { born_on, connection: None, evicted, streams: 0 });
        self.idle.insert(number);
        self.by_circuit.entry(born_on).or_default().push(number);
        leaves
    }

    /// QUIC is up; false when the session has lost its place.
    pub(super) fn connected(&mut self, number: u64, connection: C) -> bool {
        self.all.get_mut(&number).map(|entry| entry.connection = Some(connection)).is_some()
    }

    /// A stream began. Returns how many of the session are open.
    pub(super) fn stream_began(&mut self, number: u64) -> usize {
        let Some(entry) = self.all.get_mut(&number) else {
            return 0;
        };
        entry.streams += 1;
        self.idle.remove(&number);
        entry.streams
    }

    pub(super) fn stream_ended(&mut self, number: u64) {
        if let Some(entry) = self.all.get_mut(&number) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0 {
                self.idle.insert(number);
            }
        }
    }

    /// Frees a session's place.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry<C>> {
        let entry = self.all.remove(&number)?;
        self.idle.remove(&number);
        self.orphans.remove(&number);
        if let Some(others) = self.by_circuit.get_mut(&entry.born_on) {
            others.retain(|other| *other != number);
            if others.is_empty() {
                self.by_circuit.remove(&entry.born_on);
            }
        }
        Some(entry)
    }

    /// Circuits have ended. Costs the same for each, however many sessions there are. Returns whether these are the
    /// first since [`Sessions::take_closed`] that may have left somebody behind.
    pub(super) fn circuits_closed(&mut self, locals: &[LocalId]) -> bool {
        let first = self.closed.is_empty();
        for local in locals {
            self.orphans.extend(self.by_circuit.remove(local).unwrap_or_default());
            // With no orphan, no session can be on a circuit that it did not begin on and that has ended.
            if !self.orphans.is_empty() {
                self.closed.insert(local_address(*local));
            }
        }
        first && !self.closed.is_empty()
    }

    /// The circuits that have ended since the last call.
    pub(super) fn take_closed(&mut self) -> HashSet<SocketAddr> {
        std::mem::take(&mut self.closed)
    }

    /// The connections that are still on one of these circuits, found in one walk.
    pub(super) fn stranded(&self, closed: &HashSet<SocketAddr>, at: impl Fn(&C) -> SocketAddr) -> Vec<C> {
        let connections = self.orphans.iter().filter_map(|number| self.all.get(number)?.connection.as_ref());
        connections.filter(|connection| closed.contains(&at(connection))).cloned().collect()
    }
}

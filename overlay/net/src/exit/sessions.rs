//! Which sessions there are, on which circuits they began, and who leaves when others need the room.
//!
//! That is one of the link over which most of them began: so who fills all places by a few links, whether with streams
//! or without, displaces itself (see [`zmesh_proto::crowd`]).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;
use zmesh_proto::crowd::{Crowd, Via};
use zmesh_proto::node::LocalId;

use crate::quic::local_address;

/// Sessions that began on one circuit: the second may come only while the first is on another circuit.
const PER_CIRCUIT: usize = 2;

/// The sessions of an exit. `C` is a connection.
pub(super) struct Sessions<C> {
    all: HashMap<u64, Entry<C>>,
    crowd: Crowd,
    by_link: HashMap<Via, OfLink>,
    by_circuit: HashMap<LocalId, Vec<u64>>,
    /// Sessions whose first circuit has gone: they are on another one, or wait for it.
    orphans: HashSet<u64>,
    /// Circuits that have closed since the last call of [`Sessions::take_closed`].
    closed: HashSet<SocketAddr>,
}

/// The sessions that began over one link. Numbers rise, so the first is the oldest.
#[derive(Default)]
struct OfLink {
    all: BTreeSet<u64>,
    /// Those without a stream.
    idle: BTreeSet<u64>,
}

/// One session.
pub(super) struct Entry<C> {
    pub(super) born_on: LocalId,
    via: Via,
    /// Missing while QUIC shakes hands.
    pub(super) connection: Option<C>,
    /// Told when the session has lost its place.
    pub(super) evicted: Arc<Notify>,
    streams: usize,
}

impl<C: Clone> Sessions<C> {
    /// Room for `max` sessions, of which `of_strangers` are the share of strangers.
    pub(super) fn new(max: usize, of_strangers: usize) -> Self {
        Self {
            all: HashMap::new(),
            crowd: Crowd::new(max, of_strangers),
            by_link: HashMap::new(),
            by_circuit: HashMap::new(),
            orphans: HashSet::new(),
            closed: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a new session may begin on this circuit, which came over this link. `at` tells where a connection is
    /// now.
    pub(super) fn has_room(&self, local: LocalId, via: Via, at: impl Fn(&C) -> SocketAddr) -> bool {
        let here = local_address(local);
        let born_here = self.by_circuit.get(&local).map(Vec::as_slice).unwrap_or_default();
        let moved = |number: &u64| {
            let connection = self.all.get(number).and_then(|entry| entry.connection.as_ref());
            connection.is_some_and(|connection| at(connection) != here)
        };
        (self.crowd.free() > 0 || self.leaving(via).is_some())
            && born_here.len() < PER_CIRCUIT
            && born_here.iter().all(moved)
    }

    /// Which session has to go for a new one over this link. Of the link that has most it is the oldest one without a
    /// stream, or the latest if every one has a stream. Where this link itself would have most, it is its own oldest
    /// one without a stream.
    fn leaving(&self, via: Via) -> Option<u64> {
        let Some(busiest) = self.crowd.gives_way(via) else {
            return self.by_link.get(&via)?.idle.first().copied();
        };
        let link = self.by_link.get(&busiest)?;
        link.idle.first().or(link.all.last()).copied()
    }

    /// Gives a new session its place. Where all are taken, another one loses its own and comes back.
    pub(super) fn enter(&mut self, number: u64, born_on: LocalId, via: Via, evicted: Arc<Notify>) -> Option<Entry<C>> {
        let leaving = if self.crowd.free() > 0 { None } else { self.leaving(via) };
        let leaves = leaving.and_then(|leaving| self.remove(leaving));
        self.all.insert(number, Entry { born_on, via, connection: None, evicted, streams: 0 });
        self.crowd.enter(via);
        let link = self.by_link.entry(via).or_default();
        link.all.insert(number);
        link.idle.insert(number);
        self.by_circuit.entry(born_on).or_default().push(number);
        leaves
    }

    /// QUIC is up; false when the session has lost its place.
    pub(super) fn connected(&mut self, number: u64, connection: C) -> bool {
        self.all.get_mut(&number).map(|entry| entry.connection = Some(connection)).is_some()
    }

    pub(super) fn stream_began(&mut self, number: u64) {
        if let Some(entry) = self.all.get_mut(&number) {
            entry.streams += 1;
            if let Some(link) = self.by_link.get_mut(&entry.via) {
                link.idle.remove(&number);
            }
        }
    }

    pub(super) fn stream_ended(&mut self, number: u64) {
        if let Some(entry) = self.all.get_mut(&number) {
            entry.streams = entry.streams.saturating_sub(1);
            if entry.streams == 0
                && let Some(link) = self.by_link.get_mut(&entry.via)
            {
                link.idle.insert(number);
            }
        }
    }

    /// Frees a session's place.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry<C>> {
        let entry = self.all.remove(&number)?;
        self.crowd.leave(entry.via);
        if let Some(link) = self.by_link.get_mut(&entry.via) {
            link.all.remove(&number);
            link.idle.remove(&number);
            if link.all.is_empty() {
                self.by_link.remove(&entry.via);
            }
        }
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

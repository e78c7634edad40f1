//! What carries datagrams between hosts: a pipe for each pair of hosts and direction, and pipes on the access of hosts that have any.

use std::collections::BTreeMap;
use std::time::Duration;

use zmesh_netem::{Arrivals, Conditions, Counters, Loss, Pipe, Timeline};

use super::HostId;

/// What a socket buffer counts for a datagram beside its bytes: the kernel's own bookkeeping.
pub const BUFFER_OVERHEAD: usize = 768;

/// One direction between two hosts that never changes: the short form of [`Conditions`] for tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path(Conditions);

impl Path {
    /// A path with this delay and nothing else.
    #[must_use]
    pub const fn delay(delay: Duration) -> Path {
        Path(Conditions::delay(delay))
    }

    /// The same path with up to this much more delay for each datagram by itself; so datagrams overtake each other.
    #[must_use]
    pub fn jitter(self, jitter: Duration) -> Path {
        Path(Conditions { delay: self.0.delay + jitter / 2, jitter: jitter / 2, in_order: false, ..self.0 })
    }

    /// The same path that loses this share of the datagrams, each by itself.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Path {
        Path(Conditions { loss: Loss::Independent(loss), ..self.0 })
    }

    /// The same path with a bottleneck of `rate` bytes a second and a queue of `queue` bytes.
    #[must_use]
    pub const fn bottleneck(self, rate: u64, queue: usize) -> Path {
        Path(Conditions { rate: Some(rate), queue, ..self.0 })
    }
}

impl From<Path> for Timeline {
    fn from(path: Path) -> Timeline {
        Timeline::constant(path.0)
    }
}

/// A stretch of the way of a datagram. It goes by the sender's access, the path between the two hosts, and the receiver's access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stretch {
    Up,
    Between,
    Down,
}

/// One pipe: on a stretch, of this host and, between hosts, to that one.
type Key = (Stretch, HostId, HostId);

/// Every pipe of the simulation.
pub(super) struct Wires {
    seed: u64,
    default: Timeline,
    paths: BTreeMap<(HostId, HostId), Timeline>,
    access: BTreeMap<HostId, (Timeline, Timeline)>,
    /// Made when first used.
    pipes: BTreeMap<Key, Pipe>,
}

impl Wires {
    pub(super) fn new(default: Timeline, seed: u64) -> Wires {
        Wires { seed, default, paths: BTreeMap::new(), access: BTreeMap::new(), pipes: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, from: HostId, to: HostId, path: Timeline) {
        self.change(&(Stretch::Between, from, to), &path);
        self.paths.insert((from, to), path);
    }

    pub(super) fn set_access(&mut self, host: HostId, up: Timeline, down: Timeline) {
        self.change(&(Stretch::Up, host, host), &up);
        self.change(&(Stretch::Down, host, host), &down);
        self.access.insert(host, (up, down));
    }

    /// What is on its way and in the queue stays there.
    fn change(&mut self, key: &Key, timeline: &Timeline) {
        if let Some(pipe) = self.pipes.get_mut(key) {
            pipe.change(timeline.clone());
        }
    }

    /// Datagrams that did not arrive, for whatever reason.
    pub(super) fn drops(&self) -> u64 {
        self.pipes.values().map(|pipe| pipe.counters().sent - pipe.counters().delivered()).sum()
    }

    /// What the access of a host did to datagrams: to those that it sent, and to those for it.
    pub(super) fn access(&self, host: HostId) -> (Counters, Counters) {
        let counters = |stretch| self.pipes.get(&(stretch, host, host)).map(Pipe::counters).unwrap_or_default();
        (counters(Stretch::Up), counters(Stretch::Down))
    }

    /// What the path from one host to another did to datagrams.
    pub(super) fn between(&self, from: HostId, to: HostId) -> Counters {
        self.pipes.get(&(Stretch::Between, from, to)).map(Pipe::counters).unwrap_or_default()
    }

    /// The stretch by which a datagram leaves a host.
    pub(super) fn first(&self, from: HostId) -> Stretch {
        if self.access.contains_key(&from) { Stretch::Up } else { Stretch::Between }
    }

    /// The stretch after this one; `None`: it has arrived.
    pub(super) fn after(&self, stretch: Stretch, to: HostId) -> Option<Stretch> {
        match stretch {
            Stretch::Up => Some(Stretch::Between),
            Stretch::Between => self.access.contains_key(&to).then_some(Stretch::Down),
            Stretch::Down => None,
        }
    }

    /// When a datagram that enters a stretch at `now` (nanoseconds since the start) is at its end.
    pub(super) fn carry(&mut self, stretch: Stretch, from: HostId, to: HostId, now: u64, length: usize) -> Arrivals {
        let key = match stretch {
            Stretch::Up => (stretch, from, from),
            Stretch::Between => (stretch, from, to),
            Stretch::Down => (stretch, to, to),
        };
        let (access, paths, default, seed) = (&self.access, &self.paths, &self.default, self.seed);
        let pipe = self.pipes.entry(key).or_insert_with(|| {
            let timeline = match stretch {
                Stretch::Up => access.get(&from).map(|(up, _)| up),
                Stretch::Between => paths.get(&(from, to)),
                Stretch::Down => access.get(&to).map(|(_, down)| down),
            };
            Pipe::new(timeline.unwrap_or(default).clone(), seed_of(seed, key))
        });
        pipe.send(Duration::from_nanos(now), length)
    }
}

/// A seed of its own for every pipe, whatever the order in which they are first used.
fn seed_of(seed: u64, (stretch, from, to): Key) -> u64 {
    [stretch as u64, from.0 as u64, to.0 as u64].into_iter().fold(seed, |state, word| {
        // One round of SplitMix64 (Steele, Lea, Flood 2014) per word.
        let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

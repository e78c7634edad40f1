//! What a node keeps for each of its links: circuit numbers, the fair queue, and who waits for the link to come up.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::budget::RateLimit;
use super::queue::{CodelConfig, FairQueue, FlowId, PushDrops, QueueBounds};
use crate::link::{LinkId, Links};
use crate::node::{Metrics, QueueConfig, RelayConfig};
use crate::wire::cell::{BODY_LEN, Cell};

/// One link drains so many datagrams before the next one's turn, so that runs of equal datagrams stay together.
const BURST: usize = 32;
/// Bytes that a waiting cell takes up.
const QUEUED_LEN: usize = size_of::<Cell>() + 16;
/// Set in circuit numbers that the link's initiator allocates.
const INITIATOR_BIT: u32 = 1 << 31;

/// A keyed hash: SipHash after a secret prefix. Seeded, so a run repeats; keyed, so nobody can aim at one bucket.
#[derive(Clone, Debug)]
pub(crate) struct KeyedHash(DefaultHasher);

impl KeyedHash {
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(rng.next_u64());
        hasher.write_u64(rng.next_u64());
        Self(hasher)
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

/// Where cells of one circuit leave on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) link: LinkId,
    pub(crate) circuit: u32,
    slot: u32,
    flow: FlowId,
}

/// All links of a node, as the layers above them see them.
#[derive(Debug)]
pub(crate) struct Neighbours<O> {
    slots: Vec<Option<Neighbour<O>>>,
    free: Vec<u32>,
    by_link: HashMap<LinkId, u32, KeyedHash>,
    active: VecDeque<u32>,
    cells: usize,
    node_bound: usize,
    bounds: QueueBounds,
    codel: CodelConfig,
    /// The cells of the datagram that is being made.
    leaving: Box<[Cell; 2]>,
}

#[derive(Debug)]
struct Neighbour<O> {
    link: LinkId,
    up: bool,
    initiator: bool,
    next_number: u32,
    /// Circuits that the peer has opened on this link.
    opened_by_peer: usize,
    queue: FairQueue<Cell>,
    listed: bool,
    /// Circuits whose set-up goes out when the link is up.
    waiting: Vec<O>,
    unknown_answered: Option<Instant>,
    setups: Option<RateLimit>,
}

impl<O> Neighbours<O> {
    pub(crate) fn new(config: &QueueConfig, rng: &mut impl Rng) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_link: HashMap::with_hasher(KeyedHash::new(rng)),
            active: VecDeque::new(),
            cells: 0,
            node_bound: config.node_bytes / QUEUED_LEN,
            bounds: QueueBounds { circuit: config.circuit_bytes / QUEUED_LEN, link: config.link_bytes / QUEUED_LEN },
            codel: config.codel,
            leaving: Box::new([Cell { circuit: 0, number: 0, body: [0; BODY_LEN] }; 2]),
        }
    }

    /// A link of which this node has heard: opened here, or up.
    pub(crate) fn add(&mut self, link: LinkId, rng: &mut impl Rng) {
        if self.by_link.contains_key(&link) {
            return;
        }
        let neighbour = Neighbour {
            link,
            up: false,
            initiator: true,
            next_number: rng.next_u32() & !INITIATOR_BIT,
            opened_by_peer: 0,
            queue: FairQueue::new(self.bounds, self.codel),
            listed: false,
            waiting: Vec::new(),
            unknown_answered: None,
            setups: None,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("the number of links is bounded far below 2^32")
        });
        self.slots[slot as usize] = Some(neighbour);
        self.by_link.insert(link, slot);
    }

    /// The link carries cells; returns who has waited for that.
    pub(crate) fn up(&mut self, link: LinkId, initiator: bool, rng: &mut impl Rng) -> Vec<O> {
        self.add(link, rng);
        let Some(neighbour) = self.of_link_mut(link) else {
            return Vec::new();
        };
        neighbour.up = true;
        neighbour.initiator = initiator;
        std::mem::take(&mut neighbour.waiting)
    }

    /// The link is gone. Its circuits must have been detached before; returns who has waited for the link.
    pub(crate) fn remove(&mut self, link: LinkId) -> Vec<O> {
        let Some(slot) = self.by_link.remove(&link) else {
            return Vec::new();
        };
        let Some(neighbour) = self.slots[slot as usize].take() else {
            return Vec::new();
        };
        self.cells -= neighbour.queue.len();
        self.active.retain(|active| *active != slot);
        self.free.push(slot);
        neighbour.waiting
    }

    pub(crate) fn is_up(&self, link: LinkId) -> bool {
        self.of_link(link).is_some_and(|neighbour| neighbour.up)
    }

    pub(crate) fn links_up(&self) -> usize {
        self.slots.iter().flatten().filter(|neighbour| neighbour.up).count()
    }

    /// Lets `owner` know when the link is up, or lost.
    pub(crate) fn wait_for(&mut self, link: LinkId, owner: O) {
        if let Some(neighbour) = self.of_link_mut(link) {
            neighbour.waiting.push(owner);
        }
    }

    /// Whether the peer may open a circuit with this number: it carries the peer's mark, and the peer has not opened too
    /// many or too fast.
    pub(crate) fn peer_may_open(
        &mut self,
        now: Instant,
        link: LinkId,
        circuit: u32,
        config: &RelayConfig,
    ) -> PeerOpens {
        let Some(neighbour) = self.of_link_mut(link).filter(|neighbour| neighbour.up) else {
            return PeerOpens::WrongNumber;
        };
        let burst = config.setups_per_second;
        let rate = neighbour.setups.get_or_insert_with(|| RateLimit::new(burst, now));
        if (circuit & INITIATOR_BIT != 0) == neighbour.initiator {
            PeerOpens::WrongNumber
        } else if neighbour.opened_by_peer >= config.max_circuits_per_link {
            PeerOpens::TooMany
        } else if rate.take(now, config.setups_per_second, burst) {
            PeerOpens::Yes
        } else {
            PeerOpens::TooFast
        }
    }

    /// The link whose peer has opened the most circuits.
    pub(crate) fn busiest_opener(&self) -> Option<LinkId> {
        let busiest = self.slots.iter().flatten().max_by_key(|neighbour| neighbour.opened_by_peer)?;
        Some(busiest.link)
    }

    /// The next circuit number that this node may allocate on the link; the caller skips those in use.
    pub(crate) fn next_number(&mut self, link: LinkId) -> Option<u32> {
        let neighbour = self.of_link_mut(link).filter(|neighbour| neighbour.up)?;
        let number = neighbour.next_number;
        neighbour.next_number = (number + 1) & !INITIATOR_BIT;
        Some(if neighbour.initiator { number | INITIATOR_BIT } else { number })
    }

    /// Gives a circuit its place in the link's queue.
    pub(crate) fn attach(&mut self, link: LinkId, circuit: u32) -> Option<End> {
        let slot = *self.by_link.get(&link)?;
        let neighbour = self.slots[slot as usize].as_mut()?;
        if (circuit & INITIATOR_BIT != 0) != neighbour.initiator {
            neighbour.opened_by_peer += 1;
        }
        Some(End { link, circuit, slot, flow: neighbour.queue.add_flow() })
    }

    /// Takes the place back; says how many cells were lost with it.
    pub(crate) fn detach(&mut self, end: End) -> usize {
        let Some(neighbour) = self.slots[end.slot as usize].as_mut().filter(|neighbour| neighbour.link == end.link)
        else {
            return 0;
        };
        if (end.circuit & INITIATOR_BIT != 0) != neighbour.initiator {
            neighbour.opened_by_peer = neighbour.opened_by_peer.saturating_sub(1);
        }
        let lost = neighbour.queue.remove_flow(end.flow);
        self.cells -= lost;
        lost
    }

    /// Queues a cell, with the circuit number of `end`. Drops the oldest of the fattest over a bound.
    pub(crate) fn push(&mut self, now: Instant, end: End, cell: &Cell, metrics: &mut Metrics) {
        let Some(neighbour) = self.slots[end.slot as usize].as_mut().filter(|neighbour| neighbour.link == end.link)
        else {
            return;
        };
        if !neighbour.listed {
            neighbour.listed = true;
            self.active.push_back(end.slot);
        }
        let PushDrops { circuit, link } = neighbour.queue.push(end.flow, now, Cell { circuit: end.circuit, ..*cell });
        self.cells += 1;
        if circuit + link > 0 {
            self.cells -= circuit + link;
            metrics.drops.circuit_bound += circuit as u64;
            metrics.drops.link_bound += link as u64;
        }
        if self.cells > self.node_bound {
            metrics.drops.node_bound += self.drop_fattest() as u64;
        }
    }

    /// Drops from the fattest circuit of the link with the most cells.
    fn drop_fattest(&mut self) -> usize {
        let Some(neighbour) = self.slots.iter_mut().flatten().max_by_key(|neighbour| neighbour.queue.len()) else {
            return 0;
        };
        let dropped = neighbour.queue.drop_fattest();
        self.cells -= dropped;
        dropped
    }

    /// Lets cells go, links in turn, two in a datagram where two wait, while the links take them. At most `most`
    /// datagrams; returns whether that was too few.
    pub(crate) fn flush(&mut self, now: Instant, links: &mut Links, metrics: &mut Metrics, mut most: usize) -> bool {
        let mut visits = self.active.len();
        while visits > 0 {
            visits -= 1;
            let Some(slot) = self.active.pop_front() else {
                break;
            };
            let Some(neighbour) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            let before = neighbour.queue.len();
            let mut burst = BURST.min(most);
            while burst > 0 && links.can_send(now, neighbour.link) {
                let [first, second] = &mut *self.leaving;
                let Some(popped) = neighbour.queue.pop(now, &mut metrics.drops.codel, first) else {
                    break;
                };
                metrics.queue.note(popped.waited);
                let pair = neighbour.queue.pop(now, &mut metrics.drops.codel, second);
                if let Some(popped) = pair {
                    metrics.queue.note(popped.waited);
                }
                metrics.cells_sent += 1 + u64::from(pair.is_some());
                links.send_cells(now, neighbour.link, first, pair.map(|_| &*second));
                burst -= 1;
                most -= 1;
            }
            self.cells -= before - neighbour.queue.len();
            if neighbour.queue.is_empty() {
                neighbour.listed = false;
                continue;
            }
            self.active.push_back(slot);
            if most == 0 {
                return true;
            }
            if burst == 0 {
                visits += 1;
            }
        }
        false
    }

    /// Gives back the memory of circuits that have been quiet.
    pub(crate) fn shrink(&mut self, now: Instant, quiet: Duration) {
        for neighbour in self.slots.iter_mut().flatten() {
            neighbour.queue.shrink(now, quiet);
        }
    }

    /// Whether to tell the peer now that it uses a circuit that does not exist; at most ten times in a second.
    pub(crate) fn may_answer_unknown(&mut self, now: Instant, link: LinkId) -> bool {
        let Some(neighbour) = self.of_link_mut(link) else {
            return false;
        };
        let recent =
            neighbour.unknown_answered.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_millis(100));
        if !recent {
            neighbour.unknown_answered = Some(now);
        }
        !recent
    }

    pub(crate) const fn cells(&self) -> usize {
        self.cells
    }

    pub(crate) fn memory(&self) -> usize {
        self.slots.iter().flatten().map(|neighbour| neighbour.queue.memory()).sum()
    }

    fn of_link(&self, link: LinkId) -> Option<&Neighbour<O>> {
        self.slots[*self.by_link.get(&link)? as usize].as_ref()
    }

    fn of_link_mut(&mut self, link: LinkId) -> Option<&mut Neighbour<O>> {
        self.slots[*self.by_link.get(&link)? as usize].as_mut()
    }
}

/// Whether a peer may open a circuit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PeerOpens {
    Yes,
    WrongNumber,
    TooMany,
    TooFast,
}

#[cfg(test)]
impl<O> Neighbours<O> {
    /// Shows every waiting cell to a test.
    pub(crate) fn waiting_cells(&mut self, mut see: impl FnMut(&mut Cell)) {
        for neighbour in self.slots.iter_mut().flatten() {
            neighbour.queue.waiting_cells(&mut see);
        }
    }
}

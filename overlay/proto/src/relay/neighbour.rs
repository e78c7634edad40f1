//! What a node keeps for each of its links: its class, circuit numbers, the fair queue, DESTROYs that found no room, and
//! who waits for the link to come up.

mod queues;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use rand_core::Rng;

use super::budget::RateLimit;
use super::queue::{CodelConfig, FairQueue, FlowId, QueueBounds};
pub(crate) use crate::crowd::{Class, PerClass};
use crate::link::{Control, LinkId, LinkPeerInfo, Links};
use crate::node::{QueueConfig, RelayConfig};
use crate::wire::cell::{BODY_LEN, Cell};

/// Links whose outstanding DESTROYs are looked at in one flush.
const OWING_VISITS: usize = 64;
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
    /// Links with cells.
    active: VecDeque<u32>,
    /// Links with cells that have sent none in time for a while.
    stalled: VecDeque<u32>,
    /// The cells of those.
    stalled_cells: usize,
    /// The link with the most cells, as far as is known.
    fullest: u32,
    /// Where to look for a fuller one.
    sampled: usize,
    /// Links with DESTROYs that found no room.
    owing: VecDeque<u32>,
    /// Links by class and by how many circuits their peer has opened, and the sum of those circuits.
    openers: PerClass<BTreeSet<(usize, u32)>>,
    opened: PerClass<usize>,
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
    /// Who the peer is, as far as it has shown.
    info: Option<LinkPeerInfo>,
    class: Class,
    next_number: u32,
    /// Circuits that use the link, whoever opened them.
    circuits: usize,
    /// Circuits that the peer has opened on this link.
    opened_by_peer: usize,
    queue: FairQueue<Cell>,
    /// Whose circuit each flow of the queue belongs to.
    owners: Vec<Option<O>>,
    /// DESTROYs that found no room among the link's control frames.
    destroys: VecDeque<(u32, u8)>,
    listed: bool,
    stalled: bool,
    /// When a cell last left in time, or the first of those that wait came.
    moved: Option<Instant>,
    /// When old cells were last sought here.
    looked: Option<Instant>,
    /// Circuits whose set-up goes out when the link is up.
    waiting: Vec<O>,
    turned_down: Option<Instant>,
    setups: Option<RateLimit>,
}

impl<O: Copy> Neighbours<O> {
    pub(crate) fn new(config: &QueueConfig, rng: &mut impl Rng) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_link: HashMap::with_hasher(KeyedHash::new(rng)),
            active: VecDeque::new(),
            stalled: VecDeque::new(),
            stalled_cells: 0,
            fullest: 0,
            sampled: 0,
            owing: VecDeque::new(),
            openers: PerClass::default(),
            opened: PerClass::default(),
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
            info: None,
            class: Class::Stranger,
            next_number: rng.next_u32() & !INITIATOR_BIT,
            circuits: 0,
            opened_by_peer: 0,
            queue: FairQueue::new(self.bounds, self.codel),
            owners: Vec::new(),
            destroys: VecDeque::new(),
            listed: false,
            stalled: false,
            moved: None,
            looked: None,
            waiting: Vec::new(),
            turned_down: None,
            setups: None,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("the number of links is bounded far below 2^32")
        });
        self.slots[slot as usize] = Some(neighbour);
        self.openers.of_mut(Class::Stranger).insert((0, slot));
        self.by_link.insert(link, slot);
    }

    /// The link carries cells; returns who has waited for that.
    pub(crate) fn up(&mut self, link: LinkId, info: LinkPeerInfo, class: Class, rng: &mut impl Rng) -> Vec<O> {
        self.add(link, rng);
        let Some(slot) = self.by_link.get(&link).copied() else {
            return Vec::new();
        };
        self.set_class(slot, class);
        let Some(neighbour) = self.slots[slot as usize].as_mut() else {
            return Vec::new();
        };
        neighbour.up = true;
        neighbour.initiator = info.initiator;
        neighbour.info = Some(info);
        std::mem::take(&mut neighbour.waiting)
    }

    /// The network document has changed: `class` judges every link anew.
    pub(crate) fn classify(&mut self, mut class: impl FnMut(LinkId, &LinkPeerInfo) -> Class) {
        for slot in 0..self.slots.len() {
            let peer = self.slots[slot].as_ref().and_then(|neighbour| Some((neighbour.link, neighbour.info?)));
            if let (Some((link, info)), Ok(slot)) = (peer, u32::try_from(slot)) {
                self.set_class(slot, class(link, &info));
            }
        }
    }

    fn set_class(&mut self, slot: u32, class: Class) {
        let Some(neighbour) = self.slots[slot as usize].as_mut() else {
            return;
        };
        let old = std::mem::replace(&mut neighbour.class, class);
        let opened = neighbour.opened_by_peer;
        self.openers.of_mut(old).remove(&(opened, slot));
        *self.opened.of_mut(old) -= opened;
        self.openers.of_mut(class).insert((opened, slot));
        *self.opened.of_mut(class) += opened;
    }

    pub(crate) fn class(&self, link: LinkId) -> Class {
        self.of_link(link).map_or(Class::Stranger, |neighbour| neighbour.class)
    }

    /// The link is gone. Its circuits must have been detached before.
    pub(crate) fn remove(&mut self, link: LinkId) {
        let Some(slot) = self.by_link.remove(&link) else {
            return;
        };
        let Some(neighbour) = self.slots[slot as usize].take() else {
            return;
        };
        self.openers.of_mut(neighbour.class).remove(&(neighbour.opened_by_peer, slot));
        *self.opened.of_mut(neighbour.class) -= neighbour.opened_by_peer;
        self.count_cells(neighbour.stalled, neighbour.queue.len(), 0);
        self.active.retain(|active| *active != slot);
        self.stalled.retain(|stalled| *stalled != slot);
        self.owing.retain(|owing| *owing != slot);
        self.free.push(slot);
    }

    /// Whose circuits use the link, and who waits for it: each at least once.
    pub(crate) fn users(&self, link: LinkId) -> Vec<O> {
        self.of_link(link).map_or_else(Vec::new, |neighbour| {
            neighbour.owners.iter().flatten().chain(&neighbour.waiting).copied().collect()
        })
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
        } else if neighbour.opened_by_peer + neighbour.destroys.len() >= config.circuits_per_link(neighbour.class) {
            PeerOpens::TooMany
        } else if rate.take(now, config.setups_per_second, burst) {
            PeerOpens::Yes
        } else {
            PeerOpens::TooFast
        }
    }

    /// Circuits that the peers of one class have opened.
    pub(crate) const fn opened(&self, class: Class) -> usize {
        *self.opened.of(class)
    }

    /// How many links of one class there are.
    pub(crate) fn links_of(&self, class: Class) -> usize {
        self.openers.of(class).len()
    }

    /// The link of this class whose peer has opened the most circuits, and how many.
    pub(crate) fn busiest_opener(&self, class: Class) -> Option<(LinkId, usize)> {
        let (opened, slot) = *self.openers.of(class).last()?;
        Some((self.slots[slot as usize].as_ref()?.link, opened))
    }

    /// The owners of at most `most` circuits on the link, from the `start`th on.
    pub(crate) fn some_owners(&self, link: LinkId, start: usize, most: usize) -> impl Iterator<Item = O> {
        let owners = self.of_link(link).map_or(&[][..], |neighbour| &neighbour.owners);
        let (after, first) = owners.split_at(start % owners.len().max(1));
        first.iter().chain(after).flatten().copied().take(most)
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
        let flow = neighbour.queue.add_flow();
        neighbour.circuits += 1;
        if (circuit & INITIATOR_BIT != 0) != neighbour.initiator {
            self.count_opened(slot, 1);
        }
        Some(End { link, circuit, slot, flow })
    }

    /// Notes whose circuit has this place.
    pub(crate) fn set_owner(&mut self, end: End, owner: O) {
        if let Some(neighbour) = self.of_end_mut(end) {
            let index = end.flow.index();
            if neighbour.owners.len() <= index {
                neighbour.owners.resize(index + 1, None);
            }
            neighbour.owners[index] = Some(owner);
        }
    }

    /// Takes the place back; says how many cells were lost with it.
    pub(crate) fn detach(&mut self, end: End) -> usize {
        let Some(neighbour) = self.of_end_mut(end) else {
            return 0;
        };
        if let Some(owner) = neighbour.owners.get_mut(end.flow.index()) {
            *owner = None;
        }
        let lost = neighbour.queue.remove_flow(end.flow);
        neighbour.circuits = neighbour.circuits.saturating_sub(1);
        let by_peer = (end.circuit & INITIATOR_BIT != 0) != neighbour.initiator;
        let stalled = neighbour.stalled;
        self.count_cells(stalled, lost, 0);
        if by_peer {
            self.count_opened(end.slot, -1);
        }
        lost
    }

    fn count_opened(&mut self, slot: u32, change: isize) {
        let Some(neighbour) = self.slots[slot as usize].as_mut() else {
            return;
        };
        let before = neighbour.opened_by_peer;
        let after = before.saturating_add_signed(change);
        neighbour.opened_by_peer = after;
        let openers = self.openers.of_mut(neighbour.class);
        openers.remove(&(before, slot));
        openers.insert((after, slot));
        let opened = self.opened.of_mut(neighbour.class);
        *opened = *opened - before + after;
    }

    /// Tells the peer that a circuit has ended. What finds no room among the link's control frames waits until there is
    /// some: a circuit that lived on at the peer would take up its room there for long.
    pub(crate) fn destroy(&mut self, now: Instant, links: &mut Links, end: End, reason: u8) {
        let Some(neighbour) = self.of_end_mut(end) else {
            return;
        };
        let frame = Control::Destroy { circuit: end.circuit, reason };
        if neighbour.destroys.is_empty() && links.send_control(now, end.link, frame).is_ok() {
            return;
        }
        let first = neighbour.destroys.is_empty();
        neighbour.destroys.push_back((end.circuit, reason));
        if first {
            self.owing.push_back(end.slot);
        }
    }

    /// Whether DESTROYs wait for room on this link. Until they have left, no new circuit may begin there, so that their
    /// number stays below that of the circuits.
    pub(crate) fn owes(&self, link: LinkId) -> bool {
        self.of_link(link).is_some_and(|neighbour| !neighbour.destroys.is_empty())
    }

    /// Sends the DESTROYs for which there is room now.
    pub(crate) fn send_destroys(&mut self, now: Instant, links: &mut Links) {
        for _ in 0..self.owing.len().min(OWING_VISITS) {
            let Some(slot) = self.owing.pop_front() else {
                return;
            };
            let Some(neighbour) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            while let Some((circuit, reason)) = neighbour.destroys.front().copied() {
                if links.send_control(now, neighbour.link, Control::Destroy { circuit, reason }).is_err() {
                    self.owing.push_back(slot);
                    break;
                }
                neighbour.destroys.pop_front();
            }
        }
    }

    /// Whether to tell the peer now that a circuit is refused or does not exist; at most ten times in a second.
    pub(crate) fn may_turn_down(&mut self, now: Instant, link: LinkId) -> bool {
        let Some(neighbour) = self.of_link_mut(link) else {
            return false;
        };
        let recent =
            neighbour.turned_down.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_millis(100));
        if !recent {
            neighbour.turned_down = Some(now);
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

    fn of_end_mut(&mut self, end: End) -> Option<&mut Neighbour<O>> {
        self.slots[end.slot as usize].as_mut().filter(|neighbour| neighbour.link == end.link)
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

//! Fair queueing over circuits: FQ-CoDel (RFC 8290) for one outgoing link.
//!
//! Each circuit is a flow of its own, so there is no hashing into buckets and no collision. A flow that has just become
//! active goes to the list of new flows, which is served first; a flow that used up its quantum (one cell) goes to the
//! end of the old list. So a call, which rarely has two cells waiting, passes a saturating download without any mark
//! on its cells. CoDel runs inside each flow. Everything is bounded in cells per circuit and per link; over a bound
//! the oldest cell goes, of the flow itself or of the fattest one. Nothing blocks.

mod codel;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use codel::CodelConfig;
use codel::{Codel, Verdict};

/// A flow keeps room for this many cells while it is in use, so that steady traffic never allocates.
const KEEP_CELLS: usize = 4;
/// Between two calls of [`FairQueue::shrink`] a flow keeps room for this many cells, or for four times those that wait.
/// Bounds count cells that wait; room without cells must not grow past them.
const SPARE_CELLS: usize = 64;
/// A fattest flow loses at most this many cells at once, which spreads the cost of finding it.
const FAT_BATCH: usize = 64;
/// Flows among which the fattest is sought.
const FAT_SAMPLE: usize = 64;
/// A flow is slow while it gets at most so many cells in one to two of these spans: 80 in a second, a call has 50. A
/// download that finds the queue empty is served from the list of new flows as well, but it is not slow.
const SLOW_CELLS: u16 = 16;
const SLOW_SPAN: Duration = Duration::from_millis(100);

/// One flow's index in its [`FairQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(u32);

impl FlowId {
    /// A small number that no other flow of the queue has at the same time.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bounds of a [`FairQueue`], in cells.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Most cells that one circuit may have waiting.
    pub circuit: usize,
    /// Most cells that may wait for one link.
    pub link: usize,
}

/// Cells that a push threw away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushDrops {
    /// The flow's own oldest cells, because it was over the bound of a circuit.
    pub circuit: usize,
    /// Cells of the fattest flow, because the link was over its bound.
    pub link: usize,
}

/// How a cell left the queue.
#[derive(Clone, Copy, Debug)]
pub struct Popped {
    /// Whether its flow is sparse: served from the list of new flows, and slow for a while. Links protect such cells.
    pub sparse: bool,
    /// How long it waited.
    pub waited: Duration,
}

#[derive(Debug)]
struct Waiting<C> {
    cell: C,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Idle,
    New,
    Old,
    /// Removed by its circuit while a list still names it.
    Leaving,
    Free,
}

#[derive(Debug)]
struct Flow<C> {
    cells: VecDeque<Waiting<C>>,
    place: Place,
    deficit: u32,
    codel: Codel,
    /// The most cells that waited since the last [`FairQueue::shrink`].
    most: usize,
    /// When the present span of counting began, and the cells in it and in the one before.
    span: Option<Instant>,
    counts: [u16; 2],
}

/// The cells that wait for one link, fairly by circuit.
#[derive(Debug)]
pub struct FairQueue<C> {
    bounds: QueueBounds,
    codel: CodelConfig,
    flows: Vec<Flow<C>>,
    free: Vec<u32>,
    new: VecDeque<u32>,
    old: VecDeque<u32>,
    cells: usize,
    /// The fattest flow, as far as is known.
    fattest: u32,
    /// Where to look for a fatter one.
    sampled: usize,
    /// Flows that were removed while a list names them.
    leaving: usize,
}

impl<C: Copy> FairQueue<C> {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: QueueBounds, codel: CodelConfig) -> Self {
        Self {
            bounds,
            codel,
            flows: Vec::new(),
            free: Vec::new(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            cells: 0,
            fattest: 0,
            sampled: 0,
            leaving: 0,
        }
    }

    /// A new flow for one circuit. It lives until [`Self::remove_flow`].
    pub fn add_flow(&mut self) -> FlowId {
        let flow = Flow {
            cells: VecDeque::new(),
            place: Place::Idle,
            deficit: 0,
            codel: Codel::default(),
            most: 0,
            span: None,
            counts: [0; 2],
        };
        if let Some(index) = self.free.pop() {
            self.flows[index as usize] = flow;
            return FlowId(index);
        }
        let index = u32::try_from(self.flows.len()).expect("the number of circuits is bounded far below 2^32");
        self.flows.push(flow);
        FlowId(index)
    }

    /// Ends a flow and throws its cells away; says how many.
    pub fn remove_flow(&mut self, id: FlowId) -> usize {
        let flow = &mut self.flows[id.0 as usize];
        let lost = flow.cells.len();
        flow.cells = VecDeque::new();
        self.cells -= lost;
        match flow.place {
            Place::New | Place::Old => {
                flow.place = Place::Leaving;
                self.leaving += 1;
                self.unlist_leaving();
            }
            Place::Idle => {
                flow.place = Place::Free;
                self.free.push(id.0);
            }
            Place::Leaving | Place::Free => {}
        }
        lost
    }

    /// Appends a cell, then drops from the head of this flow or of the fattest one while a bound is exceeded.
    pub fn push(&mut self, id: FlowId, now: Instant, cell: C) -> PushDrops {
        let mut drops = PushDrops::default();
        let flow = &mut self.flows[id.0 as usize];
        debug_assert!(!matches!(flow.place, Place::Leaving | Place::Free), "a cell for a flow that was removed");
        if flow.cells.len() >= self.bounds.circuit {
            flow.cells.pop_front();
            self.cells -= 1;
            drops.circuit = 1;
        }
        flow.cells.push_back(Waiting { cell, since: now });
        flow.count(now);
        self.cells += 1;
        let len = flow.cells.len();
        flow.most = flow.most.max(len);
        if flow.place == Place::Idle {
            flow.place = Place::New;
            flow.deficit = 1;
            self.new.push_back(id.0);
        }
        if self.flows[self.fattest as usize].cells.len() < len {
            self.fattest = id.0;
        }
        if self.cells > self.bounds.link {
            drops.link = self.drop_fattest();
        }
        drops
    }

    /// Moves the next cell to `out`; adds to `codel_drops` what CoDel threw away on the way.
    pub fn pop(&mut self, now: Instant, codel_drops: &mut u64, out: &mut C) -> Option<Popped> {
        loop {
            let (index, sparse) = match (self.new.front(), self.old.front()) {
                (Some(index), _) => (*index, true),
                (None, Some(index)) => (*index, false),
                (None, None) => return None,
            };
            let flow = &mut self.flows[index as usize];
            if flow.place == Place::Leaving {
                flow.place = Place::Free;
                self.leaving -= 1;
                self.free.push(index);
                self.unlist(sparse);
                continue;
            }
            if flow.deficit == 0 {
                flow.deficit = 1;
                flow.place = Place::Old;
                self.unlist(sparse);
                self.old.push_back(index);
                continue;
            }
            if let Some(waited) = flow.take(&self.codel, now, &mut self.cells, codel_drops, out) {
                flow.deficit -= 1;
                return Some(Popped { sparse: sparse && flow.is_slow(), waited });
            }
            // An empty new flow goes through the old list once, so that it cannot jump the queue again and again.
            self.unlist(sparse);
            if sparse && !self.old.is_empty() {
                self.flows[index as usize].place = Place::Old;
                self.old.push_back(index);
            } else {
                self.flows[index as usize].place = Place::Idle;
            }
        }
    }

    /// Drops from the head of the flow with the most cells, or nearly so: half of it, at most 64 cells; says how many.
    ///
    /// The flow that was fattest when a cell came to it is known; after it has lost cells the next one is sought among 64,
    /// so that the cost of a drop does not grow with the circuits.
    pub fn drop_fattest(&mut self) -> usize {
        if self.cells == 0 {
            return 0;
        }
        let len = |index: u32| self.flows[index as usize].cells.len();
        let listed = self.new.len() + self.old.len();
        self.sampled = self.sampled.wrapping_add(FAT_SAMPLE) % listed.max(1);
        let lists = || self.new.iter().chain(&self.old).copied();
        let sample = lists().skip(self.sampled).chain(lists()).take(FAT_SAMPLE.min(listed));
        let sampled = sample.chain([self.fattest]).max_by_key(|index| len(*index)).filter(|index| len(*index) > 0);
        let Some(fattest) = sampled.or_else(|| lists().max_by_key(|index| len(*index))) else {
            return 0;
        };
        self.fattest = fattest;
        let flow = &mut self.flows[fattest as usize];
        let count = flow.cells.len().div_ceil(2).min(FAT_BATCH);
        flow.cells.drain(..count);
        flow.settle();
        self.cells -= count;
        count
    }

    /// Drops the cells that have waited for `age` or longer; says how many.
    pub fn drop_older(&mut self, now: Instant, age: Duration) -> usize {
        let mut dropped = 0;
        for index in self.new.iter().chain(&self.old) {
            let flow = &mut self.flows[*index as usize];
            let old = flow.cells.partition_point(|waiting| now.saturating_duration_since(waiting.since) >= age);
            flow.cells.drain(..old);
            flow.settle();
            dropped += old;
        }
        self.cells -= dropped;
        dropped
    }

    /// Gives back the memory that no flow has needed since the last call.
    pub fn shrink(&mut self) {
        for flow in &mut self.flows {
            let needed = std::mem::replace(&mut flow.most, flow.cells.len());
            let capacity = flow.cells.capacity();
            if needed == 0 {
                flow.cells = VecDeque::new();
            } else if capacity > KEEP_CELLS && needed < capacity / 4 {
                flow.cells.shrink_to(needed.max(KEEP_CELLS));
            }
        }
        let most = self.new.len() + self.old.len();
        for list in [&mut self.new, &mut self.old] {
            if list.capacity() > 64 && list.capacity() / 4 > most {
                list.shrink_to(most);
            }
        }
    }

    /// How many cells wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.cells
    }

    /// Whether no cell waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.cells == 0
    }

    /// Memory that the cells take up, with what is kept for reuse, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        let cells: usize = self.flows.iter().map(|flow| flow.cells.capacity()).sum();
        cells * size_of::<Waiting<C>>() + self.flows.capacity() * size_of::<Flow<C>>()
    }

    /// A queue that cannot send would otherwise keep a place for each circuit that has come and gone.
    fn unlist_leaving(&mut self) {
        if self.leaving <= FAT_SAMPLE || self.leaving * 2 <= self.new.len() + self.old.len() {
            return;
        }
        let Self { flows, free, new, old, .. } = self;
        for list in [new, old] {
            list.retain(|index| {
                let flow = &mut flows[*index as usize];
                let leaving = flow.place == Place::Leaving;
                if leaving {
                    flow.place = Place::Free;
                    free.push(*index);
                }
                !leaving
            });
        }
        self.leaving = 0;
    }

    fn unlist(&mut self, from_new: bool) {
        if from_new { &mut self.new } else { &mut self.old }.pop_front();
    }
}

impl<C: Copy> Flow<C> {
    /// Counts a cell that comes now.
    fn count(&mut self, now: Instant) {
        let age = self.span.map_or(2 * SLOW_SPAN, |span| now.saturating_duration_since(span));
        if age >= SLOW_SPAN {
            self.counts = [0, if age < 2 * SLOW_SPAN { self.counts[0] } else { 0 }];
            self.span = Some(now);
        }
        self.counts[0] = self.counts[0].saturating_add(1);
    }

    /// Gives back room when little of it is in use. As it halves only, that costs each cell less than one copy.
    fn settle(&mut self) {
        let capacity = self.cells.capacity();
        if capacity > SPARE_CELLS && self.cells.len() <= capacity / 4 {
            self.cells.shrink_to(SPARE_CELLS.max(2 * self.cells.len()));
        }
    }

    fn is_slow(&self) -> bool {
        self.counts[0].saturating_add(self.counts[1]) <= SLOW_CELLS
    }

    /// Copies the first cell that CoDel lets pass straight to where it is needed; says how long it waited.
    fn take(
        &mut self,
        codel: &CodelConfig,
        now: Instant,
        total: &mut usize,
        codel_drops: &mut u64,
        out: &mut C,
    ) -> Option<Duration> {
        while let Some(Waiting { cell, since }) = self.cells.front() {
            let waited = now.saturating_duration_since(*since);
            let verdict = self.codel.judge(codel, now, waited, self.cells.len() - 1);
            if verdict == Verdict::Send {
                *out = *cell;
            }
            self.cells.pop_front();
            self.settle();
            *total -= 1;
            match verdict {
                Verdict::Send => return Some(waited),
                Verdict::Drop => *codel_drops += 1,
            }
        }
        self.codel.ran_empty();
        None
    }
}

#[cfg(test)]
impl<C> FairQueue<C> {
    /// Shows every waiting cell to a test.
    pub(crate) fn waiting_cells(&mut self, see: &mut impl FnMut(&mut C)) {
        self.flows.iter_mut().flat_map(|flow| &mut flow.cells).for_each(|waiting| see(&mut waiting.cell));
    }
}

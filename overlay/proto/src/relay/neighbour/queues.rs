//! The cells that wait for links: bounds over all links, and who may send when.
//!
//! A link that could send no cell in time for a while is *stalled*: its peer is gone, or never reports. Stalled links
//! stand in a list of their own. A flush looks at a few of them, and when the node is over its bound their old cells go
//! before anybody else's.

use std::time::{Duration, Instant};

use super::{End, Neighbour, Neighbours};
use crate::link::{LinkId, Links};
use crate::node::Metrics;
use crate::relay::queue::PushDrops;
use crate::wire::cell::Cell;

/// One link drains so many datagrams before the next one's turn, so that runs of equal datagrams stay together.
const BURST: usize = 32;
/// A link from which for so long no cell left that had waited for less than this is stalled; its older cells are of no use.
const STALLED: Duration = Duration::from_secs(2);
/// Stalled links at which one flush looks.
const STALLED_VISITS: usize = 64;
/// When to look at the next ones, if there are more.
const STALLED_PAUSE: Duration = Duration::from_millis(5);
/// Stalled links in which old cells are sought for one cell over the bound of the node.
const STALE_VISITS: usize = 16;
/// A stalled link is not looked through again for so long.
const STALE_PAUSE: Duration = Duration::from_millis(250);
/// Links among which the fullest is sought, besides the one that was fullest before.
const SAMPLE: usize = 64;

impl<O: Copy> Neighbours<O> {
    /// Whether any circuit uses the link.
    pub(crate) fn serves(&self, link: LinkId) -> bool {
        self.of_link(link).is_some_and(|neighbour| neighbour.circuits > 0)
    }

    /// Queues a cell, with the circuit number of `end`. Over a bound old cells of stalled links go, or the oldest of the
    /// fattest circuit.
    pub(crate) fn push(&mut self, now: Instant, end: End, cell: &Cell, metrics: &mut Metrics) {
        let Some(neighbour) = self.slots[end.slot as usize].as_mut().filter(|neighbour| neighbour.link == end.link)
        else {
            return;
        };
        let before = neighbour.queue.len();
        if !neighbour.listed {
            neighbour.listed = true;
            neighbour.moved = Some(now);
            let list = if neighbour.stalled { &mut self.stalled } else { &mut self.active };
            list.push_back(end.slot);
        }
        let PushDrops { circuit, link } = neighbour.queue.push(end.flow, now, Cell { circuit: end.circuit, ..*cell });
        metrics.drops.circuit_bound += circuit as u64;
        metrics.drops.link_bound += link as u64;
        if neighbour.stalled && self.stalled_cells >= self.node_bound / 4 && neighbour.queue.len() > before {
            metrics.drops.node_bound += neighbour.queue.drop_fattest() as u64;
        }
        let after = neighbour.queue.len();
        let stalled = neighbour.stalled;
        self.count_cells(stalled, before, after);
        if self.slots.get(self.fullest as usize).and_then(Option::as_ref).is_none_or(|most| most.queue.len() < after) {
            self.fullest = end.slot;
        }
        if self.cells > self.node_bound {
            let dropped = match self.drop_stale(now) {
                0 => self.drop_fattest(),
                dropped => dropped,
            };
            metrics.drops.node_bound += dropped as u64;
        }
    }

    /// Keeps the sums right when a link's cells change from `before` to `after`.
    pub(super) const fn count_cells(&mut self, stalled: bool, before: usize, after: usize) {
        self.cells = self.cells - before + after;
        if stalled {
            self.stalled_cells = self.stalled_cells - before + after;
        }
    }

    /// Drops cells of stalled links that are too old to be of use.
    fn drop_stale(&mut self, now: Instant) -> usize {
        for _ in 0..self.active.len().min(STALE_VISITS) {
            let Some(slot) = self.active.pop_front() else {
                break;
            };
            match self.slots[slot as usize].as_mut() {
                Some(neighbour) if neighbour.is_late(now) => {
                    neighbour.stalled = true;
                    self.stalled_cells += neighbour.queue.len();
                    self.stalled.push_front(slot);
                }
                _ => self.active.push_back(slot),
            }
        }
        for _ in 0..self.stalled.len().min(STALE_VISITS) {
            let Some(slot) = self.stalled.pop_front() else {
                break;
            };
            self.stalled.push_back(slot);
            let Some(neighbour) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            if neighbour.looked.is_some_and(|at| now.saturating_duration_since(at) < STALE_PAUSE) {
                continue;
            }
            neighbour.looked = Some(now);
            let before = neighbour.queue.len();
            let dropped = neighbour.queue.drop_older(now, STALLED);
            if dropped > 0 {
                self.count_cells(true, before, before - dropped);
                return dropped;
            }
        }
        0
    }

    /// Drops from the fattest circuit of the link that has the most cells, or nearly so.
    fn drop_fattest(&mut self) -> usize {
        let len = |slots: &[Option<Neighbour<O>>], slot: u32| {
            slots.get(slot as usize).and_then(Option::as_ref).map_or(0, |neighbour| neighbour.queue.len())
        };
        let listed = self.active.len() + self.stalled.len();
        self.sampled = self.sampled.wrapping_add(SAMPLE);
        let from = self.sampled % listed.max(1);
        let (first, rest) = (self.active.iter().chain(&self.stalled), self.active.iter().chain(&self.stalled));
        let sample = first.skip(from).chain(rest).take(SAMPLE.min(listed)).copied();
        let best = sample.chain([self.fullest]).max_by_key(|slot| len(&self.slots, *slot));
        let slot = match best {
            Some(slot) if len(&self.slots, slot) > 0 => slot,
            _ => return 0,
        };
        self.fullest = slot;
        let Some(neighbour) = self.slots[slot as usize].as_mut() else {
            return 0;
        };
        let (before, stalled) = (neighbour.queue.len(), neighbour.stalled);
        let dropped = neighbour.queue.drop_fattest();
        self.count_cells(stalled, before, before - dropped);
        dropped
    }

    /// Lets cells go, links in turn, two in a datagram where two wait, while the links take them. At most `most`
    /// datagrams; returns when to go on if that was too few.
    pub(crate) fn flush(
        &mut self,
        now: Instant,
        links: &mut Links,
        metrics: &mut Metrics,
        mut most: usize,
    ) -> Option<Instant> {
        let looked = self.stalled.len().min(STALLED_VISITS);
        for _ in 0..looked {
            let Some(slot) = self.stalled.pop_front() else {
                break;
            };
            let Some(neighbour) = self.slots[slot as usize].as_mut() else {
                continue;
            };
            if links.can_send(now, neighbour.link) {
                neighbour.stalled = false;
                self.stalled_cells -= neighbour.queue.len();
                self.active.push_back(slot);
            } else if neighbour.queue.is_empty() {
                // Its cells were too old. It is stalled still.
                neighbour.listed = false;
            } else {
                self.stalled.push_back(slot);
            }
        }
        let mut visits = if links.rate_allows(now) { self.active.len() } else { 0 };
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
                links.send_queued(
                    now,
                    neighbour.link,
                    (first, popped.sparse),
                    pair.map(|pair| (&*second, pair.sparse)),
                );
                if popped.waited < STALLED {
                    neighbour.moved = Some(now);
                }
                burst -= 1;
                most -= 1;
            }
            self.cells -= before - neighbour.queue.len();
            if neighbour.queue.is_empty() {
                neighbour.listed = false;
                continue;
            }
            if neighbour.is_late(now) && most > 0 {
                neighbour.stalled = true;
                self.stalled_cells += neighbour.queue.len();
                self.stalled.push_back(slot);
                continue;
            }
            self.active.push_back(slot);
            if most == 0 {
                return Some(now);
            }
            if burst == 0 {
                visits += 1;
            }
            // What the node may send is used up: the next link begins when there is more. If all were gone through, the same one
            // would be first again, and nobody else's cells would ever leave beside its backlog.
            if !links.rate_allows(now) {
                break;
            }
        }
        (self.stalled.len() > STALLED_VISITS).then(|| now + STALLED_PAUSE)
    }

    /// Gives back the memory that no circuit has needed since the last call.
    pub(crate) fn shrink(&mut self) {
        for neighbour in self.slots.iter_mut().flatten() {
            neighbour.queue.shrink();
        }
    }
}

impl<O> Neighbour<O> {
    /// Whether no cell has left in time for long.
    fn is_late(&self, now: Instant) -> bool {
        self.moved.is_some_and(|at| now.saturating_duration_since(at) >= STALLED)
    }
}

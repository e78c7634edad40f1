//! The cells that wait for links: bounds over all links, and who may send when.

use std::time::{Duration, Instant};

use super::{End, Neighbours};
use crate::link::Links;
use crate::node::Metrics;
use crate::relay::queue::PushDrops;
use crate::wire::cell::Cell;

/// One link drains so many datagrams before the next one's turn, so that runs of equal datagrams stay together.
const BURST: usize = 32;

impl<O: Copy> Neighbours<O> {
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
}

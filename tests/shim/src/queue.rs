//! What waits, in the order in which it is due. Knows no sockets and no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use zmesh_netem::{Access, Counters, Pipe};

use crate::Report;
use crate::sockets::Exit;

/// What a datagram that waits takes beside its bytes.
const OVERHEAD: usize = 128;

/// Datagrams on their way, and the pipes of all hosts. `T` is where a datagram goes at the end.
#[derive(Debug)]
pub(crate) struct Queue<T = Exit> {
    seed: u64,
    most: usize,
    /// Two for each host: up, down.
    pipes: Vec<Pipe>,
    heap: BinaryHeap<Reverse<Waiting<T>>>,
    order: u64,
    bytes: usize,
    report: Report,
}

/// Which pipes a datagram passes: the sender's, then the receiver's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) from: Option<usize>,
    pub(crate) to: Option<usize>,
}

#[derive(Debug)]
struct Waiting<T> {
    at: Duration,
    order: u64,
    /// The pipe that it enters when it is due; `None`: it leaves.
    enters: Option<usize>,
    data: Vec<u8>,
    exit: T,
}

impl<T: Clone> Queue<T> {
    pub(crate) fn new(seed: u64, most: usize) -> Queue<T> {
        Queue { seed, most, pipes: Vec::new(), heap: BinaryHeap::new(), order: 0, bytes: 0, report: Report::default() }
    }

    pub(crate) fn add_host(&mut self, access: &Access) -> usize {
        let host = self.pipes.len() / 2;
        for timeline in [&access.up, &access.down] {
            // Far apart, so that other shims with seeds nearby have other pipes.
            let seed = self.seed.wrapping_add((self.pipes.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            self.pipes.push(Pipe::new(timeline.clone(), seed));
        }
        host
    }

    pub(crate) fn counters(&self, host: usize) -> (Counters, Counters) {
        let counters = |pipe: usize| self.pipes.get(pipe).map(Pipe::counters).unwrap_or_default();
        (counters(host * 2), counters(host * 2 + 1))
    }

    pub(crate) fn report(&self) -> Report {
        self.report
    }

    /// One for whom there was no room among the clients.
    pub(crate) fn refuse(&mut self) {
        self.report.refused += 1;
    }

    /// The system did not take one.
    pub(crate) fn unsent(&mut self) {
        self.report.unsent += 1;
    }

    /// Takes a datagram up. True if it is now the first that is due.
    pub(crate) fn offer(&mut self, now: Duration, way: Way, data: &[u8], exit: T) -> bool {
        self.report.received += 1;
        let before = self.due();
        let up = way.from.map(|host| host * 2);
        let down = way.to.map(|host| host * 2 + 1);
        match up {
            Some(up) => self.pass(now, up, down, data.to_vec(), exit),
            None => self.wait(now, down, data.to_vec(), exit),
        }
        match (before, self.due()) {
            (Some(before), Some(due)) => due < before,
            (None, due) => due.is_some(),
            (Some(_), None) => false,
        }
    }

    /// When the next datagram is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(first)| first.at)
    }

    /// The next datagram that leaves now, if there is one; others move on to their next pipe.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(T, Vec<u8>)> {
        while self.due().is_some_and(|due| due <= now) {
            let Reverse(first) = self.heap.pop()?;
            self.bytes -= first.data.len() + OVERHEAD;
            match first.enters {
                // At the time when it was due, not when we found the time.
                Some(pipe) => self.pass(first.at, pipe, None, first.data, first.exit),
                None => {
                    self.report.forwarded += 1;
                    self.report.latest = self.report.latest.max(now.saturating_sub(first.at));
                    return Some((first.exit, first.data));
                }
            }
        }
        None
    }

    /// Through one pipe, and on to wait for the next.
    fn pass(&mut self, at: Duration, pipe: usize, then: Option<usize>, data: Vec<u8>, exit: T) {
        let Some(through) = self.pipes.get_mut(pipe) else {
            return;
        };
        let mut arrivals = through.send(at, data.len());
        let Some(first) = arrivals.next() else {
            return;
        };
        for copy in arrivals {
            self.wait(copy, then, data.clone(), exit.clone());
        }
        self.wait(first, then, data, exit);
    }

    fn wait(&mut self, at: Duration, enters: Option<usize>, data: Vec<u8>, exit: T) {
        let bytes = data.len() + OVERHEAD;
        if self.bytes + bytes > self.most {
            self.report.overflowed += 1;
            return;
        }
        self.bytes += bytes;
        self.order += 1;
        self.heap.push(Reverse(Waiting { at, order: self.order, enters, data, exit }));
    }
}

impl<T> PartialEq for Waiting<T> {
    fn eq(&self, other: &Waiting<T>) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<T> Eq for Waiting<T> {}

impl<T> PartialOrd for Waiting<T> {
    fn partial_cmp(&self, other: &Waiting<T>) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Waiting<T> {
    fn cmp(&self, other: &Waiting<T>) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use zmesh_netem::Conditions;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn delayed(delay: u64) -> Access {
        Access::both(Conditions::delay(ms(delay)))
    }

    #[test]
    fn a_datagram_passes_the_senders_and_the_receivers_access() {
        let mut queue: Queue<u8> = Queue::new(1, 1 << 20);
        let (near, far) = (queue.add_host(&delayed(5)), queue.add_host(&delayed(50)));
        assert!(queue.offer(ms(0), Way { from: Some(far), to: Some(near) }, b"slow", 1));
        assert!(queue.offer(ms(1), Way { from: Some(near), to: None }, b"quick", 2));
        assert!(queue.next(ms(5)).is_none());
        assert_eq!(queue.next(ms(6)), Some((2, b"quick".to_vec())));
        // Looked at late: it entered the second pipe at 50 ms all the same.
        assert_eq!(queue.next(ms(55)), Some((1, b"slow".to_vec())));
        assert!(queue.next(ms(1_000)).is_none());
        assert_eq!(queue.counters(far).0.sent, 1);
        assert_eq!(queue.counters(near).1.sent, 1);
        assert_eq!((queue.report().received, queue.report().forwarded), (2, 2));
    }

    #[test]
    fn without_an_access_link_it_leaves_at_once() {
        let mut queue: Queue<()> = Queue::new(1, 1 << 20);
        queue.offer(ms(3), Way { from: None, to: None }, b"now", ());
        assert_eq!(queue.next(ms(3)), Some(((), b"now".to_vec())));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut queue: Queue<()> = Queue::new(1, 10 * (100 + OVERHEAD));
        let host = queue.add_host(&delayed(50));
        for _ in 0..25 {
            queue.offer(ms(0), Way { from: Some(host), to: None }, &[0; 100], ());
        }
        assert_eq!(queue.report().overflowed, 15);
        assert_eq!(std::iter::from_fn(|| queue.next(ms(50))).count(), 10);
        queue.offer(ms(60), Way { from: Some(host), to: None }, &[0; 100], ());
        assert_eq!(queue.report().overflowed, 15, "there is room again");
    }
}

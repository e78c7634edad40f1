//! Messages that wait for QUIC, in one queue for each circuit.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// What a message costs beside its bytes.
const OVERHEAD: usize = 128;

/// Circuits take turns, one message each, so that a circuit with many messages holds up no other.
pub(super) struct Inbox {
    max: usize,
    max_of_one: usize,
    bytes: usize,
    queues: HashMap<SocketAddr, Queue>,
    /// Every circuit with messages, once.
    turns: VecDeque<SocketAddr>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Inbox {
    /// An inbox of `max` bytes in all and `max_of_one` for one circuit.
    pub(super) fn new(max: usize, max_of_one: usize) -> Self {
        Self { max, max_of_one, bytes: 0, queues: HashMap::new(), turns: VecDeque::new() }
    }

    /// Queues a message, or drops it and returns false: one circuit has at most its own share, and less of it the less room is left for
    /// all (dynamic thresholds of Choudhury and Hahne, 1998), so that there is
    /// some for the first message of a newcomer.
    pub(super) fn push(&mut self, from: SocketAddr, message: Vec<u8>) -> bool {
        let cost = message.len() + OVERHEAD;
        let free = self.max - self.bytes;
        let queued = self.queues.get(&from).map_or(0, |queue| queue.bytes);
        let share = if queued == 0 { free } else { self.max_of_one.min(free / 16) };
        if queued + cost > share {
            return false;
        }
        let queue = self.queues.entry(from).or_default();
        if queue.messages.is_empty() {
            self.turns.push_back(from);
        }
        queue.messages.push_back(message);
        queue.bytes += cost;
        self.bytes += cost;
        true
    }

    /// The next message and its circuit.
    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let from = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&from)?;
        let message = queue.messages.pop_front()?;
        let cost = message.len() + OVERHEAD;
        queue.bytes -= cost;
        self.bytes -= cost;
        if queue.messages.is_empty() {
            self.queues.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        Some((from, message))
    }
}

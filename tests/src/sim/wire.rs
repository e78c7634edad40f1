//! Paths between hosts: delay, jitter, loss, and a bottleneck with a bounded queue.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::Rng;

use super::HostId;

/// Bytes of IPv4 and UDP headers that a bottleneck also carries.
const HEADERS: usize = 28;

/// What a socket buffer counts for a datagram beside its bytes: the kernel's own bookkeeping.
pub const BUFFER_OVERHEAD: usize = 768;

/// One direction between two hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// One-way delay.
    pub delay: Duration,
    /// Up to this much is added, uniformly, to each datagram by itself; so datagrams overtake each other.
    pub jitter: Duration,
    /// Probability that a datagram is lost, 0 to 1.
    pub loss: f64,
    /// Rate of the bottleneck, in bytes a second, and the bytes that may wait before it; a datagram that finds it full is dropped.
    pub bottleneck: Option<(u64, usize)>,
}

impl Path {
    /// A path with this delay and nothing else.
    #[must_use]
    pub const fn delay(delay: Duration) -> Path {
        Path { delay, jitter: Duration::ZERO, loss: 0.0, bottleneck: None }
    }

    /// The same path with up to this much more delay for each datagram.
    #[must_use]
    pub const fn jitter(self, jitter: Duration) -> Path {
        Path { jitter, ..self }
    }

    /// The same path that loses this share of the datagrams.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Path {
        Path { loss, ..self }
    }

    /// The same path with a bottleneck of `rate` bytes a second and a queue of `queue` bytes.
    #[must_use]
    pub const fn bottleneck(self, rate: u64, queue: usize) -> Path {
        Path { bottleneck: Some((rate, queue)), ..self }
    }
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives at this time, in nanoseconds since the start.
    Arrives(u64),
    Lost,
}

/// Every path, and the state of their bottlenecks.
pub(super) struct Wires {
    default: Path,
    paths: BTreeMap<(HostId, HostId), Path>,
    /// Until when each bottleneck is busy, in nanoseconds since the start.
    busy: BTreeMap<(HostId, HostId), u64>,
    rng: ChaCha12Rng,
    drops: u64,
}

impl Wires {
    pub(super) fn new(default: Path, rng: ChaCha12Rng) -> Wires {
        Wires { default, paths: BTreeMap::new(), busy: BTreeMap::new(), rng, drops: 0 }
    }

    pub(super) fn set(&mut self, from: HostId, to: HostId, path: Path) {
        self.paths.insert((from, to), path);
    }

    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    pub(super) fn carry(&mut self, from: HostId, to: HostId, now: u64, length: usize) -> Fate {
        let path = *self.paths.get(&(from, to)).unwrap_or(&self.default);
        if path.loss > 0.0 && self.chance() < path.loss {
            self.drops += 1;
            return Fate::Lost;
        }
        let mut leaves = now;
        if let Some((rate, queue)) = path.bottleneck {
            let busy = self.busy.entry((from, to)).or_insert(0);
            let wait = u128::from(busy.saturating_sub(now));
            let waiting = wait * u128::from(rate) / 1_000_000_000;
            let length = length + HEADERS;
            if waiting + length as u128 > queue as u128 {
                self.drops += 1;
                return Fate::Lost;
            }
            let takes = (length as u64).saturating_mul(1_000_000_000) / rate.max(1);
            *busy = (*busy).max(now) + takes;
            leaves = *busy;
        }
        let jitter = path.jitter.as_nanos() as f64 * if path.jitter.is_zero() { 0.0 } else { self.chance() };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a jitter that is far below 2^64 ns"
        )]
        let jitter = jitter as u64;
        Fate::Arrives(leaves + super::nanos(path.delay) + jitter)
    }

    /// Uniform in 0 to 1.
    fn chance(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

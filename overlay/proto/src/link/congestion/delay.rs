//! Delay of a path: smoothed round trip, recent minima, and the standing queue that follows from them.

use crate::link::clock::{MICRO, MILLI, Nanos, SECOND};

/// Minima are kept for one to two of these.
const BUCKET: Nanos = 5 * SECOND;
/// Assumed before the first sample.
const INITIAL_RTT: Nanos = 100 * MILLI;
const RECENT: usize = 4;
const NEAR: Nanos = 2 * MILLI;

/// The smallest of the values seen in the current and the previous bucket of time.
#[derive(Clone, Copy, Debug)]
struct Minimum<T> {
    current: T,
    previous: Option<T>,
    began: Nanos,
}

impl<T: Copy> Minimum<T> {
    fn new(value: T, now: Nanos) -> Self {
        Self { current: value, previous: None, began: now }
    }

    fn note(&mut self, now: Nanos, value: T, smaller: impl Fn(T, T) -> T) {
        let age = now.saturating_sub(self.began);
        if age >= BUCKET {
            self.previous = (age < 2 * BUCKET).then_some(self.current);
            self.current = value;
            self.began = now;
        } else {
            self.current = smaller(self.current, value);
        }
    }

    fn value(&self, smaller: impl Fn(T, T) -> T) -> T {
        self.previous.map_or(self.current, |previous| smaller(self.current, previous))
    }
}

/// One-way times are differences of two clocks, so only their differences mean something: compare modulo 2³².
fn earlier(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < 1 << 31 { a } else { b }
}

/// What a link knows about its path's delay.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay {
    smoothed: Option<Nanos>,
    variation: Nanos,
    round_trip: Option<Minimum<Nanos>>,
    one_way: Option<Minimum<u32>>,
    recent: [Nanos; RECENT],
    samples: usize,
}

impl Delay {
    /// Takes a round-trip sample, with the one-way time if the peer gave its clock; returns the queue it shows.
    ///
    /// The smaller of two estimates counts: the round trip's rise includes a queue on the way back, and the one-way
    /// time's rise includes drift of the clocks; neither can be smaller than the queue on the way there by more than
    /// its own error.
    pub(super) fn note(&mut self, now: Nanos, rtt: Nanos, one_way: Option<u32>) -> Nanos {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variation = rtt / 2;
            }
            Some(smoothed) => {
                self.variation = (3 * self.variation + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((7 * smoothed + rtt) / 8);
            }
        }
        let round_trip = self.round_trip.get_or_insert(Minimum::new(rtt, now));
        round_trip.note(now, rtt, Nanos::min);
        let mut queue = rtt - round_trip.value(Nanos::min).min(rtt);
        if let Some(time) = one_way {
            let minimum = self.one_way.get_or_insert(Minimum::new(time, now));
            minimum.note(now, time, earlier);
            queue = queue.min(Nanos::from(time.wrapping_sub(minimum.value(earlier))) * MICRO);
        }
        self.recent[self.samples % RECENT] = queue;
        self.samples += 1;
        queue
    }

    pub(super) fn measured(&self) -> bool {
        self.smoothed.is_some()
    }

    pub(super) fn smoothed(&self) -> Nanos {
        self.smoothed.unwrap_or(INITIAL_RTT)
    }

    pub(super) fn variation(&self) -> Nanos {
        self.variation
    }

    /// The round trip of an empty path, as far as seen lately.
    pub(super) fn base(&self) -> Nanos {
        self.round_trip.map_or(INITIAL_RTT, |minimum| minimum.value(Nanos::min))
    }

    /// The queue that the controller aims at: 1 ms near by, elsewhere a thirtieth of the round trip between 1.5 and 3 ms.
    /// More fills long paths better, but every cell of a call on the same link waits as long.
    pub(super) fn target(&self) -> Nanos {
        if self.base() < NEAR { MILLI } else { (self.base() / 30).clamp(3 * MILLI / 2, 3 * MILLI) }
    }

    /// The smallest queue of the last few samples.
    pub(super) fn recent_queue(&self) -> Option<Nanos> {
        (self.samples >= RECENT).then(|| self.recent.iter().copied().min().unwrap_or(0))
    }

    pub(super) fn forget_recent(&mut self) {
        self.samples = 0;
    }

    /// Takes the present delay for that of the empty path.
    pub(super) fn rebase(&mut self, now: Nanos) {
        let least = self.base() + self.recent_queue().unwrap_or(0);
        self.round_trip = Some(Minimum::new(least, now));
        self.one_way = None;
        self.forget_recent();
    }
}

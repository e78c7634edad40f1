//! One direction of one link.

use std::time::Duration;

use crate::conditions::Conditions;
use crate::dice::Dice;
use crate::loss::LossProcess;
use crate::timeline::Timeline;

/// Bytes of IPv4 and UDP headers, which a bottleneck also carries and an MTU also counts.
pub const HEADERS: usize = 28;

/// Streams of the dice; the first is the loss process's.
const JITTER: u64 = 1;
const REORDER: u64 = 2;
const DUPLICATE: u64 = 3;

/// One direction of one link: says of every datagram when it arrives. See the [crate](crate).
///
/// Datagrams must be shown in the order in which they are sent; a time before an earlier one counts as that one.
#[derive(Debug, Clone)]
pub struct Pipe {
    timeline: Timeline,
    loss: LossProcess,
    jitter: Dice,
    reorder: Dice,
    duplicate: Dice,
    /// The draw of the jitter that holds now, and the number of the period for which it holds.
    draw: Option<(u64, f64)>,
    /// When the last datagram was sent, in nanoseconds since the start.
    now: u64,
    /// Until when the bottleneck is busy.
    busy: u64,
    /// Before this nothing may arrive whose order is kept.
    latest: u64,
    counters: Counters,
}

/// What a [`Pipe`] did so far, in datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Shown to it.
    pub sent: u64,
    /// Bytes of them, without headers.
    pub bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Runs of losses by chance: losses after a datagram that was not lost.
    pub loss_runs: u64,
    /// Dropped because the queue before the bottleneck was full.
    pub queue_dropped: u64,
    /// Dropped because they were longer than the MTU.
    pub too_big: u64,
    /// Arriving twice.
    pub duplicated: u64,
    /// Held back, so that others could overtake them.
    pub reordered: u64,
}

impl Counters {
    /// Those that arrive, a copy not counted.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.sent - self.lost - self.queue_dropped - self.too_big
    }

    /// Those of both.
    #[must_use]
    pub fn plus(&self, other: &Counters) -> Counters {
        Counters {
            sent: self.sent + other.sent,
            bytes: self.bytes + other.bytes,
            lost: self.lost + other.lost,
            loss_runs: self.loss_runs + other.loss_runs,
            queue_dropped: self.queue_dropped + other.queue_dropped,
            too_big: self.too_big + other.too_big,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
        }
    }
}

impl Pipe {
    /// A pipe that starts at time 0. Pipes that shall behave independently need different seeds.
    #[must_use]
    pub fn new(timeline: impl Into<Timeline>, seed: u64) -> Pipe {
        Pipe {
            timeline: timeline.into(),
            loss: LossProcess::new(seed),
            jitter: Dice::new(seed, JITTER),
            reorder: Dice::new(seed, REORDER),
            duplicate: Dice::new(seed, DUPLICATE),
            draw: None,
            now: 0,
            busy: 0,
            latest: 0,
            counters: Counters::default(),
        }
    }

    /// A datagram of `len` bytes is sent at this time since the start: when does it arrive?
    pub fn send(&mut self, at: Duration, len: usize) -> Arrivals {
        self.now = self.now.max(nanos(at));
        let conditions = *self.timeline.at(Duration::from_nanos(self.now));
        self.counters.sent += 1;
        self.counters.bytes = self.counters.bytes.saturating_add(len as u64);
        let packet = len.saturating_add(HEADERS);
        if conditions.mtu.is_some_and(|mtu| packet > mtu) {
            self.counters.too_big += 1;
            return Arrivals::NONE;
        }
        let Some(leaves) = self.pass_bottleneck(&conditions, packet) else {
            self.counters.queue_dropped += 1;
            return Arrivals::NONE;
        };
        let was_losing = self.loss.losing();
        if self.loss.loses(&conditions.loss) {
            self.counters.lost += 1;
            self.counters.loss_runs += u64::from(!was_losing);
            return Arrivals::NONE;
        }
        let arrival = self.arrival(&conditions, leaves);
        let copies = if self.duplicate.chance(conditions.duplicate) { 2 } else { 1 };
        self.counters.duplicated += copies - 1;
        Arrivals { at: Duration::from_nanos(arrival), left: copies }
    }

    /// From now on other conditions hold; what waits in the queue and is on its way stays.
    pub fn change(&mut self, timeline: impl Into<Timeline>) {
        self.timeline = timeline.into();
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How long a datagram sent at this time would wait for the bottleneck.
    #[must_use]
    pub fn backlog(&self, at: Duration) -> Duration {
        Duration::from_nanos(self.busy.saturating_sub(nanos(at)))
    }

    /// When the datagram has left the bottleneck; `None` when the queue before it is full.
    fn pass_bottleneck(&mut self, conditions: &Conditions, packet: usize) -> Option<u64> {
        let Some(rate) = conditions.rate.map(|rate| rate.max(1)) else {
            // A queue that stood here when the bottleneck went away is still sent before what comes now.
            return Some(self.now.max(self.busy));
        };
        let wait = u128::from(self.busy.saturating_sub(self.now));
        let waiting = wait * u128::from(rate) / 1_000_000_000;
        if waiting + packet as u128 > conditions.queue as u128 {
            return None;
        }
        let takes = packet as u128 * 1_000_000_000 / u128::from(rate);
        self.busy = self.busy.max(self.now).saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        Some(self.busy)
    }

    /// When a datagram that left the bottleneck at `leaves` arrives.
    fn arrival(&mut self, conditions: &Conditions, leaves: u64) -> u64 {
        let delay = nanos(conditions.delay);
        let straight = leaves.saturating_add(delay).saturating_add_signed(self.jitter(conditions, leaves)).max(leaves);
        if self.reorder.chance(conditions.reorder) {
            self.counters.reordered += 1;
            return straight.max(self.latest).saturating_add(nanos(conditions.reorder_by));
        }
        if conditions.in_order {
            self.latest = self.latest.max(straight);
            return self.latest;
        }
        straight
    }

    fn jitter(&mut self, conditions: &Conditions, at: u64) -> i64 {
        if conditions.jitter.is_zero() {
            return 0;
        }
        let every = nanos(conditions.jitter_every);
        let bell = match at.checked_div(every) {
            None => self.jitter.bell(),
            Some(period) => match self.draw {
                Some((of, draw)) if of == period => draw,
                _ => {
                    let draw = self.jitter.bell();
                    self.draw = Some((period, draw));
                    draw
                }
            },
        };
        #[allow(clippy::cast_possible_truncation, reason = "saturates, and a jitter is at most a minute")]
        let nanos = (bell * conditions.jitter.as_nanos() as f64) as i64;
        nanos
    }
}

/// When a datagram arrives: never, once or twice. Times since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    at: Duration,
    left: u64,
}

impl Arrivals {
    const NONE: Arrivals = Arrivals { at: Duration::ZERO, left: 0 };

    /// Whether it never arrives.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        Some(self.at)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

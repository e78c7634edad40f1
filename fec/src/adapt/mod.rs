//! How many repairs to send, and when (decision 0092).

mod loss;
mod need;

use std::collections::VecDeque;

use loss::LossEstimate;

const MILLISECOND: u64 = 1_000_000;

/// Repairs that may be due at once, at most.
const MOST_DUE: usize = 8;

/// What repair aims at. The defaults are for calls: a cell each 20 ms, a jitter buffer of 60 ms.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdaptConfig {
    /// Within this time after its sending a lost symbol should be recovered, but for `late`; nanoseconds.
    pub soon: u64,
    /// Share of symbols that may be recovered later than `soon`.
    pub late: f64,
    /// After this time a symbol is worth nothing: the deadline of the encoder; nanoseconds.
    pub deadline: u64,
    /// Share of symbols that may be lost.
    pub residual: f64,
    /// Loss that is believed at most. With `most_burst` it bounds what false reports can buy.
    pub most_loss: f64,
    /// Mean length of a run of losses that is believed at most.
    pub most_burst: f64,
    /// Repairs for each symbol, at most.
    pub most_redundancy: f64,
    /// Loss from which repair begins, unless it was a single datagram; it ends when less than `residual` is lost.
    pub begin: f64,
    /// Redundancy falls when less has been enough for so long; nanoseconds.
    pub patience: u64,
}

impl Default for AdaptConfig {
    fn default() -> AdaptConfig {
        AdaptConfig {
            soon: 20 * MILLISECOND,
            late: 0.008,
            deadline: 60 * MILLISECOND,
            residual: 0.001,
            most_loss: 0.15,
            most_burst: 2.5,
            most_redundancy: 2.0,
            begin: 0.005,
            patience: 1_000 * MILLISECOND,
        }
    }
}

/// Decides how many repairs follow the symbols of a link, and when each is sent.
///
/// Sans-IO: fates of datagrams go in by [`handle_outcome`](Adapt::handle_outcome), queueing delay by [`handle_queue`](Adapt::handle_queue), sent
/// symbols by [`handle_source`](Adapt::handle_source); [`next_repair`](Adapt::next_repair) is the time at which to call
/// [`poll_repair`](Adapt::poll_repair), which says whether to make one.
///
/// - *Silent without loss*: until losses reach [`AdaptConfig::begin`], no repair is ever due; nor after a single loss.
/// - *Enough and no more*: redundancy is the least that meets both aims of [`AdaptConfig`] over a Gilbert channel with the measured loss and burst.
/// - *Apart in time*: a repair is due some milliseconds after its newest symbol, and repairs are spread evenly.
/// - *Capped*: loss and burst are believed up to a bound, so no report buys more than [`ceiling`](Adapt::ceiling).
/// - *Not into a queue*: redundancy does not rise while queueing delay rises.
/// - *Steady*: it rises at once and falls only after [`AdaptConfig::patience`].
#[derive(Debug)]
pub struct Adapt {
    config: AdaptConfig,
    loss: LossEstimate,
    queue: Queue,
    active: bool,
    redundancy: f64,
    /// Since when less redundancy would do.
    lower_since: Option<u64>,
    /// Mean time between symbols, nanoseconds.
    interval: f64,
    newest_source: Option<u64>,
    /// Repairs that are owed, not yet a whole one.
    credit: f64,
    due: VecDeque<u64>,
    last_due: u64,
}

/// Mean queueing delays over about 8 and 64 samples, nanoseconds.
#[derive(Debug, Default)]
struct Queue {
    short: f64,
    long: f64,
}

impl Queue {
    /// Changes below this are noise, nanoseconds.
    const NOISE: f64 = 1e6;

    fn handle(&mut self, nanos: u64) {
        let sample = nanos as f64;
        self.short += (sample - self.short) / 8.0;
        self.long += (sample - self.long) / 64.0;
    }

    fn is_rising(&self) -> bool {
        self.short > 1.25 * self.long + Queue::NOISE
    }
}

impl Adapt {
    /// Without any loss yet.
    #[must_use]
    pub fn new(config: AdaptConfig) -> Adapt {
        let interval = config.soon as f64;
        Adapt {
            config,
            loss: LossEstimate::default(),
            queue: Queue::default(),
            active: false,
            redundancy: 0.0,
            lower_since: None,
            interval,
            newest_source: None,
            credit: 0.0,
            due: VecDeque::new(),
            last_due: 0,
        }
    }

    /// The fate of the datagram with this counter, once it is decided. Fates may come in any order; a second fate of a datagram is ignored.
    pub fn handle_outcome(&mut self, now: u64, counter: u64, arrived: bool) {
        if self.loss.handle(now, counter, arrived) {
            self.review(now);
        }
    }

    /// A sample of the queueing delay on the link's path, nanoseconds.
    pub fn handle_queue(&mut self, nanos: u64) {
        self.queue.handle(nanos);
    }

    /// A symbol is sent now.
    pub fn handle_source(&mut self, now: u64) {
        if let Some(before) = self.newest_source.replace(now) {
            // A pause says nothing about the symbols that come together.
            let gap = (now.saturating_sub(before) as f64).min(self.config.soon as f64);
            self.interval += (gap - self.interval) / 16.0;
        }
        if self.redundancy == 0.0 {
            return;
        }
        self.credit += self.redundancy;
        let lag = self.lag();
        let spacing = (self.interval / self.redundancy).min(self.config.soon as f64);
        while self.credit >= 1.0 {
            self.credit -= 1.0;
            let earliest = nanos(self.last_due as f64 + 0.9 * spacing);
            let due = earliest.max(now.saturating_add(lag));
            // What falls so far behind would protect nothing in time.
            if self.due.len() < MOST_DUE && due <= now.saturating_add(self.config.soon) {
                self.due.push_back(due);
                self.last_due = due;
            }
        }
    }

    /// When the next repair is due; none while there is no loss.
    #[must_use]
    pub fn next_repair(&self) -> Option<u64> {
        self.due.front().copied()
    }

    /// Whether a repair is due by `now`; each is reported once.
    pub fn poll_repair(&mut self, now: u64) -> bool {
        let due = self.due.front().is_some_and(|due| *due <= now);
        if due {
            self.due.pop_front();
        }
        due
    }

    /// Repairs for each symbol; 0 without loss.
    #[must_use]
    pub const fn redundancy(&self) -> f64 {
        self.redundancy
    }

    /// The most that any report could buy at the present rate of symbols: repairs for each symbol.
    #[must_use]
    pub fn ceiling(&self) -> f64 {
        self.need(self.config.most_loss, self.config.most_burst)
    }

    /// Share of the link's datagrams that is lost.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss.share()
    }

    /// Mean length of a run of losses.
    #[must_use]
    pub fn burst(&self) -> f64 {
        self.loss.burst()
    }

    /// Thinks again, after the estimate changed.
    fn review(&mut self, now: u64) {
        let share = self.loss.share();
        self.active = if self.active {
            share >= self.config.residual
        } else {
            share >= self.config.begin && !self.loss.is_stray()
        };
        let wanted = if self.active {
            self.need(share.min(self.config.most_loss), self.loss.burst().min(self.config.most_burst))
        } else {
            0.0
        };
        if wanted >= self.redundancy {
            self.lower_since = None;
            if !self.queue.is_rising() {
                self.redundancy = wanted;
            }
        } else {
            let since = *self.lower_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.config.patience {
                self.redundancy = wanted;
                self.lower_since = None;
            }
        }
        if self.redundancy == 0.0 {
            self.due.clear();
            self.credit = 0.0;
        }
    }

    /// The least redundancy that meets both aims.
    fn need(&self, share: f64, burst: f64) -> f64 {
        let most = self.config.most_redundancy;
        let symbols =
            |horizon: u64| (horizon as f64 / self.interval.max(1.0)).round().clamp(1.0, need::MOST_SYMBOLS as f64);
        let soon = need::redundancy(symbols(self.config.soon), share, burst, self.config.late, most);
        let ever = need::redundancy(symbols(self.config.deadline), share, burst, self.config.residual, most);
        soon.max(ever)
    }

    /// From a symbol to the repair that follows it, nanoseconds.
    fn lag(&self) -> u64 {
        let shared = self.interval / (self.redundancy.floor() + 1.0);
        nanos(shared.max(2.0 * MILLISECOND as f64))
    }
}

/// A time that cannot be negative or out of range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float's cast saturates")]
fn nanos(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests;

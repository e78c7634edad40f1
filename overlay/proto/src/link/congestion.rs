//! Congestion control of a link: how many bytes may be on their way, and how evenly they leave.
//!
//! Delay-based, in the family of Vegas, FAST and Copa. The path's queue is measured as the smallest rise of the delay
//! over its recent minimum within a measuring period; the window moves so that this queue stands near a target:
//!
//! - above it, the window shrinks by (base + target) / (base + queue), which is where the queue would be on target;
//! - below it, the window grows by one datagram, so that flows which share a path drift towards equal shares, and far
//!   below it by half of that ratio's rise too, at most a quarter;
//! - at first it doubles each round trip until the queue shows.
//!
//! A period begins only when a datagram sent after the last change is reported, so that each change is judged by its
//! own effect. Loss alone says little on radio and overlay paths: up to 10 % is borne, and only a rise of loss over its
//! own recent floor, or loss beyond 20 %, shrinks the window. To keep the minimum honest under constant load the
//! queue is drained for about one round trip every 3 s. When nothing is reported for too long the window collapses
//! and probes. Pacing spreads a window over a round trip in bursts of at most 64 datagrams.
//!
//! No input and no clock: the tests run it over a model of a bottleneck in virtual time.

mod delay;
mod loss;

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "figures for whoever tunes the controller")]
mod tests;

use super::bucket::Bucket;
use super::clock::{MILLI, Nanos, SECOND};
use super::sent::{LONGEST_RTT, Report};
use crate::wire::datagram::L_LEN;
use delay::Delay;
use loss::{Loss, Verdict};

const DATAGRAM: u64 = L_LEN as u64;
/// The window never falls below this, …
pub(super) const MIN_WINDOW: u64 = 4 * DATAGRAM;
/// … nor below what is on its way at this rate, in bytes per second: a call beside two repairs for each of its cells. Delay
/// that varies by more than the target, as on radio, looks like a queue for ever, and such a rate would not make one shorter.
const CALL_RATE: u64 = 120_000;
/// How much of the delay's variation counts as time on the way.
const MOST_VARIATION: Nanos = 150 * MILLI;
const INITIAL_WINDOW: u64 = 32 * DATAGRAM;
const MAX_WINDOW: u64 = 32 << 20;
const MAX_BURST: u64 = 64 * DATAGRAM;
const MIN_BURST: u64 = 2 * DATAGRAM;
/// Datagrams leave faster than one window in a round trip by this part of it, so that the window can fill. A flow that sends in
/// bursts, as QUIC does over a long circuit, stands in the path's queue by this excess: at a quarter a call beside it waited up to
/// 8.7 ms at 60 ms of round trip, at a twelfth up to 4.3 ms, and the flow got as much.
const PACE_ABOVE: u64 = 12;
/// A burst holds at most what the path takes in this time.
const BURST_TIME: Nanos = MILLI;
/// The queue is drained so often under constant load, …
const DRAIN_EVERY: Nanos = 3 * SECOND;
/// … and never for longer than this.
const DRAIN_LONGEST: Nanos = 300 * MILLI;
const SHORTEST_PERIOD: Nanos = MILLI;
const FEWEST_SAMPLES: u32 = 3;
const BLACKOUT_FLOOR: Nanos = 60 * MILLI;
/// Nothing that a peer does stretches the wait for a report beyond this.
const LONGEST_PATIENCE: Nanos = 3 * SECOND;
/// What a peer may wait before it reports.
const REPORT_WAIT: Nanos = 30 * MILLI;

/// The congestion controller of one link.
#[derive(Clone, Debug)]
pub(super) struct Congestion {
    window: u64,
    in_flight: u64,
    slow_start: bool,
    /// Slow start ends here at the latest.
    ceiling: u64,
    delay: Delay,
    loss: Loss,
    /// Samples of datagrams with this counter or a higher one show the effect of the last change.
    period_from: u64,
    period_began: Option<Nanos>,
    period_samples: u32,
    period_queue: Nanos,
    /// Loss has shrunk the window; only datagrams from this counter on show the effect.
    shrunk_at: u64,
    /// The window at which it did.
    lossy: u64,
    /// The window was the limit up to this counter.
    limited_until: Option<u64>,
    /// The queue was last seen nearly empty.
    emptied: Nanos,
    drain: Option<(u64, Nanos)>,
    blackout: Option<Nanos>,
    /// Something that waits for a report was sent then, and none of anything new has come since.
    unreported: Option<Nanos>,
    backoff: u32,
    last_sent: Nanos,
    pacer: Bucket,
}

impl Congestion {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            window: INITIAL_WINDOW,
            in_flight: 0,
            slow_start: true,
            ceiling: MAX_WINDOW,
            delay: Delay::default(),
            loss: Loss::new(now),
            period_from: 0,
            period_began: None,
            period_samples: 0,
            period_queue: Nanos::MAX,
            shrunk_at: 0,
            lossy: MAX_WINDOW,
            limited_until: None,
            emptied: now,
            drain: None,
            blackout: None,
            unreported: None,
            backoff: 0,
            last_sent: now,
            pacer: Bucket::new(INITIAL_WINDOW * 20, MAX_BURST / 2, now),
        }
    }

    /// Whether a long datagram may leave now.
    pub(super) fn can_send(&self, now: Nanos) -> bool {
        self.in_flight + DATAGRAM <= self.allowed() && self.pacer.allows(now, DATAGRAM)
    }

    /// When pacing will let the next long datagram leave, if it is pacing that holds it back.
    pub(super) fn paced_until(&self, now: Nanos) -> Option<Nanos> {
        if self.in_flight + DATAGRAM <= self.allowed() { self.pacer.ready_at(now, DATAGRAM) } else { None }
    }

    fn allowed(&self) -> u64 {
        self.drain.map_or(self.window, |(cap, _)| cap.min(self.window))
    }

    /// Notes that a datagram left. `next` is the counter after it.
    pub(super) fn on_sent(&mut self, now: Nanos, bytes: u64, next: u64) {
        if self.in_flight == 0 {
            self.after_idle(now);
            self.blackout = Some(now + self.patience());
        }
        self.last_sent = now;
        self.unreported.get_or_insert(now);
        self.in_flight += bytes;
        self.pacer.take(now, bytes);
        if self.in_flight + DATAGRAM > self.window {
            self.limited_until = Some(next);
        }
    }

    /// A path that was idle may have changed: start again from half, never from more.
    fn after_idle(&mut self, now: Nanos) {
        let idle = now.saturating_sub(self.last_sent);
        if idle > SECOND && self.window > INITIAL_WINDOW {
            self.window = (self.window / 2).max(INITIAL_WINDOW);
            self.pace(now);
        }
        if idle > SECOND {
            self.emptied = now;
        }
    }

    /// Bytes that are no longer tracked.
    pub(super) fn on_dropped(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Notes a round trip measured by PING.
    pub(super) fn on_ping(&mut self, now: Nanos, rtt: Nanos) {
        self.delay.note(now, rtt.min(LONGEST_RTT), None);
        self.pace(now);
    }

    /// Takes what a FEEDBACK changed. `next` is the next counter to be sent.
    pub(super) fn on_report(&mut self, now: Nanos, report: &Report, next: u64) {
        self.in_flight = self.in_flight.saturating_sub(report.acked_bytes + report.lost_bytes);
        let queue = report.rtt.map(|rtt| self.delay.note(now, rtt, report.one_way));
        if self.in_flight == 0 {
            self.blackout = None;
        }
        if report.acked > 0 {
            self.backoff = 0;
            self.blackout = (self.in_flight > 0).then(|| now + self.patience());
        }
        if report.acked_bytes > 0 || report.revived {
            self.unreported = (self.in_flight > 0).then_some(now);
        }
        if report.revived && self.slow_start && self.ceiling < MAX_WINDOW {
            // The black-out was a hiccup: go back to where it struck.
            self.window = self.window.max(self.ceiling.min(MAX_WINDOW));
        }
        let limited = self.limited_until.is_some_and(|until| report.largest <= until);
        match self.loss.note(now, report.acked, report.lost) {
            Verdict::Bear => {}
            Verdict::Shrink(percent) if report.largest >= self.shrunk_at => {
                self.slow_start = false;
                self.lossy = self.window;
                self.shrunk_at = next;
                self.change(now, self.window * (100 - percent) / 100, next);
            }
            Verdict::Shrink(_) => {}
        }
        if let Some(queue) = queue {
            self.sample(now, queue, report.largest);
            self.steer_drain(now, queue);
        }
        if self.slow_start {
            self.start_up(now, report.acked_bytes, limited, next);
        } else {
            self.steer(now, limited, next);
        }
        self.pace(now);
    }

    fn sample(&mut self, now: Nanos, queue: Nanos, largest: u64) {
        if largest >= self.period_from {
            self.period_began.get_or_insert(now);
            self.period_samples += 1;
            self.period_queue = self.period_queue.min(queue);
        }
    }

    fn start_up(&mut self, now: Nanos, acked: u64, limited: bool, next: u64) {
        let target = self.delay.target();
        if let Some(queue) = self.delay.recent_queue().filter(|queue| *queue > target / 2) {
            // What is measured now is the effect of about half the window.
            let base = self.delay.base();
            self.slow_start = false;
            self.change(now, self.window / 2 * (base + target) / (base + queue), next);
        } else if limited {
            self.window = (self.window + acked).min(MAX_WINDOW);
            if self.window >= self.ceiling {
                self.slow_start = false;
                self.change(now, self.window, next);
            }
        }
    }

    fn steer(&mut self, now: Nanos, limited: bool, next: u64) {
        let Some(began) = self.period_began else {
            return;
        };
        let age = now - began;
        let rtt = self.delay.smoothed();
        let enough = self.period_samples >= FEWEST_SAMPLES && age >= (rtt / 2).max(SHORTEST_PERIOD);
        if self.drain.is_some() || !(enough || age >= 2 * rtt.max(SHORTEST_PERIOD)) {
            return;
        }
        let (queue, target, base) = (self.period_queue, self.delay.target(), self.delay.base());
        if queue > target {
            if self.window == self.floor() {
                // So small a window makes no such queue: the path is longer than it was, or others fill it.
                self.delay.rebase(now);
            }
            let shrunk = self.window * (base + target) / (base + queue);
            self.change(now, shrunk.max(self.window / 2), next);
        } else if limited && !self.loss.is_rising() {
            let far = (target / 2).saturating_sub(queue);
            let mut rise = (self.window * far / (base + queue).max(1)).min(self.window / 4);
            if self.window > self.lossy / 8 * 7 {
                // Here the path lost too much: feel the way, and forget it once well past.
                rise = 0;
                if self.window > self.lossy / 4 * 5 {
                    self.lossy = MAX_WINDOW;
                }
            }
            self.change(now, self.window + rise + DATAGRAM, next);
        } else {
            self.change(now, self.window, next);
        }
    }

    /// The window never falls below this.
    fn floor(&self) -> u64 {
        let on_the_way = self.delay.base() + (4 * self.delay.variation()).min(MOST_VARIATION);
        MIN_WINDOW.max(on_the_way.min(SECOND) * CALL_RATE / SECOND)
    }

    /// Sets the window and begins a new period.
    fn change(&mut self, _now: Nanos, window: u64, next: u64) {
        self.window = window.clamp(self.floor(), MAX_WINDOW);
        self.period_from = next;
        self.period_began = None;
        self.period_samples = 0;
        self.period_queue = Nanos::MAX;
    }

    /// Lets the queue run empty now and then, so that the smallest delay is seen.
    fn steer_drain(&mut self, now: Nanos, queue: Nanos) {
        let (target, base) = (self.delay.target(), self.delay.base());
        if queue <= target / 8 {
            self.emptied = now;
        }
        match self.drain {
            Some((_, until)) if now >= until || queue <= target / 8 => {
                self.drain = None;
                self.emptied = now;
            }
            None if !self.slow_start && now.saturating_sub(self.emptied) > DRAIN_EVERY => {
                let cap = self.window * base / (base + queue).max(1) * 3 / 4;
                let span = (2 * self.delay.smoothed() + 2 * MILLI).min(DRAIN_LONGEST);
                self.drain = Some((cap.max(self.floor()), now + span));
            }
            _ => {}
        }
    }

    fn pace(&mut self, now: Nanos) {
        let rtt = self.delay.smoothed().max(1000);
        let window = self.allowed();
        let rate = u64::try_from(u128::from(window) * u128::from(SECOND) / u128::from(rtt)).unwrap_or(u64::MAX);
        let rate = if self.slow_start { rate.saturating_mul(2) } else { rate.saturating_add(rate / PACE_ABOVE) };
        let rate = rate.min(1 << 36);
        let burst = rate / (SECOND / BURST_TIME);
        self.pacer.set(rate, burst.clamp(MIN_BURST, MAX_BURST), now);
    }

    /// How long the peer may stay silent while something is in flight.
    fn patience(&self) -> Nanos {
        let quiet = self.delay.smoothed() + 4 * self.delay.variation() + REPORT_WAIT;
        (quiet.max(2 * self.delay.smoothed()).max(BLACKOUT_FLOOR) << self.backoff).min(LONGEST_PATIENCE)
    }

    /// Since when a report of anything new is missing.
    pub(super) fn unreported(&self) -> Option<Nanos> {
        self.unreported
    }

    /// When silence becomes a black-out, while something is in flight.
    pub(super) fn blackout_at(&self) -> Option<Nanos> {
        self.blackout
    }

    /// Nothing was reported for too long: all in flight is given up, the window collapses, and four datagrams may probe.
    pub(super) fn on_blackout(&mut self, now: Nanos, next: u64) {
        if self.backoff == 0 {
            self.ceiling = (self.window / 4 * 3).max(MIN_WINDOW);
        }
        self.in_flight = 0;
        self.slow_start = true;
        self.drain = None;
        self.blackout = None;
        self.backoff = (self.backoff + 1).min(3);
        self.delay.forget_recent();
        self.change(now, MIN_WINDOW, next);
        self.pace(now);
    }

    /// The peer moved to another address: what was in flight is given up, and a new path is measured anew.
    pub(super) fn on_moved(&mut self, now: Nanos, next: u64, new_path: bool) {
        self.in_flight = 0;
        self.unreported = None;
        self.blackout = None;
        self.backoff = 0;
        self.shrunk_at = next;
        if !new_path {
            return;
        }
        let window = self.window.min(INITIAL_WINDOW);
        self.delay = Delay::default();
        self.slow_start = true;
        self.ceiling = MAX_WINDOW;
        self.lossy = MAX_WINDOW;
        self.drain = None;
        self.emptied = now;
        self.change(now, window, next);
        self.pace(now);
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Smoothed round-trip time, once measured.
    pub(super) fn rtt(&self) -> Option<Nanos> {
        self.delay.measured().then(|| self.delay.smoothed())
    }

    pub(super) fn min_rtt(&self) -> Option<Nanos> {
        self.delay.measured().then(|| self.delay.base())
    }

    pub(super) fn queue_delay(&self) -> Nanos {
        self.delay.recent_queue().unwrap_or(0)
    }

    /// Time after which an unanswered control frame is sent again.
    pub(super) fn retry_after(&self) -> Nanos {
        self.delay.smoothed() + 4 * self.delay.variation() + REPORT_WAIT
    }

    /// Share of datagrams lost lately, in thousandths.
    pub(super) fn loss_permille(&self) -> u16 {
        self.loss.permille()
    }
}

//! How much a peer sends: a bucket of bytes and of messages that are not accepted, of questions, of news of itself; `now` is an argument.

use std::time::Instant;

use crate::Limits;

/// Seconds of its share that a peer may send at once.
const BURST: f64 = 10.0;
/// Bytes that it may send at once whatever its share: while a node is behind by a document, it ignores the votes on the next one, and
/// their ballots are the largest messages that there are. Those of all voters of an ordinary network fit.
const BURST_LEAST: f64 = 24.0 * 320.0 * 1_024.0;
/// News of itself that a peer may tell at once, and seconds for one more.
const NEWS: f64 = 4.0;
const NEWS_EVERY: f64 = 60.0;

/// What one peer has left.
#[derive(Debug)]
pub(crate) struct Meter {
    bytes: Bucket,
    messages: Bucket,
    asks: Bucket,
    news: Bucket,
}

impl Meter {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            bytes: Bucket::new(
                f64::from(limits.bytes_per_second),
                (f64::from(limits.bytes_per_second) * BURST).max(BURST_LEAST),
                now,
            ),
            messages: Bucket::new(
                f64::from(limits.messages_per_second),
                f64::from(limits.messages_per_second) * BURST,
                now,
            ),
            asks: Bucket::new(f64::from(limits.asks_per_minute) / 60.0, f64::from(limits.asks_per_minute), now),
            news: Bucket::new(1.0 / NEWS_EVERY, NEWS, now),
        }
    }

    /// Counts a gossiped message that was not accepted; false when the peer has sent more than its share.
    pub(crate) fn message(&mut self, len: usize, now: Instant) -> bool {
        #[allow(clippy::cast_precision_loss, reason = "lengths of messages are small")]
        let fits = self.bytes.take(len as f64, now);
        self.messages.take(1.0, now) && fits
    }

    /// Counts something that it tells of itself; false when that is too much to act on.
    pub(crate) fn news(&mut self, now: Instant) -> bool {
        self.news.take(1.0, now)
    }

    /// Counts a question.
    pub(crate) fn ask(&mut self, now: Instant) -> bool {
        self.asks.take(1.0, now)
    }
}

#[derive(Debug)]
struct Bucket {
    rate: f64,
    most: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: f64, most: f64, now: Instant) -> Self {
        Self { rate, most, left: most, at: now }
    }

    fn take(&mut self, amount: f64, now: Instant) -> bool {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + past * self.rate).min(self.most);
        let fits = self.left >= amount;
        if fits {
            self.left -= amount;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_is_a_burst_and_a_rate() {
        let limits =
            Limits { messages_per_second: 2, bytes_per_second: 1_000, asks_per_minute: 60, ..Limits::default() };
        let now = Instant::now();
        let mut meter = Meter::new(&limits, now);
        assert_eq!((0..100).filter(|_| meter.message(1, now)).count(), 20);
        assert_eq!((0..100).filter(|_| meter.message(1, now + Duration::from_secs(3))).count(), 6);
        let limits = Limits { bytes_per_second: 1_000, ..Limits::default() };
        let mut meter = Meter::new(&limits, now);
        assert_eq!((0..100).filter(|_| meter.message(320 << 10, now)).count(), 24, "bytes count as well");
        assert!(
            !meter.message(40_000, now + Duration::from_secs(39))
                && meter.message(1_000, now + Duration::from_secs(40))
        );
        assert_eq!((0..9).filter(|_| meter.news(now)).count(), 4);
        assert_eq!((0..9).filter(|_| meter.news(now + Duration::from_secs(60))).count(), 1);
        assert_eq!((0..100).filter(|_| meter.ask(now)).count(), 60);
    }
}

//! How much a peer sends: a bucket of bytes and of messages that are not accepted, of questions, of news of itself; `now` is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Limits;

/// Seconds of its share that a peer may send at once.
const BURST: f64 = 10.0;
/// Bytes that it may send at once whatever its share: while a node is behind by a document, it ignores the votes on the next one, and
/// their ballots are the largest messages that there are. Those of all voters of an ordinary network fit.
const BURST_LEAST: f64 = 24.0 * 320.0 * 1_024.0;
/// News of itself that a peer may tell at once, and seconds for one more.
const NEWS: f64 = 4.0;
const NEWS_EVERY: f64 = 60.0;
/// How long is remembered what those have sent who left, and of how many.
const LEFT_FOR: Duration = Duration::from_secs(120);
const LEFT_MAX: usize = 1_024;

/// What one peer has left.
#[derive(Clone, Copy, Debug)]
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

    fn buckets(&mut self) -> [&mut Bucket; 4] {
        [&mut self.bytes, &mut self.messages, &mut self.asks, &mut self.news]
    }

    /// Has no more left than another one.
    fn at_most(&mut self, mut other: Self, now: Instant) {
        for (own, other) in self.buckets().into_iter().zip(other.buckets()) {
            other.refill(now);
            own.refill(now);
            own.left = own.left.min(other.left);
        }
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.buckets().into_iter().all(|bucket| {
            bucket.refill(now);
            bucket.left >= bucket.most
        })
    }
}

/// What those had left who are gone, by whatever tells who comes again: nobody has another burst for coming again.
#[derive(Debug)]
pub(crate) struct Left<K> {
    meters: BTreeMap<K, (Meter, Instant)>,
}

impl<K> Default for Left<K> {
    fn default() -> Self {
        Self { meters: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Left<K> {
    /// Somebody goes.
    pub(crate) fn leave(&mut self, key: K, mut meter: Meter, now: Instant) {
        self.charge(&key, &mut meter, now);
        if meter.is_full(now) {
            return;
        }
        self.meters.retain(|_, (_, at)| now.saturating_duration_since(*at) < LEFT_FOR);
        if self.meters.len() >= LEFT_MAX
            && let Some(first) = self.meters.iter().min_by_key(|(_, (_, at))| *at).map(|(key, _)| *key)
        {
            self.meters.remove(&first);
        }
        self.meters.insert(key, (meter, now));
    }

    /// Somebody comes, and has no more left than who went.
    pub(crate) fn charge(&self, key: &K, meter: &mut Meter, now: Instant) {
        if let Some((left, at)) = self.meters.get(key)
            && now.saturating_duration_since(*at) < LEFT_FOR
        {
            meter.at_most(*left, now);
        }
    }
}

#[derive(Clone, Copy, Debug)]
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

    fn refill(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + past * self.rate).min(self.most);
    }

    fn take(&mut self, amount: f64, now: Instant) -> bool {
        self.refill(now);
        let fits = self.left >= amount;
        if fits {
            self.left -= amount;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn nobody_has_another_burst_for_coming_again() {
        let limits = Limits { messages_per_second: 1, asks_per_minute: 60, ..Limits::default() };
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut left = Left::default();
        let mut meter = Meter::new(&limits, start);
        assert_eq!((0..100).filter(|_| meter.message(1, start)).count(), 10);
        left.leave(1, meter, start);
        let come = |left: &Left<u32>, key: u32, now: Instant| {
            let mut meter = Meter::new(&limits, now);
            left.charge(&key, &mut meter, now);
            meter
        };
        // Several at once neither; and who goes without having sent anything takes nothing away from what is known.
        for _ in 0..3 {
            let mut again = come(&left, 1, start + second);
            left.leave(1, again, start + second);
            assert!(again.message(1, start + second) && !again.message(1, start + second));
            assert_eq!((0..100).filter(|_| again.ask(start + second)).count(), 60, "each thing has its own share");
        }
        let mut other = come(&left, 2, start + second);
        assert_eq!((0..100).filter(|_| other.message(1, start + second)).count(), 10, "others have theirs");
        assert!(come(&left, 1, start + LEFT_FOR * 2).is_full(start + LEFT_FOR * 2));
    }

    #[test]
    fn what_is_kept_of_those_who_left_has_an_end() {
        let limits = Limits::default();
        let start = Instant::now();
        let mut left = Left::default();
        for key in 0..10_000_u32 {
            left.leave(key, Meter::new(&limits, start), start);
        }
        assert_eq!(left.meters.len(), 0, "who sent nothing is not kept");
        for key in 0..10_000_u32 {
            let mut meter = Meter::new(&limits, start);
            meter.ask(start);
            left.leave(key, meter, start + Duration::from_micros(key.into()));
        }
        assert_eq!(left.meters.len(), LEFT_MAX);
        assert!(left.meters.contains_key(&9_999), "the last are kept");
        let mut meter = Meter::new(&limits, start + LEFT_FOR * 2);
        meter.ask(start + LEFT_FOR * 2);
        left.leave(0, meter, start + LEFT_FOR * 2);
        assert_eq!(left.meters.len(), 1, "and not for long");
    }
}

//! A token bucket, for pacing a link and for the node's rate limit.

use super::clock::{Nanos, SECOND};

/// Bytes that may be sent, refilled at a rate up to a burst. May go into debt by one call of [`take`](Self::take).
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: u64,
    burst: u64,
    /// Bytes in billionths.
    credit: i64,
    last: Nanos,
}

const SCALE: i64 = 1_000_000_000;
/// No bucket is deeper than this, so that the credit fits.
const MAX_BURST: u64 = 1 << 32;

impl Bucket {
    /// A full bucket. The rate is in bytes per second.
    pub(super) fn new(rate: u64, burst: u64, now: Nanos) -> Self {
        let mut bucket = Self { rate, burst: 0, credit: 0, last: now };
        bucket.set(rate, burst, now);
        bucket.credit = bucket.full();
        bucket
    }

    fn full(&self) -> i64 {
        i64::try_from(self.burst).unwrap_or(i64::MAX).saturating_mul(SCALE)
    }

    fn credit_at(&self, now: Nanos) -> i64 {
        let span = now.saturating_sub(self.last).min(60 * SECOND);
        let refill = i64::try_from(self.rate.saturating_mul(span)).unwrap_or(i64::MAX);
        self.credit.saturating_add(refill).min(self.full())
    }

    /// Changes rate and burst from now on.
    pub(super) fn set(&mut self, rate: u64, burst: u64, now: Nanos) {
        self.credit = self.credit_at(now);
        self.last = now;
        self.rate = rate.max(1);
        self.burst = burst.min(MAX_BURST);
        self.credit = self.credit.min(self.full());
    }

    /// Whether `bytes` may be sent now.
    pub(super) fn allows(&self, now: Nanos, bytes: u64) -> bool {
        self.credit_at(now) >= i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(SCALE)
    }

    /// Takes `bytes` out, into debt if need be.
    pub(super) fn take(&mut self, now: Nanos, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(SCALE);
        self.credit = self.credit_at(now).saturating_sub(bytes).max(-self.full());
        self.last = now;
    }

    /// When `bytes` may be sent, unless that is already so.
    pub(super) fn ready_at(&self, now: Nanos, bytes: u64) -> Option<Nanos> {
        let missing = i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(SCALE) - self.credit_at(now);
        let missing = u64::try_from(missing).ok().filter(|missing| *missing > 0)?;
        Some(now.saturating_add(missing.div_ceil(self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::clock::MILLI;

    #[test]
    fn the_rate_holds_over_time_and_ready_at_is_exact() {
        let mut bucket = Bucket::new(1_000_000, 10_000, 0);
        let (mut now, mut sent) = (0, 0u64);
        while now < SECOND {
            while bucket.allows(now, 1_200) {
                bucket.take(now, 1_200);
                sent += 1_200;
            }
            let ready = bucket.ready_at(now, 1_200).expect("empty");
            assert!(!bucket.allows(ready - 1, 1_200) && bucket.allows(ready, 1_200));
            now = ready;
        }
        assert!((1_000_000..1_012_000).contains(&sent), "{sent}");
    }

    #[test]
    fn debt_is_paid_back_and_bounded() {
        let mut bucket = Bucket::new(1_000_000, 10_000, 0);
        bucket.take(0, 15_000);
        assert!(!bucket.allows(4 * MILLI, 1) && bucket.allows(6 * MILLI, 1_000));
        bucket.take(6 * MILLI, u64::MAX);
        assert!(bucket.allows(6 * MILLI + SECOND, 10_000));
    }
}

//! A budget that fills again with time.

/// Tokens, in thousandths, and when they were counted last (unix seconds).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bucket {
    thousandths: u64,
    at: u64,
}

impl Bucket {
    pub(super) fn full(per_minute: u32) -> Self {
        Self { thousandths: u64::from(per_minute) * 1_000, at: 0 }
    }

    /// Takes so many, of a budget that holds a minute's worth. A clock that goes back fills nothing.
    pub(super) fn take(&mut self, count: u64, per_minute: u32, now: u64) -> bool {
        let most = u64::from(per_minute) * 1_000;
        let grown = now.saturating_sub(self.at).saturating_mul(most) / 60;
        self.thousandths = self.thousandths.saturating_add(grown).min(most);
        self.at = self.at.max(now);
        let wanted = count.saturating_mul(1_000);
        let enough = self.thousandths >= wanted;
        if enough {
            self.thousandths -= wanted;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_s_worth_at_once_and_the_rest_by_the_clock() {
        let mut bucket = Bucket::full(30);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(1, 30, now)).count();
        assert_eq!(taken(&mut bucket, 1_000), 30);
        assert_eq!(taken(&mut bucket, 1_001), 0, "a second fills half of one");
        assert_eq!(taken(&mut bucket, 1_020), 10);
        assert_eq!(taken(&mut bucket, 500), 0, "a clock that goes back fills nothing");
        assert_eq!(taken(&mut bucket, 1_000_000), 30, "no more than a minute's worth is saved up");
    }
}

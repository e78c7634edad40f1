//! A budget that fills again with time.

/// Tokens, in thousandths, and when they were counted last (unix seconds).
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::directory) struct Bucket {
    pub(super) thousandths: u64,
    pub(super) at: u64,
}

impl Bucket {
    pub(in crate::directory) fn full(per_minute: u32) -> Self {
        Self { thousandths: u64::from(per_minute) * 1_000, at: 0 }
    }

    /// Takes so many, of a budget that holds a minute's worth. A clock that goes back fills nothing.
    pub(in crate::directory) fn take(&mut self, count: u64, per_minute: u32, now: u64) -> bool {
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

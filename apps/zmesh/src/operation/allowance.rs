//! What a relay may send in a calendar month.
//!
//! The count is kept in a file of two numbers, so that it survives restarts. When nine tenths are used up the relay takes no
//! new circuits; when all is used up it closes those that are left, and begins again with the next month (UTC).

use std::path::{Path, PathBuf};

use crate::failure::Outcome;
use crate::files::{self, Access};
use crate::time::month;

/// What the relay may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Use {
    /// As usual.
    Free,
    /// No new circuits.
    Scarce,
    /// Nothing at all.
    Spent,
}

/// The bytes of one month, and the limit.
#[derive(Debug)]
pub(crate) struct Allowance {
    /// Months since the year 0.
    month: u64,
    sent: u64,
    /// 0 for none.
    limit: u64,
    /// The process's own counter when it was last read.
    counter: u64,
}

impl Allowance {
    /// The allowance of the month of `unix` (seconds), of which a stored count may know a part already.
    pub(crate) fn new(stored: Option<&str>, limit: u64, unix: u64) -> Self {
        let (known, sent) = stored.and_then(read).unwrap_or_default();
        let month = month(unix);
        Self { month, sent: if known == month { sent } else { 0 }, limit, counter: 0 }
    }

    /// Another limit from now on.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Takes the process's counter of bytes sent since its start.
    pub(crate) fn note(&mut self, counter: u64, unix: u64) -> Use {
        let now = month(unix);
        // A clock that goes back a month must not give the month anew.
        if now > self.month {
            self.month = now;
            self.sent = 0;
        }
        self.sent = self.sent.saturating_add(counter.saturating_sub(self.counter));
        self.counter = self.counter.max(counter);
        self.left()
    }

    fn left(&self) -> Use {
        match self.limit {
            0 => Use::Free,
            limit if self.sent >= limit => Use::Spent,
            limit if self.sent >= limit - limit / 10 => Use::Scarce,
            _ => Use::Free,
        }
    }

    /// Bytes sent this month, and the limit.
    pub(crate) fn figures(&self) -> (u64, u64) {
        (self.sent, self.limit)
    }

    fn to_text(&self) -> String {
        format!("{} {}\n", self.month, self.sent)
    }
}

fn read(text: &str) -> Option<(u64, u64)> {
    let (month, sent) = text.trim_end().split_once(' ')?;
    Some((month.parse().ok()?, sent.parse().ok()?))
}

/// Where the count is kept.
#[derive(Debug)]
pub(crate) struct AllowanceFile(PathBuf);

impl AllowanceFile {
    /// The file in a relay's directory of state.
    pub(crate) fn in_state(state: &Path) -> Self {
        Self(state.join("month"))
    }

    /// What is stored, if anything.
    pub(crate) fn load(&self) -> Option<String> {
        std::fs::read_to_string(&self.0).ok()
    }

    /// Stores the count.
    pub(crate) fn store(&self, allowance: &Allowance) -> Outcome {
        files::replace(&self.0, allowance.to_text().as_bytes(), Access::Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JUNE: u64 = 1_780_272_000;
    const JULY: u64 = JUNE + 30 * 86_400;

    #[test]
    fn the_count_goes_on_after_a_restart_and_begins_anew_with_the_month() {
        let mut allowance = Allowance::new(None, 1_000, JUNE);
        assert_eq!(allowance.note(300, JUNE), Use::Free);
        assert_eq!(allowance.note(500, JUNE + 1), Use::Free);
        let mut again = Allowance::new(Some(&allowance.to_text()), 1_000, JUNE + 2);
        assert_eq!(again.figures(), (500, 1_000));
        assert_eq!(again.note(399, JUNE + 3), Use::Free);
        assert_eq!(again.note(400, JUNE + 3), Use::Scarce);
        assert_eq!(again.note(500, JUNE + 4), Use::Spent);
        assert_eq!(again.note(500, JULY), Use::Free);
        assert_eq!(again.note(510, JULY), Use::Free);
        assert_eq!(again.figures().0, 10);
        assert_eq!(again.note(520, JUNE), Use::Free);
        assert_eq!(again.figures().0, 20, "a clock set back gives no new month");
    }

    #[test]
    fn without_a_limit_all_is_free_and_a_damaged_file_counts_as_nothing() {
        for stored in [None, Some(""), Some("x y"), Some("24318"), Some("24318 -5"), Some("1 99999999")] {
            let mut allowance = Allowance::new(stored, 0, JUNE);
            assert_eq!(allowance.figures().0, 0, "{stored:?}");
            assert_eq!(allowance.note(u64::MAX, JUNE), Use::Free);
        }
    }
}

//! What a node did lately: faults that decay, bans that grow, budgets by topic.

use super::bucket::Bucket;
use crate::wire::control::{Reason, Topic};

/// At how many points a node is banned.
const BAN_AT: f64 = 100.0;
/// In how many seconds points halve.
const HALF_LIFE: f64 = 600.0;
/// The first ban, in seconds; each one after it lasts twice as long.
const BAN_FIRST: u64 = 60;
/// The longest, in seconds: a day.
const BAN_LAST: u64 = 86_400;
/// After how many quiet seconds past bans are forgotten: a week.
const MEMORY: u64 = 7 * 86_400;

/// What is kept of one node.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    pub(super) points: f64,
    pub(super) at: u64,
    pub(super) bans: u32,
    pub(super) banned_until: u64,
    /// Budgets of messages and of kilobytes, by topic. They are not stored: a restart fills them.
    budgets: [(Bucket, Bucket); Topic::ALL.len()],
}

/// Messages and kilobytes in a minute that an author may publish on a topic. A voter casts a handful of votes in each round, and a ballot.
fn limits(topic: Topic) -> (u32, u32) {
    match topic {
        Topic::Descriptors => (6, 24),
        Topic::Votes => (120, 1_024),
        Topic::Proofs => (300, 300),
        Topic::Snapshots => (6, 128),
        Topic::Meta => (4, 4),
    }
}

/// How bad a refused message is. Reasons that blame nobody cost nothing.
fn points(reason: Reason) -> f64 {
    match reason {
        Reason::Forged => 40.0,
        Reason::OtherNetwork => 5.0,
        Reason::Oversized | Reason::Malformed | Reason::AgainstRules => 20.0,
        _ => 0.0,
    }
}

impl Standing {
    pub(super) fn new(now: u64) -> Self {
        let budgets = Topic::ALL.map(|topic| {
            let (messages, kilobytes) = limits(topic);
            (Bucket::full(messages), Bucket::full(kilobytes))
        });
        Self { points: 0.0, at: now, bans: 0, banned_until: 0, budgets }
    }

    /// Its points now: 0 for nothing wrong, 100 for a ban.
    #[must_use]
    pub fn points(&self, now: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a human's time")]
        let passed = now.saturating_sub(self.at) as f64;
        self.points * (-passed / HALF_LIFE * std::f64::consts::LN_2).exp()
    }

    /// Until when it is banned, unix seconds; a time that has passed for one that is not.
    #[must_use]
    pub fn banned_until(&self) -> u64 {
        self.banned_until
    }

    pub(super) fn is_banned(&self, now: u64) -> bool {
        now < self.banned_until
    }

    pub(super) fn is_clean(&self, now: u64) -> bool {
        self.bans == 0 && self.points(now) < 1.0
    }

    pub(super) fn is_forgotten(&self, now: u64) -> bool {
        let quiet = now.saturating_sub(self.at.max(self.banned_until));
        quiet > MEMORY || (self.bans == 0 && self.points(now) < 0.01 && quiet > 3_600)
    }

    pub(super) fn take(&mut self, topic: Topic, len: usize, now: u64) -> bool {
        let (messages, kilobytes) = limits(topic);
        let Some(at) = Topic::ALL.iter().position(|known| *known == topic) else { return false };
        let (count, size) = &mut self.budgets[at];
        count.take(1, messages, now) && size.take(len.div_ceil(1_024) as u64, kilobytes, now)
    }

    pub(super) fn blame(&mut self, reason: Reason, now: u64) {
        if self.is_banned(now) {
            return;
        }
        self.points = self.points(now) + points(reason);
        self.at = self.at.max(now);
        if self.points >= BAN_AT {
            let length = BAN_FIRST.saturating_mul(1u64.checked_shl(self.bans).unwrap_or(u64::MAX)).min(BAN_LAST);
            self.banned_until = now.saturating_add(length);
            self.bans = self.bans.saturating_add(1);
            self.points = 0.0;
        }
    }

    pub(super) fn credit(&mut self, now: u64) {
        self.points = (self.points(now) - 0.1).max(0.0);
        self.at = self.at.max(now);
    }
}

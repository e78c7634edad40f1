//! How much public-key work a node takes on, and whose comes first.
//!
//! [`WorkBudget`] is a token bucket of processor time. [`FairTurns`] keeps waiting work by link: links get turns, each
//! link and the whole are bounded, and when the whole is full the link with the most waiting work pays. So a flood on
//! one link delays that link and no other. [`ClassTurns`] does so for known relays and for strangers apart, so that many
//! links of strangers do not outnumber those of relays.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::neighbour::{Class, PerClass};

/// A token bucket of processor time.
#[derive(Debug)]
pub(crate) struct WorkBudget {
    share_percent: u32,
    most: Duration,
    saved: Duration,
    filled: Instant,
}

impl WorkBudget {
    /// `share_percent` of one core; at most `most` can be saved up and spent at once.
    pub(crate) fn new(share_percent: u32, most: Duration, now: Instant) -> Self {
        Self { share_percent: share_percent.clamp(1, 100), most, saved: most, filled: now }
    }

    /// Takes `cost` from the bucket if it holds so much.
    pub(crate) fn spend(&mut self, now: Instant, cost: Duration) -> bool {
        self.fill(now);
        let cost = cost.min(self.most);
        if cost > self.saved {
            return false;
        }
        self.saved -= cost;
        true
    }

    /// When the bucket will hold `cost`.
    pub(crate) fn ready_at(&mut self, now: Instant, cost: Duration) -> Instant {
        self.fill(now);
        let missing = cost.min(self.most).saturating_sub(self.saved);
        now + missing * 100 / self.share_percent
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).min(self.most * 100);
        self.saved = (self.saved + passed * self.share_percent / 100).min(self.most);
        self.filled = self.filled.max(now);
    }
}

/// A token bucket of events, for things that each come from one circuit or link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    left: u32,
    filled: Instant,
}

impl RateLimit {
    /// A full bucket.
    pub(crate) const fn new(burst: u32, now: Instant) -> Self {
        Self { left: burst, filled: now }
    }

    /// Takes one event from a bucket that holds `burst` and earns `per_second`.
    pub(crate) fn take(&mut self, now: Instant, per_second: u32, burst: u32) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let earned = u32::try_from(passed * u128::from(per_second) / 1000).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(burst);
            self.filled = now;
        }
        let has = self.left > 0;
        self.left -= u32::from(has);
        has
    }
}

/// Work that waits, by link, with turns.
#[derive(Debug)]
pub(crate) struct FairTurns<L, W> {
    by_link: BTreeMap<L, VecDeque<W>>,
    turns: VecDeque<L>,
    per_link: usize,
    most: usize,
    len: usize,
}

impl<L: Ord + Copy, W> FairTurns<L, W> {
    /// At most `per_link` items of one link and `most` of all.
    pub(crate) const fn new(per_link: usize, most: usize) -> Self {
        Self { by_link: BTreeMap::new(), turns: VecDeque::new(), per_link, most, len: 0 }
    }

    /// Adds an item; gives back the item that has to go instead, if a bound was reached. `chance` is any number: it
    /// decides between links that have equally many.
    pub(crate) fn push(&mut self, link: L, item: W, chance: u32) -> Option<W> {
        let queue = self.by_link.entry(link).or_default();
        if queue.len() >= self.per_link {
            return Some(item);
        }
        if queue.is_empty() {
            self.turns.push_back(link);
        }
        queue.push_back(item);
        self.len += 1;
        if self.len > self.most { self.evict(chance) } else { None }
    }

    /// The next item of the link whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<W> {
        let link = self.turns.pop_front()?;
        let queue = self.by_link.get_mut(&link)?;
        let item = queue.pop_front()?;
        self.len -= 1;
        if queue.is_empty() {
            self.by_link.remove(&link);
        } else {
            self.turns.push_back(link);
        }
        Some(item)
    }

    /// Forgets what waits for a link that is gone.
    pub(crate) fn remove_link(&mut self, link: L) {
        if let Some(queue) = self.by_link.remove(&link) {
            self.len -= queue.len();
            self.turns.retain(|other| *other != link);
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes the newest item of a link that has the most items.
    fn evict(&mut self, chance: u32) -> Option<W> {
        let most = self.by_link.values().map(VecDeque::len).max()?;
        let fattest = || self.by_link.iter().filter(|(_, queue)| queue.len() == most).map(|(link, _)| *link);
        let link = fattest().nth(chance as usize % fattest().count().max(1))?;
        let queue = self.by_link.get_mut(&link)?;
        let item = queue.pop_back()?;
        self.len -= 1;
        if queue.is_empty() {
            self.by_link.remove(&link);
            self.turns.retain(|other| *other != link);
        }
        Some(item)
    }
}

/// Work that waits, in two classes that take turns; each has half of the room.
#[derive(Debug)]
pub(crate) struct ClassTurns<L, W> {
    classes: PerClass<FairTurns<L, W>>,
    next: Class,
}

impl<L: Ord + Copy, W> ClassTurns<L, W> {
    /// At most `per_link` items of one link and `most` of all.
    pub(crate) const fn new(per_link: usize, most: usize) -> Self {
        let known = FairTurns::new(per_link, most.div_ceil(2));
        Self { classes: PerClass { known, stranger: FairTurns::new(per_link, most / 2) }, next: Class::Known }
    }

    /// As [`FairTurns::push`], among the links of this class.
    pub(crate) fn push(&mut self, class: Class, link: L, item: W, chance: u32) -> Option<W> {
        self.classes.of_mut(class).push(link, item, chance)
    }

    /// The next item of the class whose turn it is; of the other one if nothing waits there.
    pub(crate) fn pop(&mut self) -> Option<W> {
        let class = self.next;
        self.next = class.other();
        self.classes.of_mut(class).pop().or_else(|| self.classes.of_mut(class.other()).pop())
    }

    /// Forgets what waits for a link that is gone.
    pub(crate) fn remove_link(&mut self, link: L) {
        self.classes.known.remove_link(link);
        self.classes.stranger.remove_link(link);
    }

    pub(crate) const fn len(&self) -> usize {
        self.classes.known.len() + self.classes.stranger.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::any_instant;

    #[test]
    fn the_bucket_never_gives_more_than_its_share() {
        let start = any_instant();
        let mut budget = WorkBudget::new(25, Duration::from_millis(20), start);
        let cost = Duration::from_micros(100);
        let mut spent = Duration::ZERO;
        for us in (0..1_000_000).step_by(50) {
            let now = start + Duration::from_micros(us);
            while budget.spend(now, cost) {
                spent += cost;
            }
            let ready = budget.ready_at(now, cost);
            assert!(ready > now && ready <= now + Duration::from_micros(400));
        }
        assert!(spent <= Duration::from_millis(270), "{spent:?}");
        assert!(spent >= Duration::from_millis(269), "{spent:?}");
    }

    #[test]
    fn a_long_rest_saves_no_more_than_the_bucket_holds() {
        let start = any_instant();
        let mut budget = WorkBudget::new(25, Duration::from_millis(20), start);
        let later = start + Duration::from_secs(3600);
        assert!(budget.spend(later, Duration::from_millis(20)));
        assert!(!budget.spend(later, Duration::from_micros(1)));
        assert!(!budget.spend(start, Duration::from_micros(1)), "time does not run backwards");
    }

    #[test]
    fn events_come_in_bursts_and_then_at_the_rate() {
        let start = any_instant();
        let mut limit = RateLimit::new(5, start);
        let taken = (0..1000).filter(|ms| limit.take(start + Duration::from_millis(*ms), 10, 5)).count();
        assert_eq!(taken, 5 + 9);
        let later = start + Duration::from_secs(100);
        assert_eq!((0..20).filter(|_| limit.take(later, 10, 5)).count(), 5);
    }

    #[test]
    fn links_take_turns_and_the_flooding_one_pays() {
        let mut turns = FairTurns::new(50, 60);
        for n in 0..50 {
            assert_eq!(turns.push('f', ('f', n), n), None);
        }
        assert_eq!(turns.push('f', ('f', 50), 0), Some(('f', 50)), "bound of a link");
        for n in 0..10 {
            assert_eq!(turns.push('h', ('h', n), n), None);
        }
        assert_eq!(turns.push('h', ('h', 10), 0), Some(('f', 49)), "bound of all");
        let first: Vec<char> = (0..6).filter_map(|_| turns.pop().map(|(link, _)| link)).collect();
        assert_eq!(first, ['f', 'h', 'f', 'h', 'f', 'h']);
        turns.remove_link('f');
        assert_eq!(turns.len(), 8);
        while turns.pop().is_some() {}
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn many_links_of_strangers_take_every_other_turn_and_no_more() {
        let mut turns = ClassTurns::new(64, 512);
        let mut refused = 0;
        for link in 0..5000u32 {
            let victim = turns.push(Class::Stranger, link, link, link.wrapping_mul(0x9e37_79b9));
            refused += usize::from(victim.is_some());
        }
        assert_eq!((turns.len(), refused), (256, 4744));
        for n in 0..64 {
            assert_eq!(turns.push(Class::Known, 1_000_000, 1_000_000 + n, 0), None);
        }
        let first: Vec<u32> = (0..128).filter_map(|_| turns.pop()).collect();
        assert_eq!(first.iter().filter(|item| **item >= 1_000_000).count(), 64);
        // Newcomers had a chance, and so had those who came first.
        let left: Vec<u32> = std::iter::from_fn(|| turns.pop()).collect();
        let late = first.iter().chain(&left).filter(|item| (4000..5000).contains(*item)).count();
        let early = first.iter().chain(&left).filter(|item| **item < 1000).count();
        assert!(late > 20 && late < 256 && early < 128, "late {late}, early {early}");
    }
}

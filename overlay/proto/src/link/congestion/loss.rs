//! Loss of a path, and when it means congestion.

use crate::link::clock::{Nanos, SECOND};

/// Datagrams over which loss is averaged to be compared with its floor, and to be judged alone.
const LONG: u32 = 1024;
const SHORT: u32 = 128;
/// A rise over the floor that means congestion, and a share that does so by itself; in thousandths.
const RISE: u32 = 60;
const SHORT_RISE: u32 = 100;
/// A rise over the floor at which the window no longer grows.
const HOLD: u32 = 40;
const TOO_MUCH: u32 = 200;
/// Floors are kept for one to two of these.
const BUCKET: Nanos = 20 * SECOND;

/// What loss says about the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Bear,
    /// Too large by so many percent.
    Shrink(u64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    total: u32,
    lost: u32,
}

impl Count {
    fn note(&mut self, acked: u32, lost: u32) {
        self.total = self.total.saturating_add(acked).saturating_add(lost);
        self.lost = self.lost.saturating_add(lost);
    }

    fn permille(self) -> u32 {
        let share = u64::from(self.lost) * 1000 / u64::from(self.total.max(1));
        u32::try_from(share).unwrap_or(1000)
    }
}

/// Watches the share of lost datagrams.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    short: Count,
    long: Count,
    floor: Option<u32>,
    old_floor: Option<u32>,
    began: Nanos,
    last: u32,
    latest: u32,
}

impl Loss {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            short: Count::default(),
            long: Count::default(),
            floor: None,
            old_floor: None,
            began: now,
            last: 0,
            latest: 0,
        }
    }

    pub(super) fn note(&mut self, now: Nanos, acked: u32, lost: u32) -> Verdict {
        self.short.note(acked, lost);
        self.long.note(acked, lost);
        let mut verdict = Verdict::Bear;
        if self.short.total >= SHORT {
            let share = std::mem::take(&mut self.short).permille();
            self.last = (3 * self.last + share) / 4;
            self.latest = share;
            let rise = share.saturating_sub(self.floor());
            if share > TOO_MUCH || rise > SHORT_RISE {
                verdict = Verdict::Shrink(u64::from(rise.max(share / 2) / 10).min(30));
            }
        }
        if self.long.total >= LONG {
            let share = std::mem::take(&mut self.long).permille();
            self.learn(now, share);
            let rise = share.saturating_sub(self.floor());
            if rise > RISE && verdict == Verdict::Bear {
                verdict = Verdict::Shrink(u64::from(rise / 10).min(30));
            }
        }
        verdict
    }

    fn learn(&mut self, now: Nanos, share: u32) {
        if now.saturating_sub(self.began) >= BUCKET {
            self.old_floor = self.floor.take();
            self.began = now;
        }
        self.floor = Some(self.floor.map_or(share, |floor| floor.min(share)));
    }

    /// The smallest share lately, over long stretches; zero before the first.
    fn floor(&self) -> u32 {
        let floors = [self.floor, self.old_floor];
        floors.into_iter().flatten().min().unwrap_or(0)
    }

    /// Whether loss has just risen so far that growing on would be blind.
    pub(super) fn is_rising(&self) -> bool {
        self.latest > self.floor() + HOLD
    }

    pub(super) fn permille(&self) -> u16 {
        let early = if self.last == 0 { self.short.permille() } else { self.last };
        u16::try_from(early.min(1000)).unwrap_or(1000)
    }
}

//! What is known of one seeder.

use std::time::{Duration, Instant};

/// Questions under way at one seeder: at first, and at most.
const WINDOW_FIRST: u16 = 4;
const WINDOW_MAX: u16 = 16;

/// An answer that takes less makes the window larger, one that takes more than [`SLOW`] makes it half as large: so what
/// is under way at a seeder is what it gives in about this time.
const QUICK: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_secs(1);

/// How long an answer may take while nothing is known.
const PATIENCE_FIRST: Duration = Duration::from_millis(1500);
const PATIENCE_LEAST: Duration = Duration::from_millis(150);

/// Circuits to a seeder that may fail before it is given up.
const LOSSES_MAX: u8 = 2;

/// The first pause of a seeder that says that it is busy; it doubles each time, and after so many it is given up.
const PAUSE: Duration = Duration::from_millis(400);
const PAUSES_MAX: u8 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Link {
    #[default]
    Idle,
    Connecting,
    Up,
    Gone,
    Liar,
}

#[derive(Default)]
pub(super) struct Seeder {
    pub(super) link: Link,
    /// Questions under way.
    pub(super) out: u16,
    /// Questions that may be; 0 stands for the first value.
    pub(super) window: u16,
    /// How long an answer takes, smoothed.
    pub(super) takes: Option<Duration>,
    pub(super) busy_until: Option<Instant>,
    pauses: u8,
    losses: u8,
}

impl Seeder {
    /// Whether anything may be hoped for from it.
    pub(super) fn is_usable(&self) -> bool {
        !matches!(self.link, Link::Gone | Link::Liar)
    }

    /// Whether it can be asked now.
    pub(super) fn can_take(&self, now: Instant) -> bool {
        self.link == Link::Up && self.out < self.window() && self.busy_until.is_none_or(|until| until <= now)
    }

    fn window(&self) -> u16 {
        if self.window == 0 { WINDOW_FIRST } else { self.window }
    }

    /// The lower, the better to ask: how much of its window is used, then how long it takes.
    pub(super) fn load(&self) -> (u32, Duration) {
        (u32::from(self.out) * 1024 / u32::from(self.window()), self.takes.unwrap_or_default())
    }

    pub(super) fn answered(&mut self, took: Duration) {
        self.out = self.out.saturating_sub(1);
        self.pauses = 0;
        self.takes = Some(self.takes.map_or(took, |takes| (takes * 7 + took) / 8));
        let window = self.window();
        self.window = match took {
            took if took <= QUICK => (window + 1).min(WINDOW_MAX),
            took if took > SLOW => (window / 2).max(1),
            _ => window,
        };
    }

    /// The circuit to it is gone, or none can be had, which may be the fault of a guard that died: another one is tried.
    pub(super) fn lose(&mut self) {
        self.losses = self.losses.saturating_add(1);
        self.out = 0;
        if self.link != Link::Liar {
            self.link = if self.losses >= LOSSES_MAX { Link::Gone } else { Link::Idle };
        }
    }

    /// It said that it does not hold what it has given symbols of, just as somebody was found to lie about it. That is no proof: a
    /// relay may have dropped the chunk meanwhile. But it is asked for nothing any more by this fetch.
    pub(super) fn contradict(&mut self) {
        self.out = 0;
        if self.link != Link::Liar {
            self.link = Link::Gone;
        }
    }

    /// It has too much to do: it is left alone for a while. True when that was once too often.
    pub(super) fn busy(&mut self, now: Instant) -> bool {
        self.window = 1;
        self.busy_until = Some(now + PAUSE * (1 << self.pauses.min(5)));
        self.pauses += 1;
        let over = self.pauses > PAUSES_MAX && self.link != Link::Liar;
        if over {
            self.link = Link::Gone;
        }
        over
    }
}

/// How long an answer may take that usually takes `takes`.
pub(super) fn patience(takes: Option<Duration>) -> Duration {
    takes.map_or(PATIENCE_FIRST, |takes| (takes * 3).max(PATIENCE_LEAST))
}

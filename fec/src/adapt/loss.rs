//! How much is lost, and how long the runs are.

/// Datagrams whose fates may be out of order.
const RING: u64 = PLACES as u64;
const PLACES: usize = 256;

/// How far behind the newest fate an undecided one holds up the others.
const PATIENCE: u64 = 128;

/// A sample of the loss share spans at least this many datagrams…
const SAMPLE: u32 = 16;

/// … and this time, nanoseconds.
const SAMPLE_TIME: u64 = 100_000_000;

/// Samples that the slow mean spans.
const SLOW: f64 = 16.0;
const FAST: f64 = 4.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    #[default]
    Unknown,
    Arrived,
    Lost,
}

/// Exponential means of the share of lost datagrams (over samples of at least 16 datagrams and 0.1 s: a slow one, and a fast one for when
/// loss begins), and of how often a loss follows a loss.
#[derive(Debug)]
pub(super) struct LossEstimate {
    ring: Box<[Fate; PLACES]>,
    /// The next counter to be counted; none before the first fate.
    next: Option<u64>,
    highest: u64,
    /// The fate before `next`, if it is known.
    previous: Fate,
    counted: u32,
    lost: u32,
    sample_began: u64,
    samples: f64,
    slow: f64,
    fast: f64,
    /// Losses within about [`SLOW`] samples.
    recent: f64,
    /// How often a loss follows a loss.
    follows: f64,
}

impl Default for LossEstimate {
    fn default() -> LossEstimate {
        LossEstimate {
            ring: Box::new([Fate::Unknown; PLACES]),
            next: None,
            highest: 0,
            previous: Fate::Unknown,
            counted: 0,
            lost: 0,
            sample_began: 0,
            // As if some samples without loss had been: a first loss is not 100 %.
            samples: 3.0,
            slow: 0.0,
            fast: 0.0,
            recent: 0.0,
            follows: 0.25,
        }
    }
}

impl LossEstimate {
    /// Takes a fate; whether the estimate changed.
    pub(super) fn handle(&mut self, now: u64, counter: u64, arrived: bool) -> bool {
        let mut next = *self.next.get_or_insert(counter);
        if counter < next || counter == u64::MAX {
            return false;
        }
        if counter - next >= 2 * RING {
            // A jump: what is between is not known and never will be.
            self.ring.fill(Fate::Unknown);
            self.previous = Fate::Unknown;
            next = counter;
            self.highest = counter;
        }
        while counter - next >= RING {
            self.count(next);
            next += 1;
        }
        let fate = &mut self.ring[place(counter)];
        if *fate == Fate::Unknown {
            *fate = if arrived { Fate::Arrived } else { Fate::Lost };
        }
        self.highest = self.highest.max(counter);
        while next <= self.highest && (self.ring[place(next)] != Fate::Unknown || self.highest - next > PATIENCE) {
            self.count(next);
            next += 1;
        }
        self.next = Some(next);
        self.sample(now)
    }

    /// The share of datagrams that is lost.
    pub(super) const fn share(&self) -> f64 {
        self.slow.max(self.fast / 2.0)
    }

    /// Whether no more than one loss is remembered: that says nothing about the next.
    pub(super) const fn is_stray(&self) -> bool {
        self.recent < 1.5
    }

    /// The mean length of a run of losses.
    pub(super) const fn burst(&self) -> f64 {
        1.0 / (1.0 - self.follows.min(0.99))
    }

    /// Counts a datagram, in the order of sending.
    fn count(&mut self, counter: u64) {
        let fate = std::mem::take(&mut self.ring[place(counter)]);
        if fate != Fate::Unknown {
            self.counted = self.counted.saturating_add(1);
        }
        if fate == Fate::Lost {
            self.lost = self.lost.saturating_add(1);
        }
        // How often a loss follows a loss: over pairs whose first is lost and whose second is known.
        if self.previous == Fate::Lost && fate != Fate::Unknown {
            let followed = f64::from(u8::from(fate == Fate::Lost));
            self.follows += (followed - self.follows) / 64.0;
        }
        self.previous = fate;
    }

    fn sample(&mut self, now: u64) -> bool {
        if self.counted < SAMPLE || now.saturating_sub(self.sample_began) < SAMPLE_TIME {
            return false;
        }
        let share = f64::from(self.lost) / f64::from(self.counted);
        self.samples = (self.samples + 1.0).min(SLOW);
        self.slow += (share - self.slow) / self.samples;
        self.fast += (share - self.fast) / FAST;
        self.recent += f64::from(self.lost) - self.recent / SLOW;
        (self.counted, self.lost, self.sample_began) = (0, 0, now);
        true
    }
}

fn place(counter: u64) -> usize {
    // A remainder below RING.
    #[allow(clippy::cast_possible_truncation, reason = "a remainder below RING")]
    let place = (counter % RING) as usize;
    place
}

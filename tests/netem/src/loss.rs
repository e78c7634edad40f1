//! Which datagrams are lost.

use crate::dice::Dice;

/// A model of loss.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// Nothing is lost.
    #[default]
    None,
    /// Each datagram is lost with this probability, whatever happened to others.
    Independent(f64),
    /// Two states that change between datagrams (Gilbert 1960, Elliott 1963).
    Gilbert {
        /// Probability that a good state is followed by a bad one.
        p: f64,
        /// Probability that a bad state is followed by a good one.
        r: f64,
        /// Probability of loss in the good state.
        good: f64,
        /// Probability of loss in the bad state.
        bad: f64,
    },
}

impl Loss {
    /// Loss in runs: this share of all datagrams, in runs of this mean length (at least 1): Gilbert's model that loses everything in the
    /// bad state and nothing in the good one. Runs of which such a share cannot consist are made longer.
    #[must_use]
    pub fn bursts(share: f64, mean_burst: f64) -> Loss {
        if share <= 0.0 {
            return Loss::None;
        }
        if share >= 1.0 {
            return Loss::Independent(1.0);
        }
        // Between two runs stands one datagram at least: share ≤ mean / (mean + 1).
        let mean = mean_burst.max(1.0).max(share / (1.0 - share));
        let r = 1.0 / mean;
        Loss::Gilbert { p: (share * r / (1.0 - share)).min(1.0), r, good: 0.0, bad: 1.0 }
    }

    /// The share of datagrams that it loses in the long run.
    #[must_use]
    pub fn share(&self) -> f64 {
        match *self {
            Loss::None => 0.0,
            Loss::Independent(share) => share,
            Loss::Gilbert { p, r, good, bad } if p + r > 0.0 => (good * r + bad * p) / (p + r),
            // It never leaves the state in which it starts.
            Loss::Gilbert { good, .. } => good,
        }
    }
}

/// A model of loss at work: it remembers the state.
#[derive(Debug, Clone)]
pub struct LossProcess {
    bad: bool,
    losing: bool,
    dice: Dice,
}

impl LossProcess {
    /// A process that starts in the good state.
    #[must_use]
    pub fn new(seed: u64) -> LossProcess {
        LossProcess { bad: false, losing: false, dice: Dice::new(seed, 0) }
    }

    /// Whether the next datagram is lost.
    pub fn loses(&mut self, loss: &Loss) -> bool {
        self.losing = match *loss {
            Loss::None => {
                self.bad = false;
                false
            }
            Loss::Independent(share) => {
                self.bad = false;
                self.dice.chance(share)
            }
            Loss::Gilbert { p, r, good, bad } => {
                if self.dice.chance(if self.bad { r } else { p }) {
                    self.bad = !self.bad;
                }
                self.dice.chance(if self.bad { bad } else { good })
            }
        };
        self.losing
    }

    /// Whether the last datagram was lost.
    #[must_use]
    pub fn losing(&self) -> bool {
        self.losing
    }
}

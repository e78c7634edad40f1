//! How strongly a choice of relays prefers some to others, and how far it may go.

/// How strongly capacity and latency weigh in a choice. Both are small whole numbers, so that every weight is the same on
/// every machine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Strength {
    /// In quarters: 0 makes all relays equal, [`Strength::CAPACITY_MAX`] weighs them in proportion to their capacity.
    pub capacity: u8,
    /// In half bits: no path becomes more than 2 to this many halves times likelier than another because it is quicker.
    /// 0 ignores latency; at most [`Strength::LATENCY_MAX`].
    pub latency: u8,
}

impl Strength {
    /// In proportion to capacity.
    pub const CAPACITY_MAX: u8 = 4;
    /// The strongest preference for quick paths: six bits.
    pub const LATENCY_MAX: u8 = 12;
    /// All paths are equally likely.
    pub const NONE: Self = Self { capacity: 0, latency: 0 };

    /// The same within the bounds of both.
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { capacity: self.capacity.min(Self::CAPACITY_MAX), latency: self.latency.min(Self::LATENCY_MAX) }
    }
}

/// What a choice keeps of the uncertainty that a uniform choice would have: the anonymity floor. Where a preference would
/// fall below it, the preference is weakened until it does not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Floor {
    /// Least share of a uniform choice's entropy, in percent.
    pub entropy: u8,
    /// Least share of a uniform choice's entropy that remains as min-entropy against the adversary, in percent.
    pub min_entropy: u8,
    /// What the adversary holds: the largest relays, up to this share of the measured capacity, in percent. What remains
    /// to be guessed is which of the paths without a relay of his was taken.
    pub adversary: u8,
}

impl Floor {
    /// The floor unless said otherwise.
    pub const DEFAULT: Self = Self { entropy: 80, min_entropy: 50, adversary: 10 };
}

impl Default for Floor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a choice prefers, within its floor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Preference {
    /// How strongly.
    pub strength: Strength,
    /// What must be left.
    pub floor: Floor,
}

impl Preference {
    /// All paths are equally likely.
    pub const UNIFORM: Self = Self { strength: Strength::NONE, floor: Floor::DEFAULT };

    /// In proportion to capacity, with a preference for quick paths of two bits at most.
    pub const DEFAULT: Self =
        Self { strength: Strength { capacity: Strength::CAPACITY_MAX, latency: 4 }, floor: Floor::DEFAULT };

    /// The strengths to try, from the one asked for down to none: for each step of capacity, which keeps small relays
    /// from being overrun, every one of latency.
    pub(super) fn ladder(strength: Strength) -> impl Iterator<Item = Strength> {
        let strength = strength.bounded();
        let steps = move |capacity| (0..=strength.latency).rev().map(move |latency| Strength { capacity, latency });
        (0..=strength.capacity).rev().flat_map(steps)
    }
}

impl Default for Preference {
    fn default() -> Self {
        Self::DEFAULT
    }
}

//! What the round-trip time of a path does to its weight.
//!
//! Only the links between the path's relays count, never the one from the origin to its guard: who prefers a path for
//! being near to himself tells where he is.

use super::facts::Facts;
use super::preference::Strength;

/// The factor of a path that takes no time.
pub(super) const FACTOR_ONE: u16 = 1 << 12;

/// How finely times are told apart.
pub(super) const BINS: usize = 256;

/// A link that takes so long or longer, in tenths of a millisecond, has the whole disadvantage.
const SPAN: u32 = 2_000;

/// The factors for each strength.
pub(super) struct Latency {
    factors: Vec<[u16; BINS]>,
    /// Whether enough relays have a place on the map for a preference to mean anything.
    known: bool,
}

impl Latency {
    pub(super) fn new(facts: &[Facts]) -> Self {
        let placed = facts.iter().filter(|relay| relay.place.is_some()).count();
        let factors =
            (0..=Strength::LATENCY_MAX).map(|halves| std::array::from_fn(|bin| factor(halves, bin))).collect();
        Self { factors, known: 2 * placed > facts.len() }
    }

    /// Whether latency can be preferred at all.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// The factor of a path in 4,096ths.
    pub(super) fn factor(&self, facts: &[Facts], path: &[usize], halves: u8) -> u16 {
        if halves == 0 || !self.known {
            return FACTOR_ONE;
        }
        let time = path.windows(2).map(|pair| link(&facts[pair[0]], &facts[pair[1]])).sum();
        self.factors[usize::from(halves)][bin(time, path.len() - 1)]
    }

    /// The factors of all bins.
    pub(super) fn factors(&self, halves: u8) -> &[u16; BINS] {
        &self.factors[if self.known { usize::from(halves) } else { 0 }]
    }
}

/// What a link adds to a path's time, in tenths of a millisecond, never more than the span. A relay without a place on the
/// map counts as far away, or staying off the map would pay.
pub(super) fn link(a: &Facts, b: &Facts) -> u32 {
    let (Some(a), Some(b)) = (a.place, b.place) else { return SPAN };
    let (dx, dy) = (i64::from(a.x) - i64::from(b.x), i64::from(a.y) - i64::from(b.y));
    let plane = (dx * dx + dy * dy).unsigned_abs().isqrt();
    let whole = plane + u64::from(a.height) + u64::from(b.height);
    u32::try_from(whole).unwrap_or(SPAN).min(SPAN)
}

/// In which bin a path of so many links is that takes this time.
pub(super) fn bin(time: u32, links: usize) -> usize {
    let span = SPAN as usize * links.max(1);
    (time as usize * (BINS - 1) / span).min(BINS - 1)
}

/// The time in the middle of a bin, in milliseconds.
pub(super) fn milliseconds(bin: usize, links: usize) -> f64 {
    (bin as f64 + 0.5) * f64::from(SPAN) * links as f64 / (10.0 * (BINS - 1) as f64)
}

/// From 1 at no time at all to 2 to the power of −`halves`/2 at the whole span.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value lies between 0 and 4,096")]
fn factor(halves: u8, bin: usize) -> u16 {
    let bits = f64::from(halves) / 2.0 * bin as f64 / (BINS - 1) as f64;
    (f64::from(FACTOR_ONE) * (-bits).exp2()).round() as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preference_is_bounded() {
        for halves in 0..=Strength::LATENCY_MAX {
            let factors: Vec<u16> = (0..BINS).map(|bin| factor(halves, bin)).collect();
            assert!(factors.is_sorted_by(|a, b| a >= b));
            assert_eq!(factors[0], FACTOR_ONE);
            assert_eq!(f64::from(factors[BINS - 1]), (4096.0 * (-f64::from(halves) / 2.0).exp2()).round());
        }
    }

    #[test]
    fn bins_cover_the_span() {
        assert_eq!((bin(0, 2), bin(SPAN * 2, 2), bin(u32::MAX / 512, 1)), (0, 255, 255));
        assert!((milliseconds(bin(1_000, 1), 1) - 100.0).abs() < 1.0);
    }
}

//! An exhaustive walk over all paths: for counting them, and for taking one by weight where free draws hardly ever fit.

use std::collections::BTreeMap;

use super::candidates::{Candidates, Place, in_path_order};
use super::facts::Distinct;
use super::preference::Strength;

/// All paths of a request, the innermost place as a set of bits.
pub(super) struct Search<'a> {
    candidates: &'a Candidates<'a>,
    strength: Strength,
    places: Vec<Place>,
    /// For each relay, as a bit set, those that may stand with it when it is the last relay, and when it is not.
    beside_last: BTreeMap<usize, Bits>,
    beside: BTreeMap<usize, Bits>,
    innermost: Bits,
}

impl<'a> Search<'a> {
    pub(super) fn new(candidates: &'a Candidates<'a>, hops: usize, rules: Distinct, strength: Strength) -> Self {
        let places = candidates.places(hops, strength);
        let size = candidates.facts.len();
        let row = |a: usize, with_last: bool| {
            let mut bits = Bits::new(size);
            (0..size).filter(|b| candidates.compatible(a, *b, with_last, rules)).for_each(|b| bits.set(b));
            bits
        };
        let beside_last = places[0].list.iter().map(|a| (*a, row(*a, true))).collect();
        let mut beside = BTreeMap::new();
        for place in places.iter().skip(1).take(hops.saturating_sub(2)) {
            for a in &place.list {
                beside.entry(*a).or_insert_with(|| row(*a, false));
            }
        }
        let mut innermost = Bits::new(size);
        for at in places.last().map(|place| &place.list).into_iter().flatten() {
            innermost.set(*at);
        }
        Self { candidates, strength, places, beside_last, beside, innermost }
    }

    /// How many paths there are.
    pub(super) fn count(&self) -> u64 {
        let mut total = 0;
        self.walk(0, &self.innermost.full(), &mut Vec::new(), 1, &mut |_, _, left| {
            total += left.intersection(&self.innermost).count();
            false
        });
        total
    }

    /// What all paths weigh together.
    pub(super) fn weight(&self) -> u128 {
        let mut total = 0;
        self.each(&mut |_, weight| {
            total += weight;
            false
        });
        total
    }

    /// The path that covers this weight, from 0 to the weight of all less one, in the order in which places are filled.
    pub(super) fn at(&self, weight: u128) -> Vec<usize> {
        let mut left = weight;
        let mut found = Vec::new();
        self.each(&mut |path, weight| {
            if left >= weight {
                left -= weight;
                return false;
            }
            found = path.to_vec();
            true
        });
        found
    }

    /// Calls `visit` with every path and its weight; stops when it returns true.
    fn each(&self, visit: &mut impl FnMut(&[usize], u128) -> bool) {
        let Some(innermost) = self.places.last() else { return };
        self.walk(0, &self.innermost.full(), &mut Vec::new(), 1, &mut |filled, weight, left| {
            let mut path = filled.to_vec();
            for (position, at) in innermost.list.iter().enumerate() {
                if !left.has(*at) {
                    continue;
                }
                path.push(*at);
                let ordered = in_path_order(path.clone());
                let factor = self.candidates.latency.factor(self.candidates.facts, &ordered, self.strength.latency);
                if visit(&path, weight * u128::from(innermost.weight(position)) * u128::from(factor)) {
                    return true;
                }
                path.pop();
            }
            false
        });
    }

    /// Calls `visit` with every way to fill all places but the innermost, what that weighs, and the relays that may stand
    /// beside those; stops when it returns true.
    fn walk(
        &self,
        place: usize,
        allowed: &Bits,
        filled: &mut Vec<usize>,
        weight: u128,
        visit: &mut impl FnMut(&[usize], u128, &Bits) -> bool,
    ) -> bool {
        if place + 1 == self.places.len() {
            return visit(filled, weight, allowed);
        }
        let rows = if place == 0 { &self.beside_last } else { &self.beside };
        for (position, at) in self.places[place].list.iter().enumerate() {
            if !allowed.has(*at) {
                continue;
            }
            filled.push(*at);
            let weight = weight * u128::from(self.places[place].weight(position));
            let stop = self.walk(place + 1, &allowed.intersection(&rows[at]), filled, weight, visit);
            filled.pop();
            if stop {
                return true;
            }
        }
        false
    }
}

/// A set of small numbers.
#[derive(Clone)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    /// Every number that fits.
    fn full(&self) -> Self {
        Self(vec![u64::MAX; self.0.len()])
    }

    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn intersection(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

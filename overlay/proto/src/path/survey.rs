//! A look at every path of a request: how much a choice leaves open, and how quick its paths are.

use super::candidates::{Candidates, Place};
use super::facts::{Distinct, WEIGHT_ONE};
use super::latency::{BINS, FACTOR_ONE, Latency, bin, link, milliseconds};
use super::preference::{Floor, Strength};

/// The most paths that are looked at; no request with a guard has more, in the largest network document that there is.
const PATHS_MAX: u64 = 1 << 24;

/// What one choice leaves open.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Uncertainty {
    /// Entropy in bits (Shannon): what an observer who knows the request and the guard lacks on average.
    pub bits: f64,
    /// Min-entropy in bits: the likeliest path has a chance of one in 2 to this power.
    pub min_bits: f64,
    /// The same against an adversary who holds the largest relays, up to the share that the floor names, and knows
    /// that none of them is on the path.
    pub adversary_bits: f64,
    /// Half of the choices take at most this long from the first relay to the last and back, in milliseconds, as
    /// far as the map tells. Nothing where there is no map.
    pub half_ms: Option<f64>,
    /// Nine of ten choices.
    pub most_ms: Option<f64>,
}

impl Uncertainty {
    /// Whether this is not below the floor, given what a uniform choice leaves open.
    pub(super) fn keeps(&self, uniform: &Self, floor: Floor) -> bool {
        const ROUNDING: f64 = 1e-9;
        self.bits + ROUNDING >= uniform.bits * f64::from(floor.entropy) / 100.0
            && self.adversary_bits + ROUNDING >= uniform.bits * f64::from(floor.min_entropy) / 100.0
    }
}

/// Whether drawing one relay by these weights keeps the floor.
pub(super) fn keeps(weights: &[u32], adversary: &[bool], floor: Floor) -> bool {
    let mut bins = Bins::default();
    let mut even = Bins::default();
    for (weight, held) in weights.iter().zip(adversary) {
        bins.add(0, Share::of(u64::from(*weight)), *held);
        even.add(0, Share { weight: 1.0, log: 0.0 }, *held);
    }
    let factors = [FACTOR_ONE; BINS];
    bins.uncertainty(&factors, None).keeps(&even.uncertainty(&factors, None), floor)
}

/// All paths of a request, sorted by the time that they take.
pub(super) struct Survey {
    bins: Bins,
    links: Option<usize>,
}

impl Survey {
    /// Looks at every path. Nothing if there are too many of them, or none.
    pub(super) fn new(
        candidates: &Candidates<'_>,
        adversary: &[bool],
        hops: usize,
        rules: Distinct,
        capacity: u8,
    ) -> Option<Self> {
        let mut bins = Bins::default();
        visit(candidates, hops, rules, capacity, &mut |path, bin, share| {
            // The first relay is known to the adversary or is not: what is asked is where the path goes from there.
            let held = path.iter().skip(1).any(|at| adversary[*at]);
            bins.add(bin, share, held);
        })?;
        if bins.0.iter().all(|bin| bin.all <= 0.0) {
            return None;
        }
        let links = candidates.latency.is_known().then_some(hops - 1).filter(|links| *links > 0);
        Some(Self { bins, links })
    }

    /// What is left open at this strength of the preference for quick paths.
    pub(super) fn uncertainty(&self, latency: &Latency, halves: u8) -> Uncertainty {
        self.bins.uncertainty(latency.factors(halves), self.links)
    }
}

/// The chances of each relay to be the last one. Nothing if there are too many paths, or none.
pub(super) fn last_shares(
    candidates: &Candidates<'_>,
    hops: usize,
    rules: Distinct,
    strength: Strength,
) -> Option<Vec<f64>> {
    let mut shares = vec![0.0; candidates.facts.len()];
    let factors = candidates.latency.factors(strength.latency);
    visit(candidates, hops, rules, strength.capacity, &mut |path, bin, share| {
        if let Some(last) = path.last() {
            shares[*last] += share.weight * f64::from(factors[bin]);
        }
    })?;
    let all: f64 = shares.iter().sum();
    (all > 0.0).then(|| shares.into_iter().map(|share| share / all).collect())
}

/// The weight of a path without its factor for latency, and its logarithm.
#[derive(Clone, Copy)]
struct Share {
    weight: f64,
    log: f64,
}

impl Share {
    const ONE: Self = Self { weight: 1.0, log: 0.0 };

    fn of(weight: u64) -> Self {
        let weight = weight as f64 / f64::from(WEIGHT_ONE);
        Self { weight, log: weight.log2() }
    }

    fn and(self, other: Self) -> Self {
        Self { weight: self.weight * other.weight, log: self.log + other.log }
    }
}

/// What the paths of one bin have in common.
#[derive(Clone, Copy)]
struct Bin {
    all: f64,
    logs: f64,
    likeliest: f64,
    honest: f64,
    honest_likeliest: f64,
}

struct Bins(Vec<Bin>);

impl Default for Bins {
    fn default() -> Self {
        let none = f64::NEG_INFINITY;
        Self(vec![Bin { all: 0.0, logs: 0.0, likeliest: none, honest: 0.0, honest_likeliest: none }; BINS])
    }
}

impl Bins {
    fn add(&mut self, bin: usize, share: Share, held: bool) {
        let bin = &mut self.0[bin];
        bin.all += share.weight;
        bin.logs += share.weight * share.log;
        bin.likeliest = bin.likeliest.max(share.log);
        if !held {
            bin.honest += share.weight;
            bin.honest_likeliest = bin.honest_likeliest.max(share.log);
        }
    }

    fn uncertainty(&self, factors: &[u16; BINS], links: Option<usize>) -> Uncertainty {
        let (mut all, mut logs, mut honest) = (0.0, 0.0, 0.0);
        let (mut likeliest, mut honest_likeliest) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        for (bin, factor) in self.0.iter().zip(factors) {
            let factor = f64::from(*factor) / f64::from(FACTOR_ONE);
            let log = factor.log2();
            all += bin.all * factor;
            logs += factor * (bin.logs + bin.all * log);
            honest += bin.honest * factor;
            likeliest = f64::max(likeliest, bin.likeliest + log);
            honest_likeliest = f64::max(honest_likeliest, bin.honest_likeliest + log);
        }
        let bits = if all > 0.0 { (all.log2() - logs / all).max(0.0) } else { 0.0 };
        let adversary_bits = if honest > 0.0 { (honest.log2() - honest_likeliest).max(0.0) } else { 0.0 };
        let quantile = |share: f64| {
            let mut left = share * all;
            let mut reached = self.0.iter().zip(factors).enumerate().filter(|(at, (bin, factor))| {
                left -= bin.all * f64::from(**factor) / f64::from(FACTOR_ONE);
                left <= 0.0 || *at == BINS - 1
            });
            links.and_then(|links| reached.next().map(|(at, _)| milliseconds(at, links)))
        };
        Uncertainty {
            bits,
            min_bits: if all > 0.0 { (all.log2() - likeliest).max(0.0) } else { 0.0 },
            adversary_bits,
            half_ms: quantile(0.5),
            most_ms: quantile(0.9),
        }
    }
}

/// Calls `see` with every path, its bin and its share. Nothing if there are too many.
fn visit(
    candidates: &Candidates<'_>,
    hops: usize,
    rules: Distinct,
    capacity: u8,
    see: &mut impl FnMut(&[usize], usize, Share),
) -> Option<()> {
    let mut places = candidates.places(hops, Strength { capacity, latency: 0 });
    places.rotate_left(1);
    let paths = places.iter().fold(1u64, |paths, place| paths.saturating_mul(place.list.len() as u64));
    if paths > PATHS_MAX {
        return None;
    }
    let places: Vec<Vec<(usize, Share)>> = places.iter().map(shares_of).collect();
    let mut tree = Tree { candidates, rules, hops, see };
    tree.descend(&places, &mut Vec::with_capacity(hops), Share::ONE, 0);
    Some(())
}

fn shares_of(place: &Place) -> Vec<(usize, Share)> {
    place.list.iter().enumerate().map(|(position, at)| (*at, Share::of(place.weight(position)))).collect()
}

/// All paths by their places, first to last.
struct Tree<'a, F> {
    candidates: &'a Candidates<'a>,
    rules: Distinct,
    hops: usize,
    see: &'a mut F,
}

impl<F: FnMut(&[usize], usize, Share)> Tree<'_, F> {
    /// `places` are those still to be filled, without the relays that clash with one that is chosen.
    fn descend(&mut self, places: &[Vec<(usize, Share)>], path: &mut Vec<usize>, share: Share, time: u32) {
        let facts = self.candidates.facts;
        let Some((place, rest)) = places.split_first() else { return };
        let before = path.last().copied();
        for (at, weight) in place {
            let time = time + before.map_or(0, |before| link(&facts[before], &facts[*at]));
            let share = share.and(*weight);
            path.push(*at);
            match rest {
                [] => (self.see)(path, bin(time, self.hops - 1), share),
                [last] => self.last(*at, last, path, share, time),
                _ => self.descend(&self.apart(*at, rest), path, share, time),
            }
            path.pop();
        }
    }

    /// The last place, without a list of its own: this is where all the time goes.
    fn last(&mut self, before: usize, place: &[(usize, Share)], path: &mut Vec<usize>, share: Share, time: u32) {
        let facts = self.candidates.facts;
        for (at, weight) in place {
            if self.candidates.compatible(before, *at, true, self.rules) {
                let time = time + link(&facts[before], &facts[*at]);
                path.push(*at);
                (self.see)(path, bin(time, self.hops - 1), share.and(*weight));
                path.pop();
            }
        }
    }

    /// What remains of the places beside this relay.
    fn apart(&self, at: usize, places: &[Vec<(usize, Share)>]) -> Vec<Vec<(usize, Share)>> {
        let keep = |(place, list): (usize, &Vec<(usize, Share)>)| {
            let last = place + 1 == places.len();
            let may = |other: &&(usize, Share)| self.candidates.compatible(at, other.0, last, self.rules);
            list.iter().filter(may).copied().collect()
        };
        places.iter().enumerate().map(keep).collect()
    }
}

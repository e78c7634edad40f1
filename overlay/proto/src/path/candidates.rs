//! The relays that may stand at each place of a path, which of them may stand together, and drawing among them.

use rand_core::Rng;

use super::chooser::Narrow;
use super::exhaust::Search;
use super::facts::{Distinct, Facts, WEIGHT_ONE, Weights, limit};
use super::latency::{FACTOR_ONE, Latency};
use super::preference::Strength;
use super::{LastHop, PathRequest};

/// Relays by their index in the network, and who may stand where.
pub(super) struct Candidates<'a> {
    pub(super) facts: &'a [Facts],
    weights: &'a Weights,
    pub(super) latency: &'a Latency,
    first: Vec<usize>,
    inner: Vec<usize>,
    last: Vec<usize>,
    /// A guard was given: a path of one hop is that guard.
    guarded: bool,
    /// The inner relays were drawn by weight before: among them all are equal.
    drawn_before: bool,
    /// The last relay is an exit.
    to_exit: bool,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(
        facts: &'a [Facts],
        weights: &'a Weights,
        latency: &'a Latency,
        want: &PathRequest<'_>,
        narrow: Narrow<'_>,
    ) -> Self {
        let find = |id| facts.binary_search_by_key(&id, |relay| relay.id).ok();
        let mut left_out = vec![false; facts.len()];
        want.exclude.iter().filter_map(|id| find(*id)).for_each(|at| left_out[at] = true);
        let usable: Vec<usize> = (0..facts.len()).filter(|at| !left_out[*at]).collect();
        let among = |list: &[zmesh_sphinx::RelayId]| -> Vec<usize> {
            let mut found: Vec<usize> = list.iter().filter_map(|id| find(*id)).filter(|at| !left_out[*at]).collect();
            found.sort_unstable();
            found.dedup();
            found
        };
        let country = |relay: &Facts| want.country.is_none_or(|country| relay.country == Some(country));
        let fits = |at: &usize| {
            let relay = &facts[*at];
            match want.last {
                LastHop::Meeting(_) | LastHop::Cache(_) => false,
                LastHop::Any => true,
                LastHop::Exit { port, v6 } => {
                    country(relay)
                        && relay
                            .exit
                            .as_ref()
                            .is_some_and(|exit| if port == 0 { exit.v6 || !v6 } else { exit.accepts(port, v6) })
                }
                LastHop::AnyMeeting => relay.meeting,
                LastHop::AnyDirectory => relay.directory,
            }
        };
        let mut last: Vec<usize> = match want.last.given() {
            Some(id) => find(id).into_iter().collect(),
            None => usable.iter().filter(|at| fits(at)).copied().collect(),
        };
        let inner = match narrow.inner {
            None => usable.clone(),
            Some(few) => among(few),
        };
        if narrow.inner.is_some() && want.last == LastHop::AnyMeeting {
            last.retain(|at| inner.binary_search(at).is_ok());
        }
        if let Some(only) = narrow.last {
            last.retain(|at| facts[*at].id == only);
        }
        let first = match want.guard {
            Some(guard) => find(guard).into_iter().collect(),
            None => usable,
        };
        Self {
            facts,
            weights,
            latency,
            first,
            inner,
            last,
            guarded: want.guard.is_some(),
            drawn_before: narrow.inner.is_some(),
            to_exit: matches!(want.last, LastHop::Exit { .. }),
        }
    }

    pub(super) fn last_is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The places of a path in the order in which they are filled: last, first, then the inner ones.
    pub(super) fn places(&self, hops: usize, strength: Strength) -> Vec<Place> {
        let quarters = strength.capacity;
        let weigh = |list: &[usize], weights: &[u32]| Place::new(list.to_vec(), |at| weights[at]);
        let equal = |list: &[usize]| Place::new(list.to_vec(), |_| WEIGHT_ONE);
        let last_weights = if self.to_exit { self.weights.exit(quarters) } else { self.weights.elsewhere(quarters) };
        if hops == 1 {
            let only = |at: &usize| !self.guarded || self.first.contains(at);
            let list: Vec<usize> = self.last.iter().copied().filter(only).collect();
            return vec![Place::limited(list, last_weights)];
        }
        let elsewhere = self.weights.elsewhere(quarters);
        let mut places = vec![Place::limited(self.last.clone(), last_weights), weigh(&self.first, elsewhere)];
        let inner = if self.drawn_before { equal(&self.inner) } else { weigh(&self.inner, elsewhere) };
        places.resize(hops, inner);
        places
    }

    /// Draws relays independently until they fit and pass by their latency, at most `tries` times: every path comes
    /// with exactly its share of the weight of all that fit.
    pub(super) fn draw(
        &self,
        hops: usize,
        rules: Distinct,
        strength: Strength,
        tries: usize,
        rng: &mut impl Rng,
    ) -> Option<Vec<usize>> {
        let places = self.places(hops, strength);
        if places.iter().any(|place| place.list.is_empty()) {
            return None;
        }
        (0..tries).find_map(|_| {
            let filled: Vec<usize> = places.iter().map(|place| place.draw(rng)).collect();
            if !self.fits(&filled, rules) {
                return None;
            }
            let path = in_path_order(filled);
            let factor = self.latency.factor(self.facts, &path, strength.latency);
            let passes = factor >= FACTOR_ONE || below(rng, u64::from(FACTOR_ONE)) < u64::from(factor);
            passes.then_some(path)
        })
    }

    /// Goes through all paths and takes one by its weight: the same shares, and fails only if there is none.
    pub(super) fn draw_exactly(
        &self,
        hops: usize,
        rules: Distinct,
        strength: Strength,
        rng: &mut impl Rng,
    ) -> Option<Vec<usize>> {
        let search = Search::new(self, hops, rules, strength);
        if search.count() == 0 {
            return None;
        }
        let drawn = below_wide(rng, search.weight());
        Some(in_path_order(search.at(drawn)))
    }

    /// How many paths there are.
    pub(super) fn count(&self, hops: usize, rules: Distinct) -> u64 {
        Search::new(self, hops, rules, Strength::NONE).count()
    }

    fn fits(&self, filled: &[usize], rules: Distinct) -> bool {
        filled.iter().enumerate().all(|(at, a)| {
            let earlier = filled[..at].iter().enumerate();
            earlier.into_iter().all(|(place, b)| self.compatible(*a, *b, place == 0, rules))
        })
    }

    /// Whether two relays may share a path; `with_last` when one of them is the last relay.
    pub(super) fn compatible(&self, a: usize, b: usize, with_last: bool, rules: Distinct) -> bool {
        a != b && (with_last && !rules.last || self.facts[a].may_join(&self.facts[b], rules))
    }
}

/// Who may stand at one place of a path, and what each weighs there.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) list: Vec<usize>,
    /// What each weighs, and those before it.
    sums: Vec<u64>,
}

impl Place {
    pub(super) fn new(list: Vec<usize>, weight: impl Fn(usize) -> u32) -> Self {
        let mut sum = 0;
        let sums = list
            .iter()
            .map(|at| {
                sum += u64::from(weight(*at));
                sum
            })
            .collect();
        Self { list, sums }
    }

    /// The same by the weights of all relays, where the list may be of few, such as the exits for one port: none of
    /// them has more than its share of what these weigh. The least weight is that of relays that are needed elsewhere.
    fn limited(list: Vec<usize>, weights: &[u32]) -> Self {
        let counts = |at: &usize| if weights[*at] > 1 { f64::from(weights[*at]) } else { 0.0 };
        let limit = limit(list.iter().map(counts));
        Self::new(list, |at| whole(f64::from(weights[at]).min(limit)))
    }

    /// What the relay at this position of the list weighs.
    pub(super) fn weight(&self, position: usize) -> u64 {
        self.sums[position] - position.checked_sub(1).map_or(0, |before| self.sums[before])
    }

    /// One relay by weight. There must be one.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> usize {
        let drawn = below(rng, *self.sums.last().expect("the list is not empty"));
        self.list[self.sums.partition_point(|sum| *sum <= drawn)]
    }
}

/// A weight in whole numbers, never 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a weight of at most 2^20")]
fn whole(weight: f64) -> u32 {
    weight.max(1.0) as u32
}

/// From the order in which places are filled (last, first, inner ones) to that of the path.
pub(super) fn in_path_order(mut filled: Vec<usize>) -> Vec<usize> {
    filled.rotate_left(1);
    filled
}

/// A uniform number below `bound`, which is not 0, without the bias of a remainder.
pub(super) fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    // The largest multiple of the bound that fits: what lies above it would favour small results.
    let zone = u64::MAX - u64::MAX % bound;
    loop {
        let word = rng.next_u64();
        if word < zone {
            return word % bound;
        }
    }
}

/// The same for wider numbers.
fn below_wide(rng: &mut impl Rng, bound: u128) -> u128 {
    let zone = u128::MAX - u128::MAX % bound;
    loop {
        let word = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        if word < zone {
            return word % bound;
        }
    }
}

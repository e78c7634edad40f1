//! The relays that may stand at each place of a path, and which of them may stand together.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand_core::Rng;

use super::{LastHop, PathRequest};
use crate::directory::{Network, Relay};

/// Which differences two relays of a path must have, besides being two.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Distinct {
    pub(super) operator: bool,
    pub(super) family: bool,
    pub(super) prefix: bool,
    /// The rules also hold between the last relay and the others.
    pub(super) last: bool,
}

impl Distinct {
    pub(super) fn strictest(test_network: bool) -> Self {
        let on = !test_network;
        Self { operator: on, family: on, prefix: on, last: on }
    }
}

/// What matters about a relay here; names are replaced by numbers.
struct Traits {
    operator: usize,
    family: Option<usize>,
    /// Sorted.
    prefixes: Vec<u64>,
}

/// Relays by their index in the network, and who may stand where.
pub(super) struct Candidates {
    traits: Vec<Traits>,
    first: Vec<usize>,
    inner: Vec<usize>,
    last: Vec<usize>,
    /// A guard was given: a path of one hop is that guard.
    guarded: bool,
}

impl Candidates {
    pub(super) fn new(network: &Network, want: &PathRequest<'_>) -> Self {
        let mut names = Names::default();
        let traits = network.relays().iter().map(|relay| names.traits(relay)).collect();
        let usable = |relay: &Relay| !want.exclude.contains(&relay.id());
        let pick = |fits: &dyn Fn(&Relay) -> bool| -> Vec<usize> {
            let relays = network.relays().iter().enumerate();
            relays.filter(|(_, relay)| fits(relay)).map(|(at, _)| at).collect()
        };
        let last = pick(&|relay| match want.last {
            LastHop::Meeting(id) | LastHop::Cache(id) => relay.id() == id,
            _ if !usable(relay) => false,
            LastHop::Any => true,
            LastHop::Exit { port: 0, v6 } => relay.exit().is_some_and(|exit| exit.v6 || !v6),
            LastHop::Exit { port, v6 } => relay.exit().is_some_and(|exit| exit.accepts(port, v6)),
            LastHop::AnyMeeting => relay.is_meeting(),
            LastHop::AnyDirectory => relay.is_directory(),
        });
        let first = match want.guard {
            Some(guard) => pick(&|relay| relay.id() == guard),
            None => pick(&usable),
        };
        Self { traits, first, inner: pick(&usable), last, guarded: want.guard.is_some() }
    }

    /// Leaves only these relays for the inner places, and for the last one if `last`.
    pub(super) fn keep_inner(&mut self, network: &Network, inner: &[zmesh_sphinx::RelayId], last: bool) {
        let among = |at: &usize| network.relays().get(*at).is_some_and(|relay| inner.contains(&relay.id()));
        self.inner.retain(among);
        if last {
            self.last.retain(among);
        }
    }

    pub(super) fn last_is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The lists for the places of a path in the order in which they are filled: last, first, then the inner ones.
    fn places(&self, hops: usize) -> Vec<Vec<usize>> {
        if hops == 1 {
            let only = |at: &&usize| !self.guarded || self.first.contains(at);
            return vec![self.last.iter().filter(only).copied().collect()];
        }
        let mut places = vec![self.last.clone(), self.first.clone()];
        places.resize(hops, self.inner.clone());
        places
    }

    /// Draws relays independently until they fit, at most `tries` times: uniform among all that fit.
    pub(super) fn draw(&self, hops: usize, rules: Distinct, tries: usize, rng: &mut impl Rng) -> Option<Vec<usize>> {
        let places = self.places(hops);
        if places.iter().any(Vec::is_empty) {
            return None;
        }
        (0..tries).find_map(|_| {
            let filled: Vec<usize> = places.iter().map(|list| list[index(rng, list.len())]).collect();
            self.fits(&filled, rules).then(|| in_path_order(filled))
        })
    }

    /// Counts all paths and takes one by its number: uniform, and fails only if there is none.
    pub(super) fn draw_exactly(&self, hops: usize, rules: Distinct, rng: &mut impl Rng) -> Option<Vec<usize>> {
        let search = Search::new(self, hops, rules);
        let total = search.count();
        (total > 0).then(|| in_path_order(search.nth(below(rng, total))))
    }

    /// How many paths there are.
    pub(super) fn count(&self, hops: usize, rules: Distinct) -> u64 {
        Search::new(self, hops, rules).count()
    }

    fn fits(&self, filled: &[usize], rules: Distinct) -> bool {
        filled.iter().enumerate().all(|(at, a)| {
            let earlier = filled[..at].iter().enumerate();
            earlier.into_iter().all(|(place, b)| self.compatible(*a, *b, place == 0, rules))
        })
    }

    /// Whether two relays may share a path; `with_last` when one of them is the last relay.
    fn compatible(&self, a: usize, b: usize, with_last: bool, rules: Distinct) -> bool {
        if a == b {
            return false;
        }
        if with_last && !rules.last {
            return true;
        }
        let (a, b) = (&self.traits[a], &self.traits[b]);
        !(rules.operator && a.operator == b.operator
            || rules.family && a.family.is_some() && a.family == b.family
            || rules.prefix && shares(&a.prefixes, &b.prefixes))
    }
}

/// An exhaustive walk over all paths, the innermost place by counting bits.
struct Search {
    places: Vec<Vec<usize>>,
    /// For each relay, as a bit set, those that may stand with it when it is the last relay, and when it is not.
    beside_last: BTreeMap<usize, Bits>,
    beside: BTreeMap<usize, Bits>,
    innermost: Bits,
}

impl Search {
    fn new(candidates: &Candidates, hops: usize, rules: Distinct) -> Self {
        let places = candidates.places(hops);
        let size = candidates.traits.len();
        let row = |a: usize, with_last: bool| {
            let mut bits = Bits::new(size);
            for b in 0..size {
                if candidates.compatible(a, b, with_last, rules) {
                    bits.set(b);
                }
            }
            bits
        };
        let beside_last = places[0].iter().map(|a| (*a, row(*a, true))).collect();
        let filled_by_loop = places.iter().skip(1).take(hops.saturating_sub(2)).flatten();
        let mut beside = BTreeMap::new();
        for a in filled_by_loop {
            beside.entry(*a).or_insert_with(|| row(*a, false));
        }
        let mut innermost = Bits::new(size);
        for at in places.last().into_iter().flatten() {
            innermost.set(*at);
        }
        Self { places, beside_last, beside, innermost }
    }

    fn count(&self) -> u64 {
        let mut total = 0;
        self.walk(0, &self.innermost.full(), &mut Vec::new(), &mut |_, left| {
            total += left.intersection(&self.innermost).count();
            false
        });
        total
    }

    /// The path with this number, from 0 to the count less one.
    fn nth(&self, number: u64) -> Vec<usize> {
        let mut number = number;
        let mut found = Vec::new();
        self.walk(0, &self.innermost.full(), &mut Vec::new(), &mut |filled, left| {
            let choices = left.intersection(&self.innermost);
            let count = choices.count();
            if number >= count {
                number -= count;
                return false;
            }
            found = filled.to_vec();
            found.push(choices.nth(number));
            true
        });
        found
    }

    /// Calls `visit` with every way to fill all places but the innermost, and with the relays that may stand beside
    /// those; stops when it returns true.
    fn walk(
        &self,
        place: usize,
        allowed: &Bits,
        filled: &mut Vec<usize>,
        visit: &mut impl FnMut(&[usize], &Bits) -> bool,
    ) -> bool {
        if place + 1 == self.places.len() {
            return visit(filled, allowed);
        }
        let rows = if place == 0 { &self.beside_last } else { &self.beside };
        for at in &self.places[place] {
            if !allowed.has(*at) {
                continue;
            }
            filled.push(*at);
            let stop = self.walk(place + 1, &allowed.intersection(&rows[at]), filled, visit);
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

    /// The member with this number, counting from 0. There must be one.
    fn nth(&self, number: u64) -> usize {
        let members = (0..self.0.len() * 64).filter(|at| self.has(*at));
        members
            .into_iter()
            .nth(usize::try_from(number).expect("a set has fewer members than memory"))
            .expect("the number is below the count")
    }
}

/// Gives names and prefixes numbers, so that comparing relays is cheap.
#[derive(Default)]
struct Names {
    operators: BTreeMap<String, usize>,
    families: BTreeMap<String, usize>,
}

impl Names {
    fn traits(&mut self, relay: &Relay) -> Traits {
        let mut prefixes: Vec<u64> = relay.info().addresses.iter().map(|address| prefix(address.ip())).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Traits {
            operator: number(&mut self.operators, relay.operator()),
            family: relay.family().map(|family| number(&mut self.families, family)),
            prefixes,
        }
    }
}

/// Case does not make a new operator.
fn number(numbers: &mut BTreeMap<String, usize>, name: &str) -> usize {
    let next = numbers.len();
    *numbers.entry(name.to_lowercase()).or_insert(next)
}

/// The IPv4 /16 or the IPv6 /32 of an address, as one number.
fn prefix(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(u32::from(ip) >> 16),
        IpAddr::V6(ip) => 1 << 32 | (u128::from(ip) >> 96) as u64,
    }
}

/// Whether two sorted lists have a common entry. They have at most 8 entries.
fn shares(a: &[u64], b: &[u64]) -> bool {
    a.iter().any(|prefix| b.binary_search(prefix).is_ok())
}

/// From the order in which places are filled (last, first, inner ones) to that of the path.
fn in_path_order(mut filled: Vec<usize>) -> Vec<usize> {
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

/// A uniform index into a list that is not empty.
pub(super) fn index(rng: &mut impl Rng, len: usize) -> usize {
    usize::try_from(below(rng, len as u64)).expect("an index below a length fits")
}

/// The relays that differ from all of `held` in operator, family and network; if there are none, those that are
/// simply others. A test network asks for no difference.
pub(super) fn others(network: &Network, held: &[zmesh_sphinx::RelayId]) -> Vec<zmesh_sphinx::RelayId> {
    let want = PathRequest { hops: 1, last: LastHop::Any, exclude: held, guard: None };
    let candidates = Candidates::new(network, &want);
    let rules = Distinct::strictest(network.is_test_network());
    let relays = network.relays();
    let held_at: Vec<usize> = (0..relays.len()).filter(|at| held.contains(&relays[*at].id())).collect();
    let apart = |at: &&usize| held_at.iter().all(|other| candidates.compatible(**at, *other, false, rules));
    let distinct: Vec<usize> = candidates.inner.iter().filter(apart).copied().collect();
    let chosen = if distinct.is_empty() { &candidates.inner } else { &distinct };
    chosen.iter().map(|at| relays[*at].id()).collect()
}

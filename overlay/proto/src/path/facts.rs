//! What a choice of paths has to know of each relay, with names replaced by numbers, and what each relay weighs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use zmesh_sphinx::RelayId;

use super::preference::{Floor, Strength};
use super::survey;
use crate::directory::{Coordinate, Network, Relay};
use crate::wire::descriptor::ExitSummary;

/// The weight of the largest relay. Four of them, a factor and the number of all paths fit into 128 bits.
pub(super) const WEIGHT_ONE: u32 = 1 << 20;

/// No relay weighs more than this share of all that may stand where it does, if these are enough: a single measure that
/// is far too high shall not draw everybody.
const SHARE_MAX: f64 = 1.0 / 25.0;

/// One relay.
pub(super) struct Facts {
    pub(super) id: RelayId,
    pub(super) exit: Option<ExitSummary>,
    pub(super) meeting: bool,
    pub(super) directory: bool,
    pub(super) cache: bool,
    pub(super) country: Option<[u8; 2]>,
    pub(super) place: Option<Coordinate>,
    traits: Traits,
}

/// What two relays of a path must not share.
struct Traits {
    operator: usize,
    family: Option<usize>,
    /// Sorted.
    prefixes: Vec<u64>,
}

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

impl Facts {
    /// All relays of a network, in its order.
    pub(super) fn all(network: &Network) -> Vec<Self> {
        let mut names = Names::default();
        network
            .relays()
            .iter()
            .map(|relay| Self {
                id: relay.id(),
                exit: relay.exit().cloned(),
                meeting: relay.is_meeting(),
                directory: relay.is_directory(),
                cache: relay.is_cache(),
                country: relay.info().country,
                place: network.measure(&relay.id()).place,
                traits: names.traits(relay),
            })
            .collect()
    }

    /// Whether two relays, which are two, may share a path.
    pub(super) fn may_join(&self, other: &Self, rules: Distinct) -> bool {
        let (a, b) = (&self.traits, &other.traits);
        !(rules.operator && a.operator == b.operator
            || rules.family && a.family.is_some() && a.family == b.family
            || rules.prefix && shares(&a.prefixes, &b.prefixes))
    }
}

/// What each relay weighs, for each strength of the preference for capacity.
pub(super) struct Weights {
    /// Whether anything was measured. If not, all weigh the same.
    pub(super) measured: bool,
    /// By strength and relay: as the exit of a path.
    exit: Vec<Vec<u32>>,
    /// By strength and relay: anywhere else. Exits weigh less here, as far as they serve as exits.
    elsewhere: Vec<Vec<u32>>,
    /// The strength at which single relays, guards above all, are drawn.
    single: u8,
    /// Which relays the adversary of the floor holds.
    pub(super) adversary: Vec<bool>,
}

impl Weights {
    pub(super) fn new(network: &Network, facts: &[Facts], strength: Strength, floor: Floor) -> Self {
        let measured: Vec<u32> = facts.iter().map(|relay| network.measure(&relay.id).capacity).collect();
        let known = measured.iter().any(|capacity| *capacity > 0);
        let capacities = clipped(&completed(measured));
        let exit = as_exits(facts, &capacities);
        let elsewhere = clipped(&left_elsewhere(&capacities, &exit));
        let most = capacities.iter().copied().fold(1.0, f64::max);
        let table = |values: &[f64]| -> Vec<Vec<u32>> {
            (0..=Strength::CAPACITY_MAX)
                .map(|quarters| {
                    let weigh = |value: &f64| weight(if known { power(value / most, quarters) } else { 1.0 });
                    values.iter().map(weigh).collect()
                })
                .collect()
        };
        let (exit, elsewhere) = (table(&exit), table(&elsewhere));
        let adversary = largest(&capacities, f64::from(floor.adversary) / 100.0);
        let keeps = |quarters: &u8| survey::keeps(&elsewhere[usize::from(*quarters)], &adversary, floor);
        let single = (0..=strength.bounded().capacity).rev().find(keeps).unwrap_or(0);
        Self { measured: known, exit, elsewhere, single, adversary }
    }

    /// As the exit of a path.
    pub(super) fn exit(&self, quarters: u8) -> &[u32] {
        &self.exit[usize::from(quarters)]
    }

    /// At any other place.
    pub(super) fn elsewhere(&self, quarters: u8) -> &[u32] {
        &self.elsewhere[usize::from(quarters)]
    }

    /// When one relay is drawn by itself.
    pub(super) fn single(&self) -> &[u32] {
        self.elsewhere(self.single)
    }

    /// The strength of those.
    pub(super) fn single_strength(&self) -> u8 {
        self.single
    }
}

/// Gives relays that nobody measured what the smallest tenth of the others has: enough to be measured one day, too
/// little to make it pay not to be.
fn completed(mut capacities: Vec<u32>) -> Vec<f64> {
    let mut known: Vec<u32> = capacities.iter().copied().filter(|capacity| *capacity > 0).collect();
    known.sort_unstable();
    let low = known.get(known.len() / 10).copied().unwrap_or(1);
    for capacity in capacities.iter_mut().filter(|capacity| **capacity == 0) {
        *capacity = low;
    }
    capacities.into_iter().map(f64::from).collect()
}

/// Cuts the largest down to the share that one relay may have.
fn clipped(capacities: &[f64]) -> Vec<f64> {
    let limit = limit(capacities.iter().copied());
    capacities.iter().map(|capacity| capacity.min(limit)).collect()
}

/// The most that one of these may count for so that none has more than its share of what all count for together: 1/25, or
/// 2/n where that is more. Those of 0 are none of the n.
pub(super) fn limit(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().filter(|value| *value > 0.0).count();
    let share = SHARE_MAX.max(2.0 / count.max(1) as f64);
    let mut limit = f64::INFINITY;
    loop {
        let split = |(cut, rest), value| if value > limit { (cut + 1.0, rest) } else { (cut, rest + value) };
        let (cut, rest) = values.clone().fold((0.0, 0.0), split);
        // With so many at the limit, the limit is that share of all. Fewer than 1/share are ever above it.
        let next = share * rest / (1.0 - cut * share);
        if next >= limit {
            return limit;
        }
        limit = next;
    }
}

/// What each relay counts for as the exit of a path. Where few exits have nearly everything, the others take what those
/// may not.
fn as_exits(facts: &[Facts], capacities: &[f64]) -> Vec<f64> {
    let exits =
        facts.iter().zip(capacities).map(|(relay, capacity)| if relay.exit.is_some() { *capacity } else { 0.0 });
    clipped(&exits.collect::<Vec<f64>>())
}

/// What each relay counts for anywhere else: its capacity less what it carries as an exit, when each of a path's three
/// places carries a third of what all relays carry.
fn left_elsewhere(capacities: &[f64], as_exits: &[f64]) -> Vec<f64> {
    let (all, exits): (f64, f64) = (capacities.iter().sum(), as_exits.iter().sum());
    let used = if exits > 0.0 { (all / 3.0 / exits).min(1.0) } else { 0.0 };
    capacities.iter().zip(as_exits).map(|(capacity, as_exit)| capacity - used * as_exit).collect()
}

/// The largest relays that together have at most this share of the capacity.
fn largest(capacities: &[f64], share: f64) -> Vec<bool> {
    let mut falling: Vec<usize> = (0..capacities.len()).collect();
    falling.sort_by(|a, b| capacities[*b].total_cmp(&capacities[*a]));
    let mut left = share * capacities.iter().sum::<f64>();
    let mut held = vec![false; capacities.len()];
    for at in falling {
        left -= capacities[at];
        if left < 0.0 {
            break;
        }
        held[at] = true;
    }
    held
}

/// `share` to the power of so many quarters, by square roots, which are exact everywhere.
fn power(share: f64, quarters: u8) -> f64 {
    let half = share.sqrt();
    match quarters {
        0 => 1.0,
        1 => half.sqrt(),
        2 => half,
        3 => half * half.sqrt(),
        _ => share,
    }
}

/// A share of the largest as a weight. None is 0, so that preference never makes a path impossible.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value lies between 1 and 2^20")]
fn weight(share: f64) -> u32 {
    (share * f64::from(WEIGHT_ONE)).clamp(1.0, f64::from(WEIGHT_ONE)) as u32
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_relay_has_more_than_its_share() {
        let mut capacities = vec![100.0; 100];
        capacities[7] = 1e9;
        capacities[8] = 1e7;
        capacities[9] = 300.0;
        let clipped = clipped(&capacities);
        let all: f64 = clipped.iter().sum();
        assert!((clipped[7] / all - 0.04).abs() < 1e-9 && clipped[7] == clipped[8], "{}", clipped[7] / all);
        assert_eq!((clipped[9], clipped[0]), (300.0, 100.0));
        // Few relays: twice an equal share.
        let few = super::clipped(&[1.0, 1.0, 1.0, 1e6]);
        assert!((few[3] / few.iter().sum::<f64>() - 0.5).abs() < 1e-9, "{few:?}");
        assert_eq!(super::clipped(&[5.0, 5.0]), [5.0, 5.0]);
        assert_eq!(super::clipped(&[1.0, 9.0]), [1.0, 9.0]);
    }

    #[test]
    fn shares_are_of_those_who_count() {
        // Of 200 relays 10 count at all: 2/10.
        let few = clipped(&[vec![0.0; 190], vec![1.0; 9], vec![1e12]].concat());
        assert!((few[199] / few.iter().sum::<f64>() - 0.2).abs() < 1e-9);
        assert_eq!((few[0], few[190]), (0.0, 1.0));
        // Nobody else is left to take over.
        assert_eq!(clipped(&[0.0, 0.0, 7.0]), [0.0, 0.0, 7.0]);
        assert_eq!(clipped(&[]), Vec::<f64>::new());
        // Many at the limit.
        let many = clipped(&[vec![1.0; 30], vec![1e9; 24]].concat());
        assert!((many[40] / many.iter().sum::<f64>() - 0.04).abs() < 1e-9, "{}", many[40]);
    }

    #[test]
    fn scarce_exits_are_kept_for_exits() {
        assert_eq!(left_elsewhere(&[50.0, 20.0, 10.0, 10.0], &[0.0, 0.0, 10.0, 10.0]), [50.0, 20.0, 0.0, 0.0]);
        // Half of their capacity is needed, and what one of them may not have as an exit is left in whole.
        assert_eq!(left_elsewhere(&[30.0, 30.0, 30.0], &[0.0, 30.0, 30.0]), [30.0, 15.0, 15.0]);
        assert_eq!(left_elsewhere(&[30.0, 10.0, 50.0], &[0.0, 10.0, 20.0]), [30.0, 0.0, 30.0]);
        assert_eq!(left_elsewhere(&[30.0, 60.0], &[0.0, 0.0]), [30.0, 60.0]);
    }

    #[test]
    fn powers_are_powers() {
        for quarters in 0..=4u8 {
            assert!((power(0.3, quarters) - 0.3f64.powf(f64::from(quarters) / 4.0)).abs() < 1e-12);
        }
        assert_eq!((weight(0.0), weight(1.0), weight(0.5)), (1, 1 << 20, 1 << 19));
    }

    #[test]
    fn what_nobody_measured_counts_little() {
        let mut capacities: Vec<u32> = (1..=100).map(|n| n * 10).collect();
        capacities[50] = 0;
        assert_eq!(completed(capacities)[50], 100.0);
        assert_eq!(completed(vec![0, 0]), [1.0, 1.0]);
    }

    #[test]
    fn the_adversary_holds_no_more_than_his_share() {
        let held = largest(&[1.0, 40.0, 5.0, 54.0, 4.0], 0.56);
        assert_eq!(held, [false, false, false, true, false], "the largest, and then the next would be too much");
    }
}

//! The tables.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;
use zmesh_proto::directory::Network;
use zmesh_proto::path::{Chooser, LastHop, PathRequest, Uncertainty};
use zmesh_sphinx::RelayId;

use super::adversary::{Holds, both_ends, both_ends_lying, relays};
use super::model::{Model, quantile};
use super::{CAPACITY, DEFAULT, FLOORED, QUICKEST, UNIFORM, WAYS, Way};

/// The adversary's shares of the capacity, in percent.
pub const SHARES: [u32; 4] = [1, 5, 10, 20];

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Guards for which paths are drawn.
    pub guards: usize,
    /// Paths behind each.
    pub paths: usize,
    /// Sets of relays that an adversary may hold, for each share.
    pub adversaries: u64,
}

/// What one way of choosing gives, for three relays to an exit, as a mean over guards.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The way.
    pub way: &'static str,
    /// The true round trip from guard to exit: half of the paths, in milliseconds.
    pub half_ms: f64,
    /// Nine of ten paths.
    pub most_ms: f64,
    /// Entropy behind the guard, in bits.
    pub bits: f64,
    /// Min-entropy behind the guard, in bits.
    pub min_bits: f64,
    /// Min-entropy against who holds the largest relays, 10 % of the capacity, and knows that none is on the path.
    pub adversary_bits: f64,
    /// The same as shares of a uniform choice's entropy, in percent.
    pub entropy_percent: f64,
    /// See `adversary_bits`.
    pub adversary_percent: f64,
    /// The lowest of these over all guards looked at.
    pub least_entropy_percent: f64,
    /// See `adversary_bits`.
    pub least_adversary_percent: f64,
    /// Capacity in quarters and latency in half bits in use, as a mean.
    pub strength: (f64, f64),
    /// How loaded the exit of a path is, as a mean over paths: 1 if every exit gets as much as its share of all exits'
    /// capacity.
    pub exit_load: f64,
    /// The largest share of paths that one exit gets, in percent.
    pub largest_exit_percent: f64,
    /// Microseconds for one draw.
    pub draw_us: f64,
    /// Milliseconds for the first draw behind a new guard, which looks at every path.
    pub first_ms: f64,
}

/// How often an adversary stands at both ends, in percent of circuits.
#[derive(Clone, Debug, Serialize)]
pub struct Ends {
    /// The way of choosing, and what the adversary does.
    pub way: String,
    /// For each of [`SHARES`].
    pub percent: Vec<f64>,
}

/// Both tables.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Relays in the network.
    pub relays: usize,
    /// Of these, exits.
    pub exits: usize,
    /// What the largest exit has of all exits' capacity, in percent.
    pub largest_exit_percent: f64,
    /// The seed of everything.
    pub seed: u64,
    /// The median error of the map in milliseconds, and as a part of the true time.
    pub map_error: (f64, f64),
    /// Time against entropy.
    pub rows: Vec<Row>,
    /// Both ends.
    pub ends: Vec<Ends>,
}

impl Report {
    /// Makes a network of so many relays and looks at it.
    #[must_use]
    pub fn new(relays: usize, seed: u64, effort: Effort) -> Self {
        let model = Model::new(relays, seed);
        let exits = exit_shares(model.network());
        Self {
            relays,
            exits: exits.len(),
            largest_exit_percent: 100.0 * exits.values().copied().fold(0.0, f64::max),
            seed,
            map_error: model.map_error(seed),
            rows: WAYS.iter().map(|way| row(&model, way, seed, effort)).collect(),
            ends: ends(&model, seed, effort),
        }
    }
}

/// What each exit has of all exits' capacity.
fn exit_shares(network: &Network) -> BTreeMap<RelayId, f64> {
    let exits = network.relays().iter().filter(|relay| relay.exit().is_some());
    let mut shares: BTreeMap<RelayId, f64> =
        exits.map(|exit| (exit.id(), f64::from(network.measure(&exit.id()).capacity))).collect();
    let all: f64 = shares.values().sum();
    shares.values_mut().for_each(|share| *share /= all);
    shares
}

fn to_exit(guard: RelayId) -> PathRequest<'static> {
    let last = LastHop::Exit { port: 443, v6: false };
    PathRequest { hops: 3, last, exclude: &[], guard: Some(guard), country: None }
}

/// What a choice leaves open, and what a uniform one does.
type Pair = (Uncertainty, Uncertainty);

/// One way of choosing.
///
/// # Panics
/// If the model has no exits, and so no paths.
#[must_use]
pub fn row(model: &Model, way: &Way, seed: u64, effort: Effort) -> Row {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut chooser = Chooser::new(model.network(), way.preference);
    let guards = draw_guards(&chooser, effort.guards, &mut rng);
    let capacity = exit_shares(model.network());
    let mut chosen: BTreeMap<RelayId, f64> = BTreeMap::new();
    let (mut times, mut seen) = (Vec::new(), Vec::new());
    let (mut drawing, mut first) = (0.0, 0.0);
    for guard in &guards {
        let request = to_exit(*guard);
        let begun = Instant::now();
        chooser.select(&request, &mut rng).expect("a path");
        first += begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let paths: Vec<_> = (0..effort.paths).map(|_| chooser.select(&request, &mut rng).expect("a path")).collect();
        drawing += begun.elapsed().as_secs_f64();
        times.extend(paths.iter().map(|path| model.round_trip_ms(path)));
        seen.push(chooser.explain(&request).expect("a request with paths"));
        for (exit, share) in chooser.last_relays(&request).expect("a request with paths") {
            *chosen.entry(exit).or_default() += share / guards.len() as f64;
        }
    }
    let count = guards.len() as f64;
    let figures: Vec<Pair> = seen.iter().filter_map(|seen| Some((seen.chosen?, seen.uniform?))).collect();
    let mean = |of: &dyn Fn(&Pair) -> f64| figures.iter().map(of).sum::<f64>() / figures.len() as f64;
    let least = |of: &dyn Fn(&Pair) -> f64| figures.iter().map(of).fold(f64::INFINITY, f64::min);
    let entropy = |(chosen, uniform): &Pair| 100.0 * chosen.bits / uniform.bits;
    let against = |(chosen, uniform): &Pair| 100.0 * chosen.adversary_bits / uniform.bits;
    Row {
        way: way.name,
        half_ms: quantile(&mut times, 0.5),
        most_ms: quantile(&mut times, 0.9),
        bits: mean(&|(chosen, _)| chosen.bits),
        min_bits: mean(&|(chosen, _)| chosen.min_bits),
        adversary_bits: mean(&|(chosen, _)| chosen.adversary_bits),
        entropy_percent: mean(&entropy),
        adversary_percent: mean(&against),
        least_entropy_percent: least(&entropy),
        least_adversary_percent: least(&against),
        strength: (
            seen.iter().map(|seen| f64::from(seen.used.capacity)).sum::<f64>() / count,
            seen.iter().map(|seen| f64::from(seen.used.latency)).sum::<f64>() / count,
        ),
        exit_load: chosen.iter().map(|(exit, share)| share * share / capacity[exit]).sum(),
        largest_exit_percent: 100.0 * chosen.values().copied().fold(0.0, f64::max),
        draw_us: drawing * 1e6 / (count * effort.paths as f64),
        first_ms: first * 1e3 / count,
    }
}

/// Guards as origins have them.
fn draw_guards(chooser: &Chooser, count: usize, rng: &mut ChaCha12Rng) -> Vec<RelayId> {
    let shares = chooser.guard_shares();
    (0..count)
        .filter_map(|_| {
            let mut drawn = f64::from(rng.next_u32()) / f64::from(u32::MAX);
            let hit = shares.iter().find(|(_, share)| {
                drawn -= share;
                drawn <= 0.0
            });
            hit.or(shares.last()).map(|(id, _)| *id)
        })
        .collect()
}

fn ends(model: &Model, seed: u64, effort: Effort) -> Vec<Ends> {
    let network = model.network();
    let over = |way: String, share: &dyn Fn(f64, u64) -> f64| {
        let percent = SHARES.iter().map(|percent| {
            let sets = (0..effort.adversaries).map(|set| share(f64::from(*percent) / 100.0, seed * 1_000 + set));
            100.0 * sets.sum::<f64>() / effort.adversaries as f64
        });
        Ends { way, percent: percent.collect() }
    };
    let mut ends = Vec::new();
    for holds in [Holds::Any, Holds::Smallest, Holds::Largest] {
        for way in [UNIFORM, CAPACITY, DEFAULT, QUICKEST, FLOORED] {
            let who = match holds {
                Holds::Any => "relays like everybody's",
                Holds::Smallest => "the smallest relays",
                Holds::Largest => "the largest relays",
            };
            ends.push(over(format!("{}; {who}", way.name), &|share, set| {
                both_ends(network, way.preference, &relays(network, share, holds, set), set)
            }));
        }
    }
    for way in [DEFAULT, QUICKEST, FLOORED] {
        ends.push(over(format!("{}; he lies about where he is", way.name), &|share, set| {
            both_ends_lying(model, way.preference, &relays(network, share, Holds::Any, set), set)
        }));
    }
    ends
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relays, exits, largest_exit_percent: largest, seed, map_error: (by, part), .. } = self;
        writeln!(
            f,
            "{relays} relays, {exits} exits, of which the largest has {largest:.1} % of their capacity, seed {seed}; the map is off by {by:.1} ms, {:.0} % (median)\n",
            part * 100.0
        )?;
        writeln!(
            f,
            "| choice | RTT p50 | RTT p90 | entropy | of uniform (least) | min-entropy | against 10 % | of uniform (least) | used | exit's load | largest exit | draw | first draw |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {:.0} ms | {:.0} ms | {:.2} bits | {:.0} % ({:.0} %) | {:.2} bits | {:.2} bits | {:.0} % ({:.0} %) | {:.2}, {:.1} bits | {:.2} | {:.1} % | {:.1} µs | {:.1} ms |",
                row.way,
                row.half_ms,
                row.most_ms,
                row.bits,
                row.entropy_percent,
                row.least_entropy_percent,
                row.min_bits,
                row.adversary_bits,
                row.adversary_percent,
                row.least_adversary_percent,
                row.strength.0 / 4.0,
                row.strength.1 / 2.0,
                row.exit_load,
                row.largest_exit_percent,
                row.draw_us,
                row.first_ms,
            )?;
        }
        writeln!(f, "\n| choice; adversary | 1 % | 5 % | 10 % | 20 % |\n|---|---|---|---|---|")?;
        for ends in &self.ends {
            let cells: Vec<String> = ends.percent.iter().map(|percent| format!("{percent:.3} %")).collect();
            writeln!(f, "| {} | {} |", ends.way, cells.join(" | "))?;
        }
        Ok(())
    }
}

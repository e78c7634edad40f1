//! A network of relays in cities.
//!
//! Cities have a place on the globe and a weight, after where relays of today's networks stand: most in Europe and North America.
//! A relay stands up to 300 km from its city. The round-trip time between two relays is the way along the great circle at two
//! thirds of the speed of light, half as long again for detours of cables, and what both access links add (log-normal, median
//! 1.5 ms). Capacities are log-normal (median 4 MB/s, σ 1.3): the largest tenth has about half of all. 15 % are exits, half as
//! large again. 40 % of the relays belong to operators of 2 to 12, who have half of their relays in one /16.
//!
//! The map is not the truth: it is drawn by Vivaldi over 24 neighbours of each relay, with queues on one sample in
//! five. What a choice prefers comes from the map; the times that are reported are true.
//!
//! Capacities and places reach the choice as they reach a client: in the document that voters agree on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use zmesh_proto::directory::{Coordinate, Measure, Network};
use zmesh_proto::keys::RelayKeys;
use zmesh_proto::path::coordinate::Vivaldi;
use zmesh_proto::wire::descriptor::{Descriptor, DescriptorInfo, ExitSummary, PortSet, Terms};
use zmesh_sphinx::RelayId;

use super::agreed;

/// Name, latitude, longitude, share of the relays in percent.
const CITIES: [(&str, f64, f64, u32); 12] = [
    ("Frankfurt", 50.1, 8.7, 22),
    ("Amsterdam", 52.4, 4.9, 15),
    ("Paris", 48.9, 2.4, 10),
    ("Stockholm", 59.3, 18.1, 8),
    ("Warsaw", 52.2, 21.0, 7),
    ("New York", 40.7, -74.0, 13),
    ("Dallas", 32.8, -96.8, 5),
    ("Los Angeles", 34.1, -118.2, 8),
    ("São Paulo", -23.5, -46.6, 3),
    ("Tokyo", 35.7, 139.7, 4),
    ("Singapore", 1.35, 103.8, 3),
    ("Sydney", -33.9, 151.2, 2),
];

const NEIGHBOURS: usize = 24;
const ROUNDS: usize = 150;

/// Where a relay stands, and what its access link adds to every round trip.
#[derive(Clone, Copy, Debug)]
struct Site {
    latitude: f64,
    longitude: f64,
    access_ms: f64,
}

/// A network, and the truth about it.
#[derive(Debug)]
pub struct Model {
    network: Network,
    descriptors: BTreeMap<RelayId, Descriptor>,
    sites: BTreeMap<RelayId, Site>,
}

impl Model {
    /// A network of so many relays, all of it from one seed.
    ///
    /// # Panics
    /// For fewer than 2 or more than 4,096 relays, or if voters do not agree on them, which would be a defect.
    #[must_use]
    pub fn new(relays: usize, seed: u64) -> Self {
        assert!((2..=4_096).contains(&relays), "2 to 4,096 relays");
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let operators = operators(relays, &mut rng);
        let mut sites = BTreeMap::new();
        let mut measures = BTreeMap::new();
        let mut descriptors = BTreeMap::new();
        for (number, operator) in operators.iter().enumerate() {
            let keys = RelayKeys::generate(&mut rng, agreed::described_at());
            let exit = rng.next_u32() % 100 < 15;
            let capacity = 4_000.0 * (1.3 * normal(&mut rng)).exp() * if exit { 1.5 } else { 1.0 };
            sites.insert(keys.id(), site(&mut rng));
            measures.insert(keys.id(), Measure { capacity: whole(capacity.max(50.0)), place: None });
            descriptors.insert(keys.id(), descriptor(&keys, number, operator, exit));
        }
        for (id, place) in map(&sites, &mut rng) {
            measures.entry(id).or_default().place = place;
        }
        Self { network: agreed::network(&descriptors, &measures), descriptors, sites }
    }

    /// The network with its measures, as voters agreed on them.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The true round-trip time over a path from its first relay to its last, in milliseconds.
    ///
    /// # Panics
    /// If a relay is not of this network.
    #[must_use]
    pub fn round_trip_ms(&self, path: &[RelayId]) -> f64 {
        path.windows(2).map(|pair| round_trip(self.sites[&pair[0]], self.sites[&pair[1]])).sum()
    }

    /// How far the map is from the truth, over pairs drawn at random: the median of the error, in milliseconds and as a part.
    #[must_use]
    pub fn map_error(&self, seed: u64) -> (f64, f64) {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let relays = self.network.relays();
        let (mut by, mut parts) = (Vec::new(), Vec::new());
        for _ in 0..4_000 {
            let mut pick = || relays[rng.next_u32() as usize % relays.len()].id();
            let (a, b) = (pick(), pick());
            let places = (self.network.measure(&a).place, self.network.measure(&b).place);
            if let ((Some(from), Some(to)), true) = (places, a != b) {
                let truth = round_trip(self.sites[&a], self.sites[&b]);
                let error = (from.round_trip(to).as_secs_f64() * 1_000.0 - truth).abs();
                by.push(error);
                parts.push(error / truth);
            }
        }
        (quantile(&mut by, 0.5), quantile(&mut parts, 0.5))
    }

    /// The same network, in which voters believe these relays that they stand there.
    #[must_use]
    pub fn with_claims(&self, liars: &[RelayId], claim: Coordinate) -> Network {
        let measures = self.network.relays().iter().map(|relay| {
            let id = relay.id();
            let measure = self.network.measure(&id);
            (id, if liars.contains(&id) { Measure { place: Some(claim), ..measure } } else { measure })
        });
        agreed::network(&self.descriptors, &measures.collect())
    }
}

/// The value that this share of all is below.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length")]
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The operator of each relay and whether it stands in the operator's own /16.
fn operators(relays: usize, rng: &mut ChaCha12Rng) -> Vec<(usize, bool)> {
    let mut of = Vec::with_capacity(relays);
    let mut next = 0;
    while of.len() < relays {
        // Operators of several have 7 relays on average, so one operator in eleven has several.
        let size = if rng.next_u32().is_multiple_of(11) { 2 + rng.next_u32() as usize % 11 } else { 1 };
        for member in 0..size.min(relays - of.len()) {
            of.push((next, member % 2 == 0));
        }
        next += 1;
    }
    of
}

fn descriptor(keys: &RelayKeys, number: usize, operator: &(usize, bool), exit: bool) -> Descriptor {
    let (operator, at_home) = *operator;
    // A /16 of the operator's own, or one of the relay's own; none is private or otherwise special.
    let net = if at_home { operator } else { 5_000 + number };
    let (high, low) = (20 + net / 250, net % 250);
    let octet = |value: usize| u8::try_from(value).expect("at most 10,000 nets");
    let host = u8::try_from(1 + number % 250).expect("below 251");
    let mesh = octet(number / 250);
    let summary = ExitSummary { v4: true, v6: false, ports: PortSet::new([1..=65_535]).expect("one range") };
    let info = DescriptorInfo {
        nickname: format!("relay{number}"),
        operator: format!("operator {operator}"),
        family: None,
        country: None,
        addresses: vec![SocketAddr::from(([octet(high), octet(low), mesh, host], 9_001))],
        exit: exit.then_some(summary),
        meeting: true,
        cache: false,
        mixer: false,
        directory: false,
        region: None,
        control: Vec::new(),
    };
    Descriptor::create(keys, &info, Terms::agreed(agreed::described_at())).expect("a well-formed descriptor")
}

fn site(rng: &mut ChaCha12Rng) -> Site {
    let mut drawn = rng.next_u32() % 100;
    let city = CITIES.iter().find(|city| {
        let here = drawn < city.3;
        drawn = drawn.saturating_sub(city.3);
        here
    });
    let (_, latitude, longitude, _) = city.copied().unwrap_or(CITIES[0]);
    let near = |rng: &mut ChaCha12Rng| unit(rng).mul_add(5.4, -2.7);
    Site {
        latitude: latitude + near(rng),
        longitude: longitude + near(rng),
        access_ms: 1.5 * (0.8 * normal(rng)).exp(),
    }
}

fn round_trip(a: Site, b: Site) -> f64 {
    const EARTH_KM: f64 = 6_371.0;
    const KM_PER_MS: f64 = 200.0;
    const DETOUR: f64 = 1.5;
    let (lat_a, lat_b) = (a.latitude.to_radians(), b.latitude.to_radians());
    let (half_lat, half_long) = ((lat_b - lat_a) / 2.0, (b.longitude - a.longitude).to_radians() / 2.0);
    let chord = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_long.sin().powi(2);
    let way = 2.0 * EARTH_KM * chord.sqrt().asin();
    2.0 * way * DETOUR / KM_PER_MS + a.access_ms + b.access_ms
}

/// The map that the relays draw.
fn map(sites: &BTreeMap<RelayId, Site>, rng: &mut ChaCha12Rng) -> Vec<(RelayId, Option<Coordinate>)> {
    let all: Vec<(RelayId, Site)> = sites.iter().map(|(id, site)| (*id, *site)).collect();
    let mut nodes = vec![Vivaldi::new(); all.len()];
    let neighbours: Vec<Vec<usize>> = (0..all.len())
        .map(|own| {
            let drawn = (0..2 * NEIGHBOURS).map(|_| rng.next_u32() as usize % all.len());
            drawn.filter(|other| *other != own).take(NEIGHBOURS).collect()
        })
        .collect();
    for _ in 0..ROUNDS {
        for own in 0..all.len() {
            for other in &neighbours[own] {
                let queue = if rng.next_u32().is_multiple_of(5) { 60.0 * unit(rng) } else { 0.0 };
                let measured = round_trip(all[own].1, all[*other].1) + queue;
                let (place, error) = (nodes[*other].place().unwrap_or_default(), nodes[*other].error());
                nodes[own].measured(all[*other].0, Duration::from_secs_f64(measured / 1_000.0));
                nodes[own].heard(all[*other].0, place, error);
            }
            nodes[own].round(rng);
        }
    }
    all.iter().zip(nodes).map(|((id, _), node)| (*id, node.place())).collect()
}

/// From 0 to 1.
fn unit(rng: &mut ChaCha12Rng) -> f64 {
    f64::from(rng.next_u32()) / f64::from(u32::MAX)
}

/// The normal distribution, by Box and Muller.
fn normal(rng: &mut ChaCha12Rng) -> f64 {
    let radius = (-2.0 * unit(rng).max(1e-12).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a capacity that fits by construction")]
fn whole(value: f64) -> u32 {
    value.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

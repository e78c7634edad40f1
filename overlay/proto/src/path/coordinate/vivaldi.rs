//! One node's place on the map.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_core::Rng;
use zmesh_sphinx::RelayId;

use super::Filter;
use crate::directory::Coordinate;

/// Neighbours that a node looks at.
pub const NEIGHBOURS_MAX: usize = 32;

/// Fewest neighbours that move a node: of fewer, a lie cannot be told from the truth.
const NEIGHBOURS_MIN: usize = 3;
/// The part of the way that a node goes in one round.
const STEP: f64 = 0.25;
/// The longest way that it goes in one round, in milliseconds.
const STEP_MAX: f64 = 10.0;
/// A pull is cut to the median one and this, in milliseconds.
const SLACK: f64 = 1.0;
/// A pull of more than so many medians is left out.
const OUTLIER: f64 = 4.0;
/// The weight of a new error in the running one.
const ERROR_STEP: f64 = 0.1;
/// An announced place follows when the node is so far from it, in milliseconds.
const MARGIN: f64 = 2.0;
/// The map's edge along both axes and the greatest height, in milliseconds.
const EDGE: f64 = 500.0;
const HEIGHT_MAX: f64 = 250.0;
/// The least height: no access link takes less, and a height of nothing could never grow again.
const HEIGHT_MIN: f64 = 0.1;
/// A place this far from the centre is drawn back by 1 ms a round: without that the map as a whole would drift.
const GRAVITY: f64 = 500.0;

/// A place in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Point {
    x: f64,
    y: f64,
    height: f64,
}

impl Point {
    fn of(place: Coordinate) -> Self {
        let ms = |tenths: i16| (f64::from(tenths) / 10.0).clamp(-EDGE, EDGE);
        let height = (f64::from(place.height) / 10.0).clamp(HEIGHT_MIN, HEIGHT_MAX);
        Self { x: ms(place.x), y: ms(place.y), height }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the edges of the map fit")]
    fn coordinate(self) -> Coordinate {
        Coordinate {
            x: (self.x * 10.0).round() as i16,
            y: (self.y * 10.0).round() as i16,
            height: (self.height * 10.0).round() as u16,
        }
    }

    fn distance(self, other: Self) -> f64 {
        (self.x - other.x).hypot(self.y - other.y) + self.height + other.height
    }
}

/// What a node knows of one neighbour.
#[derive(Clone, Debug, Default)]
struct Neighbour {
    filter: Filter,
    place: Option<Coordinate>,
    /// How sure it says it is of its place: 0 sure, 1 not at all.
    error: f64,
}

/// One neighbour's pull in a round.
struct Pull {
    /// How much too near it is on the map, in milliseconds; negative if too far.
    stretch: f64,
    /// Its direction, from the neighbour to this node; the height grows with the stretch.
    x: f64,
    y: f64,
    height: f64,
    weight: f64,
}

/// One node's place. Feed it with [`Vivaldi::measured`] and [`Vivaldi::heard`]; call [`Vivaldi::round`] at even intervals,
/// say each half minute; announce [`Vivaldi::place`] and [`Vivaldi::error`].
#[derive(Clone, Debug)]
pub struct Vivaldi {
    at: Point,
    error: f64,
    announced: Option<Coordinate>,
    neighbours: BTreeMap<RelayId, Neighbour>,
}

impl Default for Vivaldi {
    fn default() -> Self {
        Self::new()
    }
}

impl Vivaldi {
    /// A node in the middle of the map that is not sure of its place at all.
    #[must_use]
    pub fn new() -> Self {
        let at = Point { x: 0.0, y: 0.0, height: 1.0 };
        Self { at, error: 1.0, announced: None, neighbours: BTreeMap::new() }
    }

    /// A node that remembers where it was.
    #[must_use]
    pub fn at(place: Coordinate) -> Self {
        Self { at: Point::of(place), announced: Some(place), ..Self::new() }
    }

    /// A round-trip time to a neighbour was measured on its link. Neighbours beyond [`NEIGHBOURS_MAX`] are left out:
    /// whoever links to this node first stays, until [`Vivaldi::forget`].
    pub fn measured(&mut self, neighbour: RelayId, round_trip: Duration) {
        if let Some(known) = self.entry(neighbour) {
            known.filter.add(round_trip);
        }
    }

    /// A neighbour says where it is and how sure it is of that, in percent of error.
    pub fn heard(&mut self, neighbour: RelayId, place: Coordinate, error_percent: u8) {
        if let Some(known) = self.entry(neighbour) {
            known.place = Some(place);
            // Nobody is surer than anyone can be: a claim of no error would weigh for everything.
            known.error = (f64::from(error_percent) / 100.0).clamp(0.05, 1.0);
        }
    }

    /// The link to a neighbour is gone.
    pub fn forget(&mut self, neighbour: &RelayId) {
        self.neighbours.remove(neighbour);
    }

    /// How many neighbours it looks at.
    #[must_use]
    pub fn neighbours(&self) -> usize {
        self.neighbours.len()
    }

    /// Moves the node by what all neighbours tell together. Returns how far it went, in milliseconds.
    pub fn round(&mut self, rng: &mut impl Rng) -> f64 {
        let pulls: Vec<Pull> = self.neighbours.values().filter_map(|known| self.pull(known, rng)).collect();
        if pulls.len() < NEIGHBOURS_MIN {
            return 0.0;
        }
        let median = median(pulls.iter().map(|pull| pull.stretch.abs()));
        let cut = median + SLACK;
        let kept: Vec<&Pull> = pulls.iter().filter(|pull| pull.stretch.abs() <= OUTLIER * cut).collect();
        let weights: f64 = kept.iter().map(|pull| pull.weight).sum();
        let sum = |along: &dyn Fn(&Pull) -> f64| -> f64 {
            kept.iter().map(|pull| pull.weight * pull.stretch.clamp(-cut, cut) * along(pull)).sum::<f64>() / weights
        };
        let step = Point { x: sum(&|pull| pull.x), y: sum(&|pull| pull.y), height: sum(&|pull| pull.height) };
        let length = step.x.hypot(step.y).hypot(step.height) * STEP;
        let scale = if length > STEP_MAX { STEP * STEP_MAX / length } else { STEP };
        self.go(step, scale);
        self.settle(&pulls);
        length.min(STEP_MAX)
    }

    /// The place to announce. It follows the node's own only when that is a margin away, so that others need not follow
    /// every quiver. Nothing before the first round that moved.
    #[must_use]
    pub fn place(&self) -> Option<Coordinate> {
        self.announced
    }

    /// Where the node is now, to a tenth of a millisecond: for who draws a whole map by itself and announces nothing.
    #[must_use]
    pub fn here(&self) -> Coordinate {
        self.at.coordinate()
    }

    /// How far the map is from what this node measures, in percent, for announcing: 0 right, 100 not sure at all.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value lies between 0 and 100")]
    pub fn error(&self) -> u8 {
        (self.error * 100.0).round().clamp(0.0, 100.0) as u8
    }

    fn entry(&mut self, neighbour: RelayId) -> Option<&mut Neighbour> {
        if self.neighbours.len() >= NEIGHBOURS_MAX && !self.neighbours.contains_key(&neighbour) {
            return None;
        }
        Some(self.neighbours.entry(neighbour).or_default())
    }

    fn pull(&self, known: &Neighbour, rng: &mut impl Rng) -> Option<Pull> {
        let measured = known.filter.value()?.as_secs_f64() * 1_000.0;
        let there = Point::of(known.place?);
        let (dx, dy) = (self.at.x - there.x, self.at.y - there.y);
        let plane = dx.hypot(dy);
        let (x, y) = if plane > 1e-6 { (dx / plane, dy / plane) } else { direction(rng) };
        // The height takes its share of the stretch: on a short way it is most of the distance.
        let whole = plane + self.at.height + there.height;
        let height = (self.at.height + there.height) / whole;
        let weight = self.error / (self.error + known.error).max(1e-6);
        Some(Pull { stretch: measured - self.at.distance(there), x, y, height, weight })
    }

    fn go(&mut self, step: Point, scale: f64) {
        let Point { x, y, height } = self.at;
        let (x, y) = (x + scale * step.x, y + scale * step.y);
        let out = x.hypot(y);
        let inwards = if out > 0.0 { 1.0 - (out / GRAVITY).powi(2).min(1.0) / out.max(1.0) } else { 1.0 };
        self.at = Point {
            x: (x * inwards).clamp(-EDGE, EDGE),
            y: (y * inwards).clamp(-EDGE, EDGE),
            height: (height + scale * step.height).clamp(HEIGHT_MIN, HEIGHT_MAX),
        };
        let far = self.announced.is_none_or(|place| {
            let told = Point::of(place);
            (told.x - self.at.x).hypot(told.y - self.at.y) + (told.height - self.at.height).abs() > MARGIN
        });
        if far {
            self.announced = Some(self.at.coordinate());
        }
    }

    /// Brings the running error up to date by the median one: a few liars do not make a node unsure.
    fn settle(&mut self, pulls: &[Pull]) {
        let measured = self.neighbours.values().filter_map(|known| known.place.and(known.filter.value()));
        let relative = pulls.iter().zip(measured).map(|(pull, measured)| {
            let measured = (measured.as_secs_f64() * 1_000.0).max(1.0);
            (pull.stretch.abs() / measured).min(1.0)
        });
        let now = median(relative);
        self.error += ERROR_STEP * (now - self.error);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A direction at random, for two nodes at one place.
fn direction(rng: &mut impl Rng) -> (f64, f64) {
    let turn = f64::from(rng.next_u32()) / f64::from(u32::MAX) * std::f64::consts::TAU;
    (turn.cos(), turn.sin())
}

//! The map that one voter draws, in the frame of the document.
//!
//! Distances do not say which way a map is turned. Voters who drew each its own would state places of which medians mean nothing. So all
//! begin at the same places, those of the newest document (and where it has none, at ones that follow from the relay's id), let the
//! measured times pull them apart, and turn the result back so that it fits where it began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand_core::Rng;
use sha2::{Digest, Sha256};
use zmesh_sphinx::RelayId;

use crate::directory::Coordinate;
use crate::path::coordinate::Vivaldi;

/// Rounds of pulling at most.
const ROUNDS: usize = 400;
/// It ends when no relay went further than this in a round, in milliseconds.
const QUIET: f64 = 0.02;
/// Others to whom the time has to be known.
const LEAST: usize = 3;
/// How far from the middle a relay begins of which nobody knows the place, in tenths of a millisecond.
const BEGIN: i16 = 300;
/// A stated place stays while the measured one is nearer to it, in tenths of a millisecond, and as a part of the distance to the middle.
const MARGIN: f64 = 10.0;
/// How much of the relays the frame fits: the rest may have moved, or lie.
const FITTED: usize = 3;

/// What a map is drawn of: apart from the [`super::Measurer`], as it takes a second or two for a large network.
#[derive(Clone, Debug)]
pub struct Survey {
    pub(super) times: Vec<(RelayId, RelayId, Duration)>,
    pub(super) known: BTreeMap<RelayId, Coordinate>,
}

/// A place in tenths of a millisecond.
#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
}

impl Point {
    fn of(place: Coordinate) -> Self {
        Self { x: place.x.into(), y: place.y.into() }
    }
}

/// A turn about a point, and a move; mirrored before if need be.
struct Frame {
    mirrored: bool,
    from: Point,
    to: Point,
    cos: f64,
    sin: f64,
}

impl Survey {
    /// The places of all relays of which times to at least three others are known.
    #[must_use]
    pub fn draw(&self, rng: &mut impl Rng) -> BTreeMap<RelayId, Coordinate> {
        let mut others: BTreeMap<RelayId, BTreeMap<RelayId, Duration>> = BTreeMap::new();
        for (a, b, time) in &self.times {
            others.entry(*a).or_default().insert(*b, *time);
            others.entry(*b).or_default().insert(*a, *time);
        }
        // Who has too few is left out, and may leave others with too few.
        loop {
            let few: BTreeSet<RelayId> =
                others.iter().filter(|(_, times)| times.len() < LEAST).map(|(id, _)| *id).collect();
            if few.is_empty() {
                break;
            }
            others.retain(|id, _| !few.contains(id));
            others.values_mut().for_each(|times| times.retain(|id, _| !few.contains(id)));
        }
        let begin: BTreeMap<RelayId, Coordinate> = others.keys().map(|id| (*id, self.begin(id))).collect();
        let drawn = pull(&others, &begin, rng);
        let stated = drawn.keys().filter(|id| self.known.contains_key(*id)).count();
        // Where some places are stated already, these are the frame.
        let fits = |id: &RelayId| stated < LEAST || self.known.contains_key(id);
        let frame = Frame::fit(drawn.iter().filter(|(id, _)| fits(id)).map(|(id, at)| (*at, begin[id])));
        drawn.into_iter().map(|(id, at)| (id, self.settled(&id, frame.apply(at)))).collect()
    }

    /// Where a relay begins: where the document has it, or at a place that all voters compute alike.
    fn begin(&self, id: &RelayId) -> Coordinate {
        if let Some(known) = self.known.get(id) {
            return *known;
        }
        let hash = Sha256::new_with_prefix(b"zmesh first place v1\0").chain_update(id.0).finalize();
        let along = |at: usize| i16::from_be_bytes([hash[at], hash[at + 1]]).rem_euclid(2 * BEGIN) - BEGIN;
        Coordinate { x: along(0), y: along(2), height: 10 }
    }

    /// What is stated already, where that is as good: nobody's quiver should change every document.
    fn settled(&self, id: &RelayId, at: Coordinate) -> Coordinate {
        let Some(known) = self.known.get(id) else { return at };
        let away = (f64::from(known.x) - f64::from(at.x)).hypot(f64::from(known.y) - f64::from(at.y))
            + (f64::from(known.height) - f64::from(at.height)).abs();
        if away <= MARGIN { *known } else { at }
    }
}

/// Lets the times pull until all is quiet.
fn pull(
    others: &BTreeMap<RelayId, BTreeMap<RelayId, Duration>>,
    begin: &BTreeMap<RelayId, Coordinate>,
    rng: &mut impl Rng,
) -> BTreeMap<RelayId, Coordinate> {
    let mut nodes: BTreeMap<RelayId, Vivaldi> = begin.iter().map(|(id, at)| (*id, Vivaldi::at(*at))).collect();
    for (id, node) in &mut nodes {
        for (other, time) in &others[id] {
            // The filter wants to hear a time twice.
            node.measured(*other, *time);
            node.measured(*other, *time);
        }
    }
    for _ in 0..ROUNDS {
        let now: BTreeMap<RelayId, (Coordinate, u8)> =
            nodes.iter().map(|(id, node)| (*id, (node.here(), node.error()))).collect();
        let mut furthest: f64 = 0.0;
        for (id, node) in &mut nodes {
            for other in others[id].keys() {
                let (place, error) = now[other];
                node.heard(*other, place, error);
            }
            furthest = furthest.max(node.round(rng));
        }
        if furthest < QUIET {
            break;
        }
    }
    nodes.iter().map(|(id, node)| (*id, node.here())).collect()
}

impl Frame {
    /// The turn and move that bring the first place of each to the second one: by all of them, then by the two thirds that fit best.
    fn fit(places: impl Iterator<Item = (Coordinate, Coordinate)>) -> Self {
        let mut places: Vec<(Point, Point)> = places.map(|(at, wanted)| (Point::of(at), Point::of(wanted))).collect();
        let first = Self::best(&places);
        let off = |(at, wanted): &(Point, Point)| {
            let there = first.turn(*at);
            (there.x - wanted.x).hypot(there.y - wanted.y)
        };
        places.sort_by(|a, b| off(a).total_cmp(&off(b)));
        let kept = places.len() - places.len() / FITTED;
        if kept < LEAST {
            return first;
        }
        places.truncate(kept);
        Self::best(&places)
    }

    /// By least squares, mirrored or not.
    fn best(places: &[(Point, Point)]) -> Self {
        let (straight, mirrored) = (Self::squares(places, false), Self::squares(places, true));
        if mirrored.1 > straight.1 { mirrored.0 } else { straight.0 }
    }

    /// The best turn, and how much it explains.
    fn squares(places: &[(Point, Point)], mirrored: bool) -> (Self, f64) {
        let count = places.len().max(1) as f64;
        let flip = |at: Point| if mirrored { Point { x: at.x, y: -at.y } } else { at };
        let middle = |of: &dyn Fn(&(Point, Point)) -> Point| {
            let sum = places.iter().map(of).fold((0.0, 0.0), |sum, at| (sum.0 + at.x, sum.1 + at.y));
            Point { x: sum.0 / count, y: sum.1 / count }
        };
        let (from, to) = (middle(&|pair| flip(pair.0)), middle(&|pair| pair.1));
        let (mut along, mut across) = (0.0, 0.0);
        for (at, wanted) in places {
            let at = flip(*at);
            let (ax, ay, bx, by) = (at.x - from.x, at.y - from.y, wanted.x - to.x, wanted.y - to.y);
            along += ax * bx + ay * by;
            across += ax * by - ay * bx;
        }
        let size = along.hypot(across);
        let (cos, sin) = if size > 0.0 { (along / size, across / size) } else { (1.0, 0.0) };
        (Self { mirrored, from, to, cos, sin }, size)
    }

    fn turn(&self, at: Point) -> Point {
        let y = if self.mirrored { -at.y } else { at.y };
        let (x, y) = (at.x - self.from.x, y - self.from.y);
        Point { x: self.to.x + self.cos * x - self.sin * y, y: self.to.y + self.sin * x + self.cos * y }
    }

    fn apply(&self, at: Coordinate) -> Coordinate {
        let there = self.turn(Point::of(at));
        Coordinate { x: whole(there.x), y: whole(there.y), height: at.height }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "within the edges of the map, which fit")]
pub(super) fn whole(tenths: f64) -> i16 {
    tenths.round().clamp(-5_000.0, 5_000.0) as i16
}

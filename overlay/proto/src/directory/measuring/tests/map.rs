//! Maps of voters who never speak with each other: what documents say in the end, with liars and without.

use std::collections::BTreeMap;

use super::*;
use crate::directory::Coordinate;
use crate::directory::fixture::rng;
use crate::directory::measuring::{NEIGHBOURS, Survey};

const RELAYS: usize = 60;
const VOTERS: usize = 7;
const EPOCHS: usize = 4;

#[derive(Clone, Copy)]
struct Truth {
    x: f64,
    y: f64,
    height: f64,
}

fn round_trip(a: Truth, b: Truth) -> f64 {
    (a.x - b.x).hypot(a.y - b.y) + a.height + b.height
}

/// Relays around a few centres, as on continents.
fn clusters(rng: &mut impl Rng) -> Vec<Truth> {
    let centres = [(-60.0, 10.0), (0.0, 40.0), (90.0, -30.0), (20.0, -80.0)];
    (0..RELAYS)
        .map(|n| {
            let (x, y) = centres[n % centres.len()];
            Truth { x: x + between(rng, -8.0, 8.0), y: y + between(rng, -8.0, 8.0), height: between(rng, 1.0, 8.0) }
        })
        .collect()
}

/// What one voter measured: about a dozen others of each relay, ten percent of noise upwards. Lying relays (the last ones) make every
/// second of their times longer, by 50 to 250 ms.
fn measured(truth: &[Truth], liars: usize, rng: &mut impl Rng) -> Vec<(RelayId, RelayId, Duration)> {
    let mut times = BTreeMap::new();
    for a in 0..RELAYS {
        for _ in 0..NEIGHBOURS / 2 + 1 {
            let b = rng.next_u32() as usize % RELAYS;
            if a == b {
                continue;
            }
            let lies = a.max(b) >= RELAYS - liars && rng.next_u32() & 1 == 0;
            let late = if lies { between(rng, 50.0, 250.0) } else { 0.0 };
            let time = round_trip(truth[a], truth[b]) * between(rng, 1.0, 1.1) + between(rng, 0.0, 1.0) + late;
            times.insert((a.min(b), a.max(b)), time);
        }
    }
    times.into_iter().map(|((a, b), time)| (id(a), id(b), ms(time))).collect()
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[(values.len() - 1) / 2]
}

/// As votes are counted: lower medians.
fn counted(maps: &[BTreeMap<RelayId, Coordinate>]) -> BTreeMap<RelayId, Coordinate> {
    let all = |id: &RelayId| maps.iter().filter_map(|map| map.get(id)).copied().collect::<Vec<Coordinate>>();
    let middle = |id: RelayId| {
        let places = all(&id);
        let place = (places.len() > VOTERS / 3 * 2).then(|| Coordinate {
            x: median(places.iter().map(|place| place.x).collect()),
            y: median(places.iter().map(|place| place.y).collect()),
            height: median(places.iter().map(|place| place.height).collect()),
        });
        Some((id, place?))
    };
    (0..RELAYS).filter_map(|number| middle(id(number))).collect()
}

/// The median relative error between honest relays in the document of each epoch.
fn errors(lying_relays: usize, lying_voters: usize, seed: u64) -> Vec<f64> {
    let mut rng = rng(seed);
    let truth = clusters(&mut rng);
    let mut document = BTreeMap::new();
    (0..EPOCHS)
        .map(|_| {
            let maps: Vec<BTreeMap<RelayId, Coordinate>> = (0..VOTERS)
                .map(|voter| {
                    let times = measured(&truth, lying_relays, &mut rng);
                    let map = Survey { times, known: document.clone() }.draw(&mut rng);
                    if voter < lying_voters {
                        // A hundred times as far from the middle, and turned.
                        let far = |along: i16| along.saturating_mul(100).clamp(-5_000, 5_000);
                        return map
                            .into_iter()
                            .map(|(id, at)| (id, Coordinate { x: far(at.y), y: far(at.x), height: 2_500 }))
                            .collect();
                    }
                    map
                })
                .collect();
            document = counted(&maps);
            let mut relative = Vec::new();
            for a in 0..RELAYS - lying_relays {
                for b in 0..a {
                    let (Some(from), Some(to)) = (document.get(&id(a)), document.get(&id(b))) else { continue };
                    let real = round_trip(truth[a], truth[b]);
                    relative.push((from.round_trip(*to).as_secs_f64() * 1_000.0 - real).abs() / real);
                }
            }
            assert!(relative.len() > RELAYS * RELAYS / 5, "nearly all have a place");
            relative.sort_unstable_by(f64::total_cmp);
            relative[relative.len() / 2]
        })
        .collect()
}

/// The figures of decision 0203.
#[test]
#[expect(clippy::print_stdout, reason = "figures that a reader of the test's output wants to see")]
fn documents_agree_on_one_map_and_liars_move_it_little() {
    for seed in 1..=2 {
        let honest = errors(0, 0, seed);
        let relays = errors(RELAYS / 5, 0, seed);
        let voters = errors(0, 2, seed);
        let both = errors(RELAYS / 5, 2, seed);
        println!(
            "seed {seed}: honest {honest:.3?}, a fifth of relays {relays:.3?}, two of seven voters {voters:.3?}, both {both:.3?}"
        );
        let last = |errors: &[f64]| errors[EPOCHS - 1];
        assert!(last(&honest) < 0.12, "{honest:?}");
        assert!(last(&relays) < 0.2, "{relays:?}");
        assert!(last(&voters) < 0.2, "{voters:?}");
        assert!(last(&both) < 0.3, "{both:?}");
    }
}

#[test]
fn a_relay_with_too_few_times_has_no_place() {
    let times = vec![(id(0), id(1), ms(5.0)), (id(0), id(2), ms(5.0)), (id(1), id(2), ms(5.0))];
    assert!(Survey { times, known: BTreeMap::new() }.draw(&mut rng(1)).is_empty(), "three relays make no map");
}

#[test]
fn a_place_that_is_right_stays_as_it_is() {
    let mut rng = rng(2);
    let truth = clusters(&mut rng);
    let known: BTreeMap<RelayId, Coordinate> = truth
        .iter()
        .enumerate()
        .map(|(number, at)| {
            let tenths = |ms: f64| super::super::survey::whole(ms * 10.0);
            (id(number), Coordinate { x: tenths(at.x), y: tenths(at.y), height: tenths(at.height).unsigned_abs() })
        })
        .collect();
    let mut times = Vec::new();
    for a in 0..RELAYS {
        for b in (0..a).step_by(5) {
            times.push((id(a), id(b), known[&id(a)].round_trip(known[&id(b)])));
        }
    }
    let drawn = Survey { times, known: known.clone() }.draw(&mut rng);
    let same = drawn.iter().filter(|(id, at)| known[*id] == **at).count();
    assert!(same * 10 >= drawn.len() * 9, "{same} of {}", drawn.len());
}

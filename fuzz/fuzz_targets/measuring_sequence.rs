//! A voter that measures, whatever comes when: only relays of the newest document, one job at a time, within its budget of bytes, and it
//! states no more than came.
#![no_main]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rand_chacha::ChaCha12Rng;
use rand_core::SeedableRng;
use zmesh_proto::directory::measuring::{Job, Measurer, NEIGHBOURS, Pace, Timing, speed};
use zmesh_proto::directory::{Coordinate, Measure};
use zmesh_sphinx::RelayId;

#[derive(Arbitrary, Debug)]
enum Step {
    Wait(u16),
    Next,
    /// A load comes in these pieces: milliseconds and bytes more each time.
    Load(Vec<(u16, u32)>),
    /// Probes took so many microseconds.
    Times(u32, u32),
    Failed,
    /// A result that nobody asked for.
    Stray(u8),
    /// Another document.
    Network(Vec<(u8, u32)>),
    /// The map is drawn and taken, once, with places of others that have left meanwhile.
    Map(Vec<u8>),
}

fn id(number: u8) -> RelayId {
    RelayId([number; 16])
}

fuzz_target!(|input: (bool, u64, Vec<Step>)| {
    let (test_network, seed, steps) = input;
    let pace = Pace { hourly: 128 << 20, ..Pace::of(12, test_network) };
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut now = Instant::now();
    let own = id(0);
    let mut measurer = Measurer::new(own, pace, now);
    let mut listed: BTreeMap<RelayId, u32> = BTreeMap::new();
    // The greatest speed that came of each relay since it was listed, in kB/s, and when it was loaded.
    let mut came: BTreeMap<RelayId, (u32, Vec<Instant>)> = BTreeMap::new();
    let mut job: Option<Job> = None;
    // Bytes of the budget that are used, and when that was.
    let (mut used, mut used_at) = (0f64, now);
    // A map takes long to draw: one for an input.
    let mut drawn = false;
    for step in steps {
        match step {
            Step::Wait(time) => now += Duration::from_millis(u64::from(time) * 4),
            Step::Next => {
                now = now.max(measurer.due());
                let next = measurer.next(now, &mut rng);
                assert!(job.is_none() || next.is_none(), "one at a time");
                let measured = |relay: &RelayId| *relay != own && listed.contains_key(relay);
                match next {
                    Some(Job::Load { relay, bytes }) => {
                        assert!(measured(&relay) && bytes <= pace.bytes);
                        let (_, times) = came.entry(relay).or_default();
                        times.push(now);
                        times.retain(|at| now - *at < pace.again);
                        assert!(times.len() <= 8, "{} loads in the time of one", times.len());
                        let refilled = (now - used_at).as_secs_f64() * (pace.hourly / 3_600) as f64;
                        (used, used_at) = ((used - refilled).max(0.0) + f64::from(bytes), now);
                        assert!(used <= f64::from(pace.bytes) * 2.0 + 1.0, "no more than the budget");
                    }
                    Some(Job::Times { first, second }) => {
                        assert!(first != second && measured(&first) && measured(&second));
                    }
                    None => {}
                }
                job = job.or(next);
            }
            Step::Load(pieces) => {
                let Some(Job::Load { relay, .. }) = job else { continue };
                job = None;
                let mut course = vec![(Duration::ZERO, 0)];
                for (time, bytes) in pieces.into_iter().take(256) {
                    let (at, had) = course[course.len() - 1];
                    course.push((at + Duration::from_millis(time.into()), had + u64::from(bytes)));
                }
                if let (Some((most, _)), Some(speed)) = (came.get_mut(&relay), speed(&course)) {
                    let (took, bytes) = course[course.len() - 1];
                    let mean = bytes as f64 / took.as_secs_f64().max(1e-9) / 1_000.0;
                    assert!(f64::from(speed) <= (2.0 * mean).max(1.0), "{speed} of {mean}");
                    *most = speed.max(*most);
                }
                measurer.loaded(relay, &course, now, &mut rng);
            }
            Step::Times(first_took, second_took) => {
                let (first, second) = match job.take() {
                    Some(Job::Times { first, second }) => (first, second),
                    _ => (id(1), id(2)),
                };
                let (first_took, second_took) = (first_took.into(), second_took.into());
                let timing =
                    Timing { first: Duration::from_micros(first_took), second: Duration::from_micros(second_took) };
                measurer.timed(first, second, timing, now, &mut rng);
            }
            Step::Failed => {
                measurer.failed(now, &mut rng);
                if let Some(Job::Load { bytes, .. }) = job.take() {
                    used -= f64::from(bytes);
                }
            }
            Step::Stray(relay) => {
                let before = measurer.figures(now);
                let asked = matches!(job, Some(Job::Load { relay: asked, .. }) if asked == id(relay));
                if !asked {
                    let course = [(Duration::ZERO, 0), (Duration::from_millis(1), 4 << 20)];
                    measurer.loaded(id(relay), &course, now, &mut rng);
                    job = None;
                }
                assert_eq!(measurer.figures(now), before, "nobody asked for it");
            }
            Step::Network(relays) => {
                listed = relays.into_iter().take(24).map(|(relay, stated)| (id(relay % 32), stated)).collect();
                let said = |(id, capacity): (&RelayId, &u32)| (*id, Measure { capacity: *capacity, place: None });
                measurer.take(listed.iter().map(said), now);
                came.retain(|relay, _| listed.contains_key(relay));
            }
            Step::Map(others) => {
                if std::mem::replace(&mut drawn, true) {
                    continue;
                }
                let mut places: BTreeMap<RelayId, Coordinate> = measurer.survey().draw(&mut rng);
                assert!(places.keys().all(|relay| *relay == own || listed.contains_key(relay)));
                places.extend(others.into_iter().map(|other| (id(other), Coordinate::default())));
                measurer.mapped(places);
            }
        }
        for (relay, measure) in measurer.figures(now) {
            assert!(relay != own && listed.contains_key(&relay));
            let most = came.get(&relay).map_or(0, |(most, _)| *most);
            // What the document says stays while it is about right: an eighth of it.
            let most = if measure.capacity == listed[&relay] { f64::from(most) * 8.0 / 7.0 } else { most.into() };
            assert!(f64::from(measure.capacity) <= most + 1.0, "{} of {most}", measure.capacity);
        }
        assert!(measurer.held() <= listed.len() * (4 + NEIGHBOURS));
    }
});

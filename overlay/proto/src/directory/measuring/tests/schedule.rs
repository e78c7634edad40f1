//! How much is measured and when, and what figures come of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::directory::fixture::rng;
use crate::directory::measuring::*;
use crate::directory::{Coordinate, Measure};

const OWN: usize = 0;

fn listed(relays: usize) -> impl Iterator<Item = (RelayId, Measure)> {
    (0..relays).map(|number| (id(number), Measure::default()))
}

/// What a relay of this speed (kB/s) brings in so many bytes at most.
fn course(kilobytes: f64, bytes: u32, longest: Duration) -> Vec<(Duration, u64)> {
    let mut course = Vec::new();
    let mut bytes_so_far = 0;
    while bytes_so_far < u64::from(bytes) {
        bytes_so_far += 16 << 10;
        let at = Duration::from_secs_f64(bytes_so_far as f64 / kilobytes / 1_000.0);
        if at > longest {
            break;
        }
        course.push((at, bytes_so_far));
    }
    course
}

/// Runs a measurer for a while: when each job began.
fn run(relays: usize, pace: Pace, time: Duration, seed: u64) -> (Measurer, Vec<(Duration, Job)>, Instant) {
    let (mut rng, begin) = (rng(seed), start());
    let mut now = begin;
    let mut measurer = Measurer::new(id(OWN), pace, now);
    measurer.take(listed(relays), now);
    let mut jobs = Vec::new();
    while now < begin + time {
        let Some(job) = measurer.next(now, &mut rng) else {
            now = measurer.due().max(now + Duration::from_millis(1));
            continue;
        };
        assert!(measurer.next(now + pace.again * 9, &mut rng).is_none(), "one at a time");
        jobs.push((now - begin, job));
        match job {
            Job::Load { relay, bytes } => {
                now += Duration::from_secs(2);
                measurer.loaded(relay, &course(1_000.0, bytes, pace.longest), now, &mut rng);
            }
            Job::Times { first, second } => {
                now += Duration::from_millis(500);
                measurer.timed(first, second, Timing { first: ms(20.0), second: ms(50.0) }, now, &mut rng);
            }
        }
    }
    (measurer, jobs, now)
}

fn loads(jobs: &[(Duration, Job)]) -> Vec<(Duration, RelayId, u32)> {
    let load = |(at, job): &(Duration, Job)| match job {
        Job::Load { relay, bytes } => Some((*at, *relay, *bytes)),
        Job::Times { .. } => None,
    };
    jobs.iter().filter_map(load).collect()
}

#[test]
fn a_large_network_costs_no_more_than_the_hourly_bytes() {
    let pace = Pace::of(3_600, false);
    let (_, jobs, _) = run(1_000, pace, Duration::from_secs(6 * 3_600), 1);
    let loads = loads(&jobs);
    for hour in 0..6 {
        let within = |at: &Duration| (hour * 3_600..(hour + 1) * 3_600).contains(&at.as_secs());
        let bytes: u64 = loads.iter().filter(|(at, ..)| within(at)).map(|(.., bytes)| u64::from(*bytes)).sum();
        assert!(bytes <= pace.hourly + 2 * u64::from(pace.bytes), "{bytes} in hour {hour}");
        assert!(bytes * 10 > pace.hourly * 9, "and it uses them: {bytes}");
    }
    // No bursts: in no ten minutes more than their share and the two that may be saved up.
    for (at, ..) in &loads {
        let ten = loads.iter().filter(|(other, ..)| *other >= *at && *other < *at + Duration::from_secs(600)).count();
        assert!(ten as u64 <= pace.hourly / 6 / u64::from(pace.bytes) + 2, "{ten} loads in ten minutes");
    }
}

#[test]
fn a_relay_is_loaded_once_in_so_long_whatever_the_length_of_epochs() {
    for (epoch, test_network, relays) in [(3_600, false, 60), (60, false, 20), (12, true, 8), (2, true, 40)] {
        let pace = Pace::of(epoch, test_network);
        let (measurer, jobs, now) = run(relays, pace, pace.again * 3, u64::from(epoch));
        let mut last: BTreeMap<RelayId, Duration> = BTreeMap::new();
        for (at, relay, bytes) in loads(&jobs) {
            assert!(relay != id(OWN) && bytes <= pace.bytes);
            if let Some(before) = last.insert(relay, at) {
                assert!(at - before >= pace.again, "{epoch}: {at:?} after {before:?}");
            }
        }
        assert_eq!(last.len(), relays - 1, "{epoch}: every other relay had its turn");
        let figures = measurer.figures(now);
        assert_eq!(figures.len(), relays - 1);
        assert!(figures.values().all(|measure| measure.capacity.abs_diff(1_000) <= 1));
        assert!(
            measurer.figures(now + pace.stale + pace.again).values().all(|measure| measure.capacity == 0),
            "too old"
        );
    }
}

/// When a measurer of one relay tries it, in parts of the usual time: `speeds` are what each try shows (none: no circuit), in kB/s.
fn tries(speeds: &[Option<f64>], seed: u64) -> (Vec<f64>, Measurer, Instant) {
    let (mut rng, begin) = (rng(seed), start());
    let pace = Pace { pause: Duration::from_millis(1), ..Pace::of(12, true) };
    let mut measurer = Measurer::new(id(OWN), pace, begin);
    measurer.take(listed(2), begin);
    let mut now = begin;
    let mut tried = Vec::new();
    while tried.len() < speeds.len() {
        now += pace.again / 2_048;
        if let Some(Job::Load { relay, bytes }) = measurer.next(now, &mut rng) {
            let shown = speeds[tried.len()];
            tried.push((now - begin).as_secs_f64() / pace.again.as_secs_f64());
            match shown {
                Some(speed) => {
                    let begin = (Duration::ZERO, 0);
                    let course: Vec<_> = [begin].into_iter().chain(course(speed, bytes, pace.longest)).collect();
                    measurer.loaded(relay, &course, now, &mut rng);
                }
                None => measurer.failed(now, &mut rng),
            }
        }
    }
    (tried, measurer, now)
}

#[test]
fn what_failed_is_tried_soon_and_then_less_and_less() {
    for seed in 0..20 {
        let (tried, ..) = tries(&[None; 12], seed);
        assert!(tried[0] <= 1.0 / 16.0 + 0.001, "a newcomer: {}", tried[0]);
        for (row, (before, at)) in (0u32..).zip(tried.iter().zip(&tried[1..])) {
            let wait = f64::from(1 << row.min(4)) / 64.0;
            assert!((wait..=wait * 1.5 + 0.001).contains(&(at - before)), "{row}: {before} to {at}");
        }
        let within = tried.iter().filter(|at| **at < tried[0] + 1.0).count();
        assert!((5..=8).contains(&within), "{within} tries in the time of one");
    }
}

#[test]
fn what_went_badly_once_does_not_count_for_long() {
    // Where the first run shows nothing, it takes two runs soon after that.
    let (tried, measurer, now) = tries(&[Some(0.001), Some(105.0), Some(105.0), Some(105.0)], 8);
    assert!(tried[2] - tried[0] < 0.1 && tried[3] - tried[2] >= 1.0, "{tried:?}");
    assert!(measurer.figures(now)[&id(1)].capacity.abs_diff(105) <= 1);
    // Where it shows what others who measured at once had left, it is found out with the next one, and settled soon after.
    let (tried, measurer, now) = tries(&[Some(30.0), Some(105.0), Some(105.0), Some(105.0)], 8);
    assert!(tried[1] - tried[0] >= 1.0 && tried[2] - tried[1] < 0.1 && tried[3] - tried[2] >= 1.0, "{tried:?}");
    assert!(measurer.figures(now)[&id(1)].capacity.abs_diff(105) <= 1);
    // One that went badly after others that did not moves nothing.
    let (tried, measurer, now) = tries(&[Some(105.0), Some(105.0), Some(105.0), Some(0.001), Some(105.0)], 8);
    assert!(tried[1] - tried[0] >= 1.0 && tried[2] - tried[1] >= 1.0 && tried[4] - tried[3] < 0.03, "{tried:?}");
    assert!(measurer.figures(now)[&id(1)].capacity.abs_diff(105) <= 1);
    // Nor does one that went well by chance, or was made to.
    let (tried, measurer, now) = tries(&[Some(105.0), Some(105.0), Some(105.0), Some(900.0)], 8);
    assert!(tried.len() == 4 && measurer.figures(now)[&id(1)].capacity.abs_diff(105) <= 1);
}

#[test]
fn a_crowd_of_newcomers_keeps_nobody_from_being_measured_again() {
    let (mut rng, begin) = (rng(9), start());
    let pace = Pace { hourly: 3_600 * (100 << 10), ..Pace::of(12, true) };
    let mut measurer = Measurer::new(id(OWN), pace, begin);
    let (mut now, mut names, mut old) = (begin, 5, 0);
    while now < begin + pace.again * 20 {
        // Each time others than before, beside four that stay.
        names += 50;
        let crowd = (1..5).chain(names..names + 50).map(|number| (id(number), Measure::default()));
        measurer.take(crowd, now);
        for _ in 0..20 {
            now = measurer.due().max(now) + pace.again / 200;
            match measurer.next(now, &mut rng) {
                Some(Job::Load { relay, bytes }) => {
                    old += usize::from(relay < id(5));
                    measurer.loaded(relay, &course(1_000.0, bytes, pace.longest), now, &mut rng);
                }
                Some(Job::Times { .. }) => measurer.failed(now, &mut rng),
                None => {}
            }
        }
    }
    assert!(old >= 4 * 15, "{old} loads of four relays in twenty times the usual time");
}

#[test]
fn a_load_without_a_circuit_costs_nothing_of_what_may_come() {
    let (mut rng, mut now) = (rng(10), start());
    let pace = Pace { hourly: 3_600, ..Pace::of(12, true) };
    let mut measurer = Measurer::new(id(OWN), pace, now);
    measurer.take(listed(2), now);
    let mut loads = 0;
    for _ in 0..2_000 {
        now = measurer.due().max(now);
        loads += usize::from(matches!(measurer.next(now, &mut rng), Some(Job::Load { .. })));
        measurer.failed(now, &mut rng);
        now += Duration::from_secs(1);
    }
    assert!(loads > 10, "{loads}: two may be saved up, and no other comes in ten days");
}

#[test]
fn a_test_network_is_measured_within_a_minute() {
    let pace = Pace::of(12, true);
    let (measurer, jobs, now) = run(8, pace, Duration::from_secs(60), 3);
    assert!(measurer.figures(now).values().filter(|measure| measure.capacity > 0).count() == 7);
    let pairs = jobs.iter().filter(|(_, job)| matches!(job, Job::Times { .. })).count();
    assert!(pairs >= 21 * 2, "all pairs of seven relays, both ways: {pairs}");
}

#[test]
fn the_order_is_another_one_each_time() {
    let order = |seed| {
        let (_, jobs, _) = run(30, Pace::of(12, true), Duration::from_secs(100), seed);
        loads(&jobs).into_iter().map(|(_, relay, _)| relay).take(10).collect::<Vec<_>>()
    };
    assert_ne!(order(1), order(2));
}

#[test]
fn nothing_that_left_the_network_is_kept() {
    let pace = Pace::of(12, true);
    let (mut measurer, _, now) = run(12, pace, Duration::from_secs(60), 4);
    measurer.take(listed(5), now);
    assert_eq!(measurer.figures(now).len(), 4);
    assert!(measurer.survey().times.iter().all(|(a, b, _)| *a < id(5) && *b < id(5)));
}

#[test]
fn every_relay_gets_neighbours_and_few_get_many() {
    let pace = Pace::of(3_600, false);
    let (measurer, _, _) = run(200, pace, Duration::from_secs(11 * 3_600), 5);
    let mut of: BTreeMap<RelayId, usize> = BTreeMap::new();
    for (a, b, _) in measurer.survey().times {
        if a != id(OWN) {
            *of.entry(a).or_default() += 1;
            *of.entry(b).or_default() += 1;
        }
    }
    assert_eq!(of.len(), 199);
    assert!(of.values().all(|n| (NEIGHBOURS..=NEIGHBOURS + 8).contains(n)), "{of:?}");
}

#[test]
fn a_stated_figure_stays_while_it_is_about_right() {
    let (now, mut rng) = (start(), rng(6));
    let pace = Pace::of(12, true);
    let mut measurer = Measurer::new(id(OWN), pace, now);
    let stated = |capacity| (0..2).map(move |number| (id(number), Measure { capacity, place: None }));
    measurer.take(stated(1_100), now);
    let mut at = now;
    while !matches!(measurer.next(at, &mut rng), Some(Job::Load { .. })) {
        measurer.failed(at, &mut rng);
        at += pace.again / 64;
    }
    measurer.loaded(id(1), &course(1_000.0, pace.bytes, pace.longest), now, &mut rng);
    assert_eq!(measurer.figures(now)[&id(1)].capacity, 1_100);
    measurer.take(stated(2_000), now);
    assert!(measurer.figures(now)[&id(1)].capacity.abs_diff(1_000) <= 1);
}

#[test]
fn who_is_late_itself_to_look_nearer_needs_the_other_to_lie_too() {
    let (now, mut rng) = (start(), rng(7));
    let pace = Pace::of(12, true);
    let mut measurer = Measurer::new(id(OWN), pace, now);
    measurer.take(listed(3), now);
    let mut at = now;
    let mut seen = 0;
    while seen < 2 {
        at += pace.again;
        match measurer.next(at, &mut rng) {
            Some(Job::Times { first, second }) => {
                // Both are 30 ms away and 80 ms apart; relay 1 answers 79 ms late when it is asked itself, and passes on at once.
                let late = if first == id(1) { 79.0 } else { 0.0 };
                let also = if second == id(1) { 79.0 } else { 0.0 };
                let timing = Timing { first: ms(30.0 + late), second: ms(110.0 + also) };
                measurer.timed(first, second, timing, at, &mut rng);
                seen += 1;
            }
            Some(Job::Load { .. }) => measurer.failed(at, &mut rng),
            None => {}
        }
    }
    let times = measurer.survey().times;
    let between = times.iter().find(|(a, ..)| *a == id(1)).expect("a pair").2;
    assert!(between >= ms(80.0), "{between:?}");
}

#[test]
fn neither_a_slow_beginning_nor_a_short_burst_is_the_speed() {
    let whole = 4u64 << 20;
    // Five times slower for the first eighth.
    let slow: Vec<(Duration, u64)> = (0..=64)
        .map(|part| {
            let bytes = whole * part / 64;
            let eighth = (part.min(8) as f64) * 0.25 + (part.saturating_sub(8) as f64) * 0.05;
            (Duration::from_secs_f64(eighth), bytes)
        })
        .collect();
    let real = whole as f64 / 64.0 / 0.05 / 1_000.0;
    let found = f64::from(speed(&slow).expect("a speed"));
    assert!((found / real - 1.0).abs() < 0.01, "{found} of {real}");
    // A bucket of three eighths, at once.
    let burst: Vec<(Duration, u64)> = (0..=64)
        .map(|part: u64| (Duration::from_secs_f64(part.saturating_sub(24) as f64 * 0.05), whole * part / 64))
        .collect();
    let found = f64::from(speed(&burst).expect("a speed"));
    assert!((found / real - 1.0).abs() < 0.01, "{found} of {real}");
    assert_eq!(speed(&[]), None);
    let few = speed(&[(Duration::ZERO, 0), (ms(5.0), LEAST_BYTES - 1)]);
    assert_eq!(few, Some(65), "over a second");
    assert_eq!(speed(&[(Duration::ZERO, 0), (ms(9_000.0), 0)]), Some(1), "nothing came");
    // All of it stood somewhere and came at once: in four seconds.
    let held: Vec<(Duration, u64)> = (0..=64)
        .map(|part: u64| (ms(if part == 0 { 0.0 } else { 4_000.0 + part as f64 / 100.0 }), whole * part / 64))
        .collect();
    assert!(speed(&held).expect("a speed") <= 2_100, "{:?}", speed(&held));
}

#[test]
fn of_several_runs_the_middle_one_counts_and_the_oldest_is_forgotten() {
    let (now, stale) = (start(), Duration::from_secs(100));
    let mut figures = Figures::default();
    assert_eq!(figures.capacity(now, stale), 0);
    for (after, speed) in [(0, 100), (1, 900_000), (2, 110), (3, 1), (4, 120)] {
        figures.add(now + Duration::from_secs(after), speed);
    }
    assert_eq!(figures.capacity(now + Duration::from_secs(4), stale), 110);
    (0..5).for_each(|_| figures.add(now + Duration::from_secs(50), 500));
    assert_eq!(figures.capacity(now + Duration::from_secs(50), stale), 500);
    assert_eq!(figures.capacity(now + Duration::from_secs(151), stale), 0, "too old");
    figures.add(now + Duration::from_secs(151), u32::MAX);
    assert_eq!(figures.capacity(now + Duration::from_secs(151), stale), CAPACITY_MAX);
}

proptest! {
    /// Whatever comes, at whatever times: no panic, and a figure within its bounds.
    #[test]
    fn a_speed_is_within_its_bounds(steps in prop::collection::vec((0u64..2_000_000, 0u64..4_000_000), 0..200)) {
        let (mut at, mut bytes, mut course) = (Duration::ZERO, 0, Vec::new());
        for (micros, more) in steps {
            at += Duration::from_micros(micros);
            bytes += more;
            course.push((at, bytes));
        }
        if let Some(speed) = speed(&course) {
            prop_assert!((1..=CAPACITY_MAX).contains(&speed));
            let (first, last) = (course[0], course[course.len() - 1]);
            if last.1 - first.1 < LEAST_BYTES {
                return Ok(());
            }
            // The four slowest slices take no more than all the time: half of the mean is the least.
            let mean = (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64() / 1_000.0;
            prop_assert!(f64::from(speed) <= (2.0 * mean).max(1.0), "{speed} of {mean}");
            prop_assert!(f64::from(speed) + 1.0 >= (mean / 2.0).min(f64::from(CAPACITY_MAX)) * 0.999, "{speed} of {mean}");
        }
    }

    /// Any times between any relays make a map without a panic, of places that fit a document.
    #[test]
    fn any_times_make_a_map(times in prop::collection::vec((0usize..12, 0usize..12, 0u64..3_000_000), 0..60), seed in any::<u64>()) {
        let times = times.into_iter().filter(|(a, b, _)| a != b);
        let times = times.map(|(a, b, micros)| (id(a), id(b), Duration::from_micros(micros))).collect();
        let survey = Survey { times, known: BTreeMap::from([(id(1), Coordinate { x: i16::MIN, y: i16::MAX, height: u16::MAX })]) };
        for place in survey.draw(&mut rng(seed)).values() {
            prop_assert!(place.x >= -5_000 || place.x == i16::MIN);
        }
    }
}

use std::time::{Duration, Instant};

use super::{FRESH, PAUSE, PAUSE_MAX, Shelf};
use crate::clock;

/// Looks the shelf over as [`super::keep`] does, with builds that succeed at once and are numbered.
fn look(shelf: &mut Shelf<u32>, now: Instant, next: &mut u32) {
    shelf.sweep(now, |_| true);
    while shelf.is_due(now) {
        shelf.built(*next, now);
        *next += 1;
    }
}

#[test]
fn after_eleven_idle_minutes_a_warm_spare_is_handed_out() {
    let start = clock::now();
    let mut shelf = Shelf::new(2);
    let mut next = 1;
    for second in 0..=660 {
        look(&mut shelf, start + Duration::from_secs(second), &mut next);
        assert_eq!(shelf.ready.len(), 2, "second {second}");
    }
    let now = start + Duration::from_secs(660);
    assert_eq!(shelf.take(now, |_| true), Some(4), "the first two were too old and have been replaced");
    look(&mut shelf, now, &mut next);
    assert_eq!(shelf.take(now, |_| true), Some(5), "what is taken is replaced");
}

#[test]
fn a_spare_that_slept_too_long_is_not_handed_out_but_replaced() {
    let start = clock::now();
    let mut shelf = Shelf::new(1);
    let mut next = 1;
    look(&mut shelf, start, &mut next);
    // Nothing was looked over in between, as when the machine was asleep.
    assert_eq!(shelf.take(start + FRESH, |_| true), None);
    look(&mut shelf, start + FRESH, &mut next);
    assert_eq!(shelf.take(start + FRESH, |_| true), Some(2));
}

#[test]
fn what_does_not_fit_keeps_its_age() {
    let start = clock::now();
    let mut shelf = Shelf::new(2);
    shelf.built(1, start);
    shelf.built(2, start + Duration::from_secs(1));
    let late = start + FRESH - Duration::from_secs(1);
    assert_eq!(shelf.take(late, |_| false), None);
    assert_eq!(shelf.take(late, |circuit| *circuit == 1), Some(1));
    shelf.sweep(start + FRESH, |_| true);
    assert_eq!(shelf.ready.len(), 1);
    shelf.sweep(start + FRESH + Duration::from_secs(1), |_| true);
    assert!(shelf.ready.is_empty());
}

#[test]
fn ended_ones_are_forgotten() {
    let now = clock::now();
    let mut shelf = Shelf::new(2);
    shelf.built(1, now);
    shelf.built(2, now);
    assert!(!shelf.is_due(now));
    shelf.sweep(now, |circuit| *circuit != 1);
    assert!(shelf.is_due(now));
    assert_eq!(shelf.take(now, |_| true), Some(2));
}

#[test]
fn failures_slow_it_down_and_success_forgives() {
    let start = clock::now();
    let mut shelf = Shelf::new(1);
    let mut tries = 0;
    for tenth in 0..600 {
        let now = start + Duration::from_millis(tenth * 100);
        if shelf.is_due(now) {
            tries += 1;
            shelf.failed(now);
        }
    }
    assert!((5..9).contains(&tries), "{tries}");
    let now = start + Duration::from_secs(3600);
    for _ in 0..100 {
        shelf.failed(now);
    }
    assert!(!shelf.is_due(now + PAUSE_MAX - Duration::from_millis(1)));
    assert!(shelf.is_due(now + PAUSE_MAX));
    shelf.built(1, now + PAUSE_MAX);
    assert_eq!(shelf.take(now + PAUSE_MAX, |_| true), Some(1));
    assert!(shelf.is_due(now + PAUSE_MAX));
    shelf.failed(now + PAUSE_MAX);
    assert!(shelf.is_due(now + PAUSE_MAX + PAUSE));
}

#[test]
fn nobody_wants_any() {
    assert!(!Shelf::<u32>::new(0).is_due(clock::now()));
}

use super::*;
use crate::directory::fixture::{NOW, rng};
use crate::directory::held::tests::{LENGTH, Story};

#[test]
fn the_next_document_is_asked_for_at_a_random_time_of_its_epoch() {
    let held = Story::new(1).held;
    let mut rng = rng(1);
    let waits: Vec<u64> = (0..200).map(|_| next_refresh(held.chain(), NOW, &mut rng).as_secs()).collect();
    assert!(waits.iter().all(|wait| (LENGTH + LENGTH / 10..2 * LENGTH).contains(wait)), "{waits:?}");
    let early = waits.iter().filter(|wait| **wait < LENGTH + LENGTH / 2).count();
    assert!((60..140).contains(&early), "spread: {early} of 200 in the first half");
    let late = next_refresh(held.chain(), NOW + 5 * LENGTH, &mut rng);
    assert!(late.as_secs() < LENGTH, "what is overdue is not put off");
}

#[test]
fn waits_between_failures_grow_and_end_growing() {
    let held = Story::new(1).held;
    let mut rng = rng(1);
    let waits: Vec<_> = (1..12).map(|tries| retry_after(held.chain(), tries, &mut rng)).collect();
    assert!(waits[0].as_secs() >= LENGTH / 25 && waits[0].as_secs() < LENGTH / 8, "{waits:?}");
    assert!(waits[10] == LONGEST && waits.iter().all(|wait| *wait <= LONGEST));
}

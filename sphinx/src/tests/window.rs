use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    error::CellError,
    window::{WINDOW, Window},
};

/// The same by plain means.
#[derive(Default)]
struct Model {
    seen: BTreeSet<u64>,
    next: u64,
}

impl Model {
    fn check(&self, number: u64) -> Result<(), CellError> {
        if number + WINDOW < self.next {
            return Err(CellError::TooOld);
        }
        if self.seen.contains(&number) { Err(CellError::Replayed) } else { Ok(()) }
    }

    fn mark(&mut self, number: u64) {
        self.seen.insert(number);
        self.next = self.next.max(number + 1);
    }
}

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    // Steps of every size that matters: inside a word, inside the window, across all of it, back again.
    let step = prop_oneof![-3_i64..=3, -80_i64..80, -9000_i64..9000, Just(64), Just(8192), Just(-8192), 0_i64..200_000];
    proptest::collection::vec(step, 1..300).prop_map(|steps| {
        let mut at = 0_u64;
        steps
            .into_iter()
            .map(|step| {
                at = at.saturating_add_signed(step);
                at
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_window_agrees_with_a_set(numbers in numbers()) {
        let (mut window, mut model) = (Window::default(), Model::default());
        for number in numbers {
            let verdict = window.check(number);
            prop_assert_eq!(verdict, model.check(number), "{}", number);
            if verdict.is_ok() {
                window.mark(number);
                model.mark(number);
            }
            prop_assert_eq!(window.next(), model.next);
        }
    }
}

#[test]
fn every_number_of_the_window_passes_once() {
    let mut window = Window::default();
    window.mark(100_000);
    for number in 100_001 - WINDOW..100_000 {
        assert_eq!(window.check(number), Ok(()));
        window.mark(number);
        assert_eq!(window.check(number), Err(CellError::Replayed));
    }
    assert_eq!(window.check(100_000 - WINDOW), Err(CellError::TooOld));
}

#[test]
fn a_collapsed_window_takes_only_what_is_new() {
    let mut window = Window::default();
    window.mark(500);
    window.collapse();
    assert_eq!(window.check(499), Err(CellError::TooOld));
    assert_eq!(window.check(500), Err(CellError::TooOld));
    window.mark(501);
    assert_eq!(window.check(501), Err(CellError::Replayed));
    assert_eq!(window.check(500), Err(CellError::TooOld));
    assert_eq!(window.check(502), Ok(()));
}

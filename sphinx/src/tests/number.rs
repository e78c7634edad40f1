use proptest::prelude::*;

use crate::number::{COUNTER_MASK, add, extend, join, low, split, subtract};

#[test]
fn lanes_and_counters_join_and_split() {
    for lane in 0..4 {
        assert_eq!(split(join(lane, 12345)), (lane, 12345));
        assert_eq!(split(join(lane, COUNTER_MASK)), (lane, COUNTER_MASK));
    }
    assert_eq!(add(COUNTER_MASK, 1), 0);
    assert_eq!(subtract(0, 1), COUNTER_MASK);
}

proptest! {
    #[test]
    fn nearby_counters_survive_the_wire(expected in 0_u64..1 << 48, distance in -(1_i64 << 28)..1_i64 << 28) {
        if let Some(counter) = expected.checked_add_signed(distance) {
            prop_assert_eq!(extend(low(counter), expected), counter);
        }
    }

    #[test]
    fn whatever_comes_extends_to_something_with_these_bits(expected in 0_u64..1 << 48, bits in 0..=COUNTER_MASK) {
        let counter = extend(bits, expected);
        prop_assert_eq!(low(counter), bits);
        prop_assert!(counter.abs_diff(expected) <= 1 << 30);
    }
}

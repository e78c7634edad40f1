use super::*;
use crate::SYMBOL_LEN;

const DEADLINE: u64 = 60;

fn symbol(tag: u8) -> Symbol {
    std::array::from_fn(|i| tag ^ i.to_le_bytes()[0])
}

#[test]
fn a_repair_is_the_sum_that_its_vector_names() {
    let mut encoder = Encoder::new(DEADLINE);
    let symbols: Vec<Symbol> = (0..5).map(symbol).collect();
    for sent in &symbols {
        encoder.push(0, sent);
    }
    encoder.acknowledge(2);
    let mut out = [0xff; SYMBOL_LEN];
    let vector = encoder.repair(1, &mut out).unwrap();
    assert_eq!((vector.first(), vector.mask()), (0, 0b11011));
    let mut expected = [0; SYMBOL_LEN];
    for id in [0u16, 1, 3, 4] {
        planes::add_scaled(&mut expected, &symbols[usize::from(id)], vector.coefficient(id));
    }
    assert_eq!(out, expected);
}

#[test]
fn the_window_is_bounded_by_count_and_by_the_deadline() {
    let mut encoder = Encoder::new(DEADLINE);
    let mut out = [0; SYMBOL_LEN];
    for time in 0..200 {
        encoder.push(time / 10, &symbol(1));
    }
    let vector = encoder.repair(20, &mut out).unwrap();
    assert_eq!((vector.first(), vector.mask()), (136, !0), "64 symbols at most");
    let vector = encoder.repair(19 + DEADLINE, &mut out).unwrap();
    assert_eq!(vector.first(), 190, "nothing older than the deadline");
    assert_eq!(encoder.repair(20 + DEADLINE, &mut out), None);
}

#[test]
fn what_the_peer_has_leaves_the_window() {
    let mut encoder = Encoder::new(DEADLINE);
    let mut out = [0; SYMBOL_LEN];
    for _ in 0..4 {
        encoder.push(0, &symbol(3));
    }
    encoder.update(&WindowUpdate { first: 1, held: 0b10 });
    let vector = encoder.repair(0, &mut out).unwrap();
    assert_eq!((vector.first(), vector.mask()), (1, 0b11), "0 is before the first missing one, 3 is held");
    encoder.update(&WindowUpdate { first: 4, held: 0 });
    assert_eq!(encoder.repair(0, &mut out), None);
    assert_eq!(encoder.unacknowledged(), 0);
}

#[test]
fn ids_wrap_within_a_window() {
    let mut encoder = Encoder::new(DEADLINE);
    let mut out = [0; SYMBOL_LEN];
    for _ in 0..65_534 {
        encoder.push(0, &symbol(0));
    }
    assert_eq!([(); 4].map(|()| encoder.push(100, &symbol(9))), [65_534, 65_535, 0, 1]);
    encoder.acknowledge(65_535);
    encoder.acknowledge(0);
    let vector = encoder.repair(100, &mut out).unwrap();
    assert_eq!((vector.first(), vector.mask()), (65_534, 0b1001));
}

#[test]
fn seeds_of_a_window_differ() {
    let mut encoder = Encoder::new(DEADLINE);
    let mut out = [0; SYMBOL_LEN];
    encoder.push(0, &symbol(0));
    let seeds: std::collections::BTreeSet<u8> =
        (0..SEEDS).map(|_| encoder.repair(0, &mut out).unwrap().seed()).collect();
    assert_eq!(seeds.len(), usize::from(SEEDS));
}

#[test]
fn memory_is_given_back_after_a_second_of_silence() {
    let mut encoder = Encoder::new(DEADLINE);
    for _ in 0..64 {
        encoder.push(0, &symbol(0));
    }
    encoder.expire(DEADLINE + 1);
    assert!(encoder.window.capacity() > 0, "a call's next cell needs it again");
    encoder.expire(IDLE + 1);
    assert_eq!(encoder.memory(), 0);
}

#[test]
fn what_is_cleared_is_given_back_and_ids_go_on() {
    let mut encoder = Encoder::new(DEADLINE);
    (0..10).for_each(|_| _ = encoder.push(0, &symbol(1)));
    assert!(encoder.memory() > 0);
    encoder.clear();
    assert_eq!((encoder.memory(), encoder.unacknowledged()), (0, 0));
    assert_eq!(encoder.repair(1, &mut [0; SYMBOL_LEN]), None);
    assert_eq!(encoder.push(2, &symbol(1)), 10);
}

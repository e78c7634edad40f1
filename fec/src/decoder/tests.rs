use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{Encoder, SYMBOL_LEN};

const KEEP: u64 = 260;
const DEADLINE: u64 = 60;

/// A symbol of which every byte depends on its number.
fn symbol(number: u64) -> Symbol {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    std::array::from_fn(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
}

fn drain(decoder: &mut Decoder) -> Vec<(u16, Symbol)> {
    std::iter::from_fn(|| decoder.poll()).collect()
}

/// A decoder that got symbols 0 … but those in `lost`, and the encoder that sent them.
fn after(sent: u16, lost: &[u16]) -> (Encoder, Decoder) {
    let (mut encoder, mut decoder) = (Encoder::new(DEADLINE), Decoder::new(KEEP));
    for number in 0..sent {
        let id = encoder.push(0, &symbol(number.into()));
        if !lost.contains(&id) {
            assert!(decoder.source(0, id, &symbol(number.into())));
        }
    }
    (encoder, decoder)
}

#[test]
fn k_repairs_bring_k_lost_symbols() {
    for lost in [vec![3], vec![0, 1, 2], (10..30).collect(), (0..64).collect::<Vec<u16>>()] {
        let (mut encoder, mut decoder) = after(64, &lost);
        let mut out = [0; SYMBOL_LEN];
        let mut found = 0;
        for _ in &lost {
            let vector = encoder.repair(1, &mut out).unwrap();
            found += decoder.repair(1, &vector, &out);
        }
        assert_eq!(found, lost.len());
        let recovered: BTreeMap<u16, Symbol> = drain(&mut decoder).into_iter().collect();
        assert_eq!(recovered.keys().copied().collect::<Vec<_>>(), lost);
        assert!(recovered.iter().all(|(id, found)| *found == symbol((*id).into())));
        assert_eq!(decoder.rows.len(), 0);
    }
}

#[test]
fn a_repair_more_than_needed_tells_nothing() {
    let (mut encoder, mut decoder) = after(5, &[2]);
    let mut out = [0; SYMBOL_LEN];
    let first = encoder.repair(1, &mut out).unwrap();
    assert_eq!(decoder.repair(1, &first, &out), 1);
    assert_eq!(decoder.repair(1, &first, &out), 0, "the same again");
    let second = encoder.repair(1, &mut out).unwrap();
    assert_eq!(decoder.repair(1, &second, &out), 0);
    assert_eq!(drain(&mut decoder).len(), 1);
    assert_eq!(decoder.counters().redundant, 2);
}

#[test]
fn a_symbol_that_comes_after_its_recovery_is_not_handed_on_again() {
    let (mut encoder, mut decoder) = after(3, &[1]);
    let mut out = [0; SYMBOL_LEN];
    let vector = encoder.repair(1, &mut out).unwrap();
    assert_eq!(decoder.repair(1, &vector, &out), 1);
    assert!(!decoder.source(2, 1, &symbol(1)));
    assert!(!decoder.source(2, 0, &symbol(0)), "nor a copy");
    assert_eq!(decoder.counters().duplicates, 2);
}

#[test]
fn a_late_symbol_solves_for_the_others() {
    let (mut encoder, mut decoder) = after(8, &[2, 5]);
    let mut out = [0; SYMBOL_LEN];
    let vector = encoder.repair(1, &mut out).unwrap();
    assert_eq!(decoder.repair(1, &vector, &out), 0, "one equation, two unknowns");
    // 2 is the row's pivot: the row lives on with another.
    assert!(decoder.source(2, 2, &symbol(2)));
    assert_eq!(drain(&mut decoder), vec![(5, symbol(5))]);
}

#[test]
fn a_repair_may_come_before_everything_it_holds() {
    let mut encoder = Encoder::new(DEADLINE);
    let mut decoder = Decoder::new(KEEP);
    let mut out = [0; SYMBOL_LEN];
    for number in 0..2 {
        encoder.push(0, &symbol(number));
    }
    let vector = encoder.repair(0, &mut out).unwrap();
    assert_eq!(decoder.repair(0, &vector, &out), 0);
    assert!(decoder.source(1, 1, &symbol(1)));
    assert_eq!(drain(&mut decoder), vec![(0, symbol(0))]);
}

#[test]
fn symbols_before_the_first_that_arrives_come_back_too() {
    let (mut encoder, mut decoder) = after(5, &[0, 1]);
    let mut out = [0; SYMBOL_LEN];
    for _ in 0..2 {
        let vector = encoder.repair(0, &mut out).unwrap();
        decoder.repair(0, &vector, &out);
    }
    assert_eq!(drain(&mut decoder), vec![(0, symbol(0)), (1, symbol(1))]);
}

#[test]
fn a_repair_that_comes_too_late_is_left() {
    let (mut encoder, mut decoder) = after(5, &[2]);
    let mut out = [0; SYMBOL_LEN];
    let vector = encoder.repair(0, &mut out).unwrap();
    assert_eq!(decoder.repair(KEEP + 1, &vector, &out), 0);
    assert_eq!(decoder.counters().out_of_reach, 1);
    assert_eq!(drain(&mut decoder), vec![]);
}

#[test]
fn window_updates_name_what_is_held() {
    let mut decoder = Decoder::new(KEEP);
    assert_eq!(decoder.window_update(), None);
    for id in 100..170u16 {
        if id != 120 && id != 122 {
            assert!(decoder.source(u64::from(id), id, &symbol(0)));
        }
    }
    // What was before the first symbol counts as missing until it is given up.
    decoder.expire(100 + KEEP + 1);
    let update = decoder.window_update().unwrap();
    assert_eq!(update.first, 120);
    assert!(update.is_done(119) && update.is_done(121) && update.is_done(169));
    assert!(!update.is_done(120) && !update.is_done(122) && !update.is_done(170));
}

#[test]
fn inconsistent_repairs_change_nothing() {
    let (mut encoder, mut decoder) = after(8, &[]);
    let mut out = [0; SYMBOL_LEN];
    let vector = encoder.repair(1, &mut out).unwrap();
    out[17] ^= 1;
    assert_eq!(decoder.repair(1, &vector, &out), 0);
    assert_eq!(decoder.counters().inconsistent, 1);
    assert_eq!(drain(&mut decoder), vec![]);
    // Nor does one that contradicts another repair: the first stands, as either may be the false one.
    let mut sent = Encoder::new(DEADLINE);
    sent.push(0, &symbol(0));
    sent.push(0, &symbol(1));
    let mut decoder = Decoder::new(KEEP);
    let vector = sent.repair(1, &mut out).unwrap();
    decoder.repair(1, &vector, &out);
    out[0] ^= 1;
    decoder.repair(1, &vector, &out);
    assert_eq!(decoder.counters().inconsistent, 1);
    assert!(decoder.source(1, 0, &symbol(0)));
    assert_eq!(drain(&mut decoder), vec![(1, symbol(1))]);
}

#[test]
fn a_false_repair_harms_only_ids_that_did_not_arrive() {
    let (_, mut decoder) = after(10, &[4]);
    let vector = Vector::new(0, 0x3ff, 9).unwrap();
    assert_eq!(decoder.repair(1, &vector, &[0xee; SYMBOL_LEN]), 1);
    let false_symbols = drain(&mut decoder);
    assert_eq!(false_symbols.len(), 1);
    assert_eq!(false_symbols[0].0, 4, "a cell that its sender could have sent as it is");
    for id in (0..10u16).filter(|id| *id != 4) {
        assert_eq!(decoder.span.get(ORIGIN + u64::from(id)), Some(&symbol(u64::from(id))));
    }
}

#[test]
fn repairs_of_symbols_never_sent_hold_nothing_up() {
    let (mut encoder, mut decoder) = after(4, &[]);
    let junk = Vector::new(4, !0, 0).unwrap();
    decoder.repair(1, &junk, &symbol(99));
    let far = Vector::new(30_000, !0, 0).unwrap();
    decoder.repair(1, &far, &symbol(99));
    assert_eq!(decoder.counters().out_of_reach, 1, "far ahead: it would make the decoder forget");
    let mut out = [0; SYMBOL_LEN];
    let lost = encoder.push(1, &symbol(4));
    let vector = encoder.repair(1, &mut out).unwrap();
    // The junk equation names the lost one too; the true repair brings it all the same, for the junk has 63 further unknowns.
    assert_eq!(decoder.repair(1, &vector, &out), 1);
    assert_eq!(drain(&mut decoder), vec![(lost, symbol(4))]);
}

#[test]
fn a_repair_of_the_far_side_of_the_circle_does_not_end_repair_for_good() {
    let mut decoder = Decoder::new(KEEP);
    decoder.repair(0, &Vector::new(20_000, 1, 0).unwrap(), &symbol(0));
    drain(&mut decoder);
    let mut encoder = Encoder::new(DEADLINE);
    let mut out = [0; SYMBOL_LEN];
    let mut recovered = 0;
    for number in 0..200u64 {
        let now = number * 20;
        let id = encoder.push(now, &symbol(number));
        if number % 10 == 7 {
            let vector = encoder.repair(now, &mut out).unwrap();
            decoder.repair(now, &vector, &out);
        } else {
            assert!(decoder.source(now + RESTART, id, &symbol(number)), "{number}");
        }
        recovered += drain(&mut decoder).len();
    }
    assert!(recovered > 0);
}

#[test]
fn jumps_of_ids_are_followed() {
    let mut decoder = Decoder::new(KEEP);
    for (step, id) in [0u16, 5, 30_000, 60_000, 24_464, 50_000, 100].into_iter().enumerate() {
        assert!(decoder.source(step as u64, id, &symbol(step as u64)), "id {id}");
        assert!(decoder.span.slots() <= SPAN);
    }
}

#[test]
fn more_than_half_the_circle_lost_begins_anew_after_a_pause() {
    let (_, mut decoder) = after(10, &[]);
    // 40,000 ids later looks like 25,536 before.
    assert!(!decoder.source(1, 40_000, &symbol(0)), "at once: nobody can tell");
    assert!(decoder.source(RESTART, 40_000, &symbol(0)));
    assert!(decoder.source(RESTART, 40_001, &symbol(1)));
}

#[test]
fn what_gives_its_memory_back_hands_nothing_on_twice() {
    // Of ten two are lost, one comes back by a repair.
    let (mut encoder, mut decoder) = after(10, &[3, 7]);
    let mut bytes = [0; SYMBOL_LEN];
    let vector = encoder.repair(0, &mut bytes).expect("symbols to repair");
    assert_eq!(decoder.repair(0, &vector, &bytes), 0, "two are missing");
    let second = encoder.repair(0, &mut bytes).expect("symbols to repair");
    assert_eq!(decoder.repair(0, &second, &bytes), 2);
    assert_eq!(drain(&mut decoder).len(), 2);
    decoder.shed();
    assert_eq!(decoder.memory(), 0);
    for id in 0..10 {
        assert!(!decoder.source(0, id, &symbol(id.into())), "{id} came before");
    }
    assert_eq!(decoder.repair(0, &vector, &bytes), 0, "what was given up does not come back");
    // And it goes on from here.
    assert!(decoder.source(0, 10, &symbol(10)));
    assert!(drain(&mut decoder).is_empty());
}

#[test]
fn memory_follows_use_and_is_given_back() {
    let mut decoder = Decoder::new(KEEP);
    for number in 0..1000u16 {
        let now = u64::from(number) * 20;
        assert!(decoder.source(now, number, &symbol(0)));
    }
    assert!(
        decoder.span.allocated() <= 32 * SYMBOL_LEN,
        "{}: a call has 14 cells within 260",
        decoder.span.allocated()
    );
    assert!(decoder.memory() >= decoder.span.allocated());
    decoder.expire(1000 * 20 + RESTART + KEEP);
    while decoder.poll().is_some() {}
    assert_eq!(decoder.memory(), 0);
}

#[test]
fn a_call_needs_little_memory() {
    // The times of a link: 120 ms, and 200 ms for repairs that come late.
    let (mut encoder, mut decoder) = (Encoder::new(120), Decoder::new(320));
    for number in 0..500 {
        let id = encoder.push(number * 20, &symbol(number));
        assert!(decoder.source(number * 20, id, &symbol(number)));
        let mut out = [0; SYMBOL_LEN];
        let vector = encoder.repair(number * 20 + 7, &mut out).unwrap();
        decoder.repair(number * 20 + 7, &vector, &out);
    }
    assert!(encoder.memory() <= 4_300, "{}", encoder.memory());
    assert!(decoder.memory() <= 19_000, "{}", decoder.memory());
}

#[derive(Debug, Clone)]
enum Event {
    /// A symbol is sent; in how many copies it arrives, and after how many events.
    Source(Vec<u8>),
    /// A repair.
    Repair(Vec<u8>),
    /// The peer's state reaches the encoder.
    Update,
    /// Time passes.
    Wait(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let arrivals = || prop_oneof![3 => prop::collection::vec(0u8..4, 1), 2 => Just(vec![]), 1 => prop::collection::vec(0u8..40, 0..3)];
    prop_oneof![
        8 => arrivals().prop_map(Event::Source),
        4 => arrivals().prop_map(Event::Repair),
        1 => Just(Event::Update),
        1 => (0u8..30).prop_map(Event::Wait),
    ]
}

enum Packet {
    Source(u16, Symbol),
    Repair(Vector, Symbol),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever is lost, reordered and copied: what is delivered is right, and nothing twice.
    #[test]
    fn what_is_delivered_is_right_and_nothing_twice(start: u16, events in prop::collection::vec(event(), 1..300)) {
        let mut encoder = Encoder::starting_at(DEADLINE, start);
        let mut decoder = Decoder::new(KEEP);
        let mut flying: Vec<(usize, Packet)> = Vec::new();
        let (mut sent, mut delivered) = (BTreeMap::new(), BTreeSet::new());
        let mut now = 0;
        for (step, event) in events.iter().enumerate() {
            now += 1;
            match event {
                Event::Source(arrivals) => {
                    let symbol = symbol(step as u64);
                    let id = encoder.push(now, &symbol);
                    sent.insert(id, symbol);
                    flying.extend(arrivals.iter().map(|delay| (step + usize::from(*delay), Packet::Source(id, symbol))));
                }
                Event::Repair(arrivals) => {
                    let mut out = [0; SYMBOL_LEN];
                    if let Some(vector) = encoder.repair(now, &mut out) {
                        flying.extend(arrivals.iter().map(|delay| (step + usize::from(*delay), Packet::Repair(vector, out))));
                    }
                }
                Event::Update => if let Some(update) = decoder.window_update() { encoder.update(&update) },
                Event::Wait(time) => now += u64::from(*time),
            }
            let (due, later) = flying.into_iter().partition(|(at, _)| *at <= step);
            flying = later;
            for (_, packet) in due {
                match packet {
                    Packet::Source(id, symbol) => if decoder.source(now, id, &symbol) {
                        prop_assert!(delivered.insert(id), "{} twice", id);
                    },
                    Packet::Repair(vector, symbol) => { decoder.repair(now, &vector, &symbol); }
                }
                for (id, symbol) in drain(&mut decoder) {
                    prop_assert!(delivered.insert(id), "{} twice", id);
                    prop_assert_eq!(Some(&symbol), sent.get(&id), "{} is wrong", id);
                }
            }
            prop_assert!(decoder.rows.len() <= MOST_ROWS && decoder.span.slots() <= SPAN);
        }
        prop_assert_eq!(decoder.counters().inconsistent, 0);
    }

    /// Whatever a hostile neighbour sends: bounded memory, and symbols that arrived stay what they are.
    #[test]
    fn hostile_repairs_stay_within_bounds(
        packets in prop::collection::vec((any::<bool>(), any::<u16>(), 0u16..200, any::<u64>(), 0u8..192, 0u64..20), 1..300),
    ) {
        let mut decoder = Decoder::new(KEEP);
        let mut now = 0;
        for (is_source, base, near, mask, seed, wait) in packets {
            now += wait;
            let before = decoder.work();
            let id = if mask & 0x700 == 0 { base } else { near };
            if is_source {
                let _ = decoder.source(now, id, &symbol(u64::from(id)));
            } else {
                decoder.repair(now, &Vector::new(id, mask | 1, seed).unwrap(), &symbol(mask));
            }
            prop_assert!(decoder.rows.len() <= MOST_ROWS);
            prop_assert!(decoder.span.slots() <= SPAN);
            prop_assert!(decoder.memory() <= 200_000, "{}", decoder.memory());
            prop_assert!(decoder.work() - before <= 65 + 3 * MOST_ROWS as u64, "{}", decoder.work() - before);
            prop_assert!(decoder.recovered.len() <= SPAN);
            let _ = decoder.window_update();
        }
    }

    /// As many repairs as losses suffice, wherever the losses lie in the window.
    #[test]
    fn as_many_repairs_as_losses(first: u16, lost in prop::collection::btree_set(0u16..64, 1..32)) {
        let (mut encoder, mut decoder) = (Encoder::starting_at(DEADLINE, first), Decoder::new(KEEP));
        for offset in 0..64 {
            let id = encoder.push(0, &symbol(offset.into()));
            if !lost.contains(&offset) {
                prop_assert!(decoder.source(0, id, &symbol(offset.into())));
            }
        }
        let mut out = [0; SYMBOL_LEN];
        for _ in &lost {
            let vector = encoder.repair(0, &mut out).unwrap();
            decoder.repair(0, &vector, &out);
        }
        let found: BTreeSet<u16> = drain(&mut decoder).into_iter().map(|(id, _)| id.wrapping_sub(first)).collect();
        prop_assert_eq!(found, lost);
    }
}

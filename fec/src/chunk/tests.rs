#![allow(clippy::cast_possible_truncation, reason = "small numbers of tests")]

use proptest::prelude::*;

use super::*;

fn chunk(sources: u16, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..usize::from(sources) * SYMBOL_LEN)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

fn numbered(first: u32, bytes: &[u8]) -> Vec<(u32, &[u8])> {
    bytes.chunks(SYMBOL_LEN).enumerate().map(|(at, data)| ((first + at as u32) % REPAIRS, data)).collect()
}

#[test]
fn any_lengths_but_whole_symbols_are_refused() {
    for len in [0, 1, SYMBOL_LEN - 1, SYMBOL_LEN + 1, 257 * SYMBOL_LEN, usize::from(u16::MAX) * SYMBOL_LEN] {
        assert_eq!(Encoder::new(&vec![0; len]).err(), Some(Error::Length { len }));
    }
    assert_eq!(decode(0, []), None);
    assert_eq!(decode(257, []), None);
}

#[test]
fn numbers_go_round() {
    let chunk = chunk(4, 1);
    let encoder = Encoder::new(&chunk).unwrap();
    let (mut across, mut apart) = (Vec::new(), Vec::new());
    encoder.symbols(REPAIRS - 2, 8, &mut across);
    encoder.symbols(REPAIRS - 2, 2, &mut apart);
    encoder.symbols(REPAIRS, 6, &mut apart);
    assert_eq!(across, apart);
    assert_eq!(decode(4, numbered(REPAIRS - 2, &across)), Some(chunk));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Holders at random places, symbols lost at random: whatever decodes is the chunk, and enough always decodes.
    #[test]
    fn any_k_of_anyones_symbols_suffice(
        sources in prop::sample::select(vec![1u16, 2, 4, 16, 64]),
        seed: u64,
        places in prop::collection::vec(0..REPAIRS, 1..5),
        lost: u64,
    ) {
        let chunk = chunk(sources, seed);
        let encoder = Encoder::new(&chunk).unwrap();
        let mut held = Vec::new();
        for place in &places {
            let mut bytes = Vec::new();
            encoder.symbols(*place, sources * 2 + 8, &mut bytes);
            held.push((*place, bytes));
        }
        let all = held.iter().flat_map(|(place, bytes)| numbered(*place, bytes));
        let left: Vec<_> = all.enumerate().filter(|(at, _)| lost >> (at % 64) & 1 == 0).map(|(_, s)| s).collect();
        let distinct = left.iter().map(|(number, _)| number).collect::<std::collections::BTreeSet<_>>().len();
        match decode(sources, left) {
            Some(decoded) => prop_assert!(decoded == chunk),
            None => prop_assert!(distinct < usize::from(sources + MARGIN + 6), "{distinct} of {sources}"),
        }
    }

    /// Symbols made up: an answer or none, never a panic.
    #[test]
    fn made_up_symbols_do_no_harm(
        sources in 0u16..300,
        made_up in prop::collection::vec((any::<u32>(), 0usize..3), 0..80),
    ) {
        let lens = [SYMBOL_LEN, 0, 7];
        let bytes: Vec<_> = made_up.iter().map(|(number, len)| (*number, vec![*number as u8; lens[*len]])).collect();
        let decoded = decode(sources, bytes.iter().map(|(number, data)| (*number, data.as_slice())));
        prop_assert!(decoded.is_none_or(|chunk| chunk.len() == usize::from(sources) * SYMBOL_LEN));
    }
}

/// What isolating liars rests on: with the same numbers, wrong bytes decode as well as right ones.
#[test]
fn whether_symbols_are_enough_does_not_depend_on_their_bytes() {
    let chunk = chunk(16, 3);
    let encoder = Encoder::new(&chunk).unwrap();
    for place in 0..200 {
        let mut bytes = Vec::new();
        encoder.symbols(place * 1000, 16, &mut bytes);
        let right = decode(16, numbered(place * 1000, &bytes));
        bytes[5 * SYMBOL_LEN] ^= 1;
        let wrong = decode(16, numbered(place * 1000, &bytes));
        assert_eq!(right.is_some(), wrong.is_some());
        assert!(right.is_none_or(|right| right == chunk));
        assert!(wrong.is_none_or(|wrong| wrong != chunk));
    }
}

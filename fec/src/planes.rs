//! Whole symbols times a field element, as exclusive-ors of bit planes.
//!
//! A symbol is 512 field elements in eight planes of 64 bytes: bit j of element k is bit k mod 8 of byte k div 8 of plane j, and plane j is
//! the bytes from 64 j on. A product with a constant is linear over bits, so each plane of the result is the exclusive-or of some planes of the
//! source, about half of them: no look-up per byte and no shuffle instruction, fast in safe code on every machine (decision 0090).

use crate::{SYMBOL_LEN, Symbol, field};

const PLANE: usize = SYMBOL_LEN / 8;

/// For each element and each plane of a product: which planes of the source make it.
static SOURCES: [[u8; 8]; 256] = sources();

const fn sources() -> [[u8; 8]; 256] {
    let mut all = [[0; 8]; 256];
    let mut element = 0;
    while element < 256 {
        let mut from = 0;
        while from < 8 {
            #[allow(clippy::cast_possible_truncation, reason = "below 256")]
            let product = field::mul(element as u8, 1 << from);
            let mut to = 0;
            while to < 8 {
                all[element][to] |= (product >> to & 1) << from;
                to += 1;
            }
            from += 1;
        }
        element += 1;
    }
    all
}

/// Adds `coefficient` × `source` to `target`.
pub fn add_scaled(target: &mut Symbol, source: &Symbol, coefficient: u8) {
    let (target, _) = target.as_chunks_mut::<PLANE>();
    let (source, _) = source.as_chunks::<PLANE>();
    for (plane, sources) in target.iter_mut().zip(SOURCES[usize::from(coefficient)]) {
        let mut sum = *plane;
        let mut rest = sources;
        while rest != 0 {
            let from = &source[rest.trailing_zeros() as usize % 8];
            rest &= rest - 1;
            for (byte, other) in sum.iter_mut().zip(from) {
                *byte ^= other;
            }
        }
        *plane = sum;
    }
}

/// Multiplies `symbol` by `coefficient`.
pub fn scale(symbol: &mut Symbol, coefficient: u8) {
    let source = *symbol;
    symbol.fill(0);
    add_scaled(symbol, &source, coefficient);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The elements of a symbol, read by the definition.
    fn elements(symbol: &Symbol) -> Vec<u8> {
        let bit = |k: usize, j: usize| symbol[64 * j + k / 8] >> (k % 8) & 1;
        (0..SYMBOL_LEN).map(|k| (0..8).fold(0, |element, j| element | bit(k, j) << j)).collect()
    }

    fn symbol() -> impl Strategy<Value = Symbol> {
        prop::collection::vec(any::<u8>(), SYMBOL_LEN).prop_map(|bytes| bytes.try_into().unwrap())
    }

    proptest! {
        #[test]
        fn it_multiplies_every_element(source in symbol(), target in symbol(), coefficient: u8) {
            let mut sum = target;
            add_scaled(&mut sum, &source, coefficient);
            let expected: Vec<u8> = elements(&target)
                .iter()
                .zip(elements(&source))
                .map(|(t, s)| t ^ field::mul(s, coefficient))
                .collect();
            prop_assert_eq!(elements(&sum), expected);
            let mut scaled = source;
            scale(&mut scaled, coefficient);
            let mut alone = [0; SYMBOL_LEN];
            add_scaled(&mut alone, &source, coefficient);
            prop_assert_eq!(scaled, alone);
        }
    }
}

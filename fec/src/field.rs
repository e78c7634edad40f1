//! GF(2⁸) with the polynomial x⁸ + x⁴ + x³ + x² + 1 (0x11d), as RFC 5510 and RFC 9407 use it.
//!
//! Nothing here is secret: coefficients are on the wire, and symbols are sealed cells. So time may depend on them.

/// The low byte of the field polynomial.
const REDUCE: u8 = 0x1d;

static INVERSES: [u8; 256] = inverses();

const fn inverses() -> [u8; 256] {
    let mut all = [0; 256];
    let mut element: u8 = 0;
    loop {
        all[element as usize] = power_254(element);
        if element == u8::MAX {
            return all;
        }
        element += 1;
    }
}

/// The product of two field elements.
#[must_use]
pub const fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    let mut bit = 0;
    while bit < 8 {
        product ^= shifted & 0u8.wrapping_sub((b >> bit) & 1);
        shifted = (shifted << 1) ^ (REDUCE & 0u8.wrapping_sub(shifted >> 7));
        bit += 1;
    }
    product
}

/// The multiplicative inverse; that of 0 is 0.
#[must_use]
pub fn inv(a: u8) -> u8 {
    INVERSES[usize::from(a)]
}

/// a²⁵⁴, the inverse of a.
const fn power_254(a: u8) -> u8 {
    // 254 = 0b1111_1110: the product of a^(2^1) … a^(2^7).
    let mut result = 1;
    let mut power = a;
    let mut bit = 1;
    while bit < 8 {
        power = mul(power, power);
        result = mul(result, power);
        bit += 1;
    }
    result
}

/// Adds `coefficient` × `source` to `target`, byte by byte.
///
/// # Panics
/// If the two differ in length.
pub fn add_scaled(target: &mut [u8], source: &[u8], coefficient: u8) {
    assert_eq!(target.len(), source.len(), "vectors of one equation have one length");
    let (target_lanes, target_tail) = target.as_chunks_mut::<LANES>();
    let (source_lanes, source_tail) = source.as_chunks::<LANES>();
    for (t, s) in target_lanes.iter_mut().zip(source_lanes) {
        let product = mul_lanes(*s, coefficient);
        for (t, p) in t.iter_mut().zip(product) {
            *t ^= p;
        }
    }
    for (t, s) in target_tail.iter_mut().zip(source_tail) {
        *t ^= mul(*s, coefficient);
    }
}

/// Multiplies every byte of `vector` by `coefficient`.
pub fn scale(vector: &mut [u8], coefficient: u8) {
    let (lanes, tail) = vector.as_chunks_mut::<LANES>();
    for lane in lanes {
        *lane = mul_lanes(*lane, coefficient);
    }
    for byte in tail {
        *byte = mul(*byte, coefficient);
    }
}

/// As many elements as the compiler turns into a few vector registers.
const LANES: usize = 64;

fn mul_lanes(lanes: [u8; LANES], coefficient: u8) -> [u8; LANES] {
    let mut product = [0; LANES];
    let mut shifted = lanes;
    let mut rest = coefficient;
    while rest != 0 {
        if rest & 1 == 1 {
            for (p, s) in product.iter_mut().zip(&shifted) {
                *p ^= s;
            }
        }
        for s in &mut shifted {
            *s = (*s << 1) ^ (REDUCE & 0u8.wrapping_sub(*s >> 7));
        }
        rest >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        for a in 1..=255 {
            assert_eq!(mul(a, inv(a)), 1, "{a}");
        }
        assert_eq!(inv(0), 0);
    }

    #[test]
    fn two_generates_the_field() {
        // Order 255: the polynomial is primitive. A wrong constant would close the cycle early.
        let mut power = 1;
        for step in 1..=255 {
            power = mul(power, 2);
            assert_eq!(power == 1, step == 255, "after {step} steps");
        }
    }

    #[test]
    fn known_products() {
        // From the tables of RFC 5510's field: 2⁸ = 0x1d, and one product of two large elements.
        assert_eq!(mul(0x80, 2), 0x1d);
        assert_eq!(mul(0xff, 0xff), 0xe2);
    }

    proptest! {
        #[test]
        fn lanes_agree_with_bytes(source in prop::collection::vec(any::<u8>(), 0..200), c: u8, seed: u8) {
            let mut target = vec![seed; source.len()];
            add_scaled(&mut target, &source, c);
            let expected: Vec<u8> = source.iter().map(|s| seed ^ mul(*s, c)).collect();
            prop_assert_eq!(&target, &expected);
            let mut scaled = source.clone();
            scale(&mut scaled, c);
            let expected: Vec<u8> = source.iter().map(|s| mul(*s, c)).collect();
            prop_assert_eq!(scaled, expected);
        }

        #[test]
        fn it_is_a_field(a: u8, b: u8, c: u8) {
            prop_assert_eq!(mul(a, b), mul(b, a));
            prop_assert_eq!(mul(a, mul(b, c)), mul(mul(a, b), c));
            prop_assert_eq!(mul(a, b ^ c), mul(a, b) ^ mul(a, c));
            prop_assert_eq!(mul(a, 1), a);
        }
    }
}

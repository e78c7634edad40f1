//! The encoding vector (RFC 9407 §5.2): which source symbols a repair holds, and the seed of their coefficients.

use crate::WINDOW;
use crate::field;

/// How many seeds there are. Two repairs with different seeds never have the same coefficients.
pub const SEEDS: u8 = 192;

/// Columns of the Cauchy matrix are named by the elements below, rows by those from here on.
const ROWS_FROM: u8 = 64;
const _: () = assert!(ROWS_FROM as usize == WINDOW && ROWS_FROM as usize + SEEDS as usize == 256);

/// Bytes that are no encoding vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The first symbol is not part of the repair, so that `first` and `mask` have more than one form.
    #[error("the vector's first symbol is not in it")]
    First,
    /// The seed is none of [`SEEDS`].
    #[error("the vector's seed is out of range")]
    Seed,
}

/// Names the symbols of a repair and draws their coefficients.
///
/// On the wire: `first u16 ‖ mask u64 ‖ seed u8`, big-endian, [`Vector::LEN`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vector {
    first: u16,
    mask: u64,
    seed: u8,
}

impl Vector {
    /// Bytes on the wire.
    pub const LEN: usize = 11;

    /// A vector of the symbols `first + i` for every set bit i of `mask`, which always has bit 0.
    ///
    /// # Errors
    /// [`Malformed`] when bit 0 is not set, or `seed` is not below [`SEEDS`].
    pub const fn new(first: u16, mask: u64, seed: u8) -> Result<Vector, Malformed> {
        if mask & 1 == 0 {
            return Err(Malformed::First);
        }
        if seed >= SEEDS {
            return Err(Malformed::Seed);
        }
        Ok(Vector { first, mask, seed })
    }

    /// Reads a vector; every value that is accepted has exactly one form.
    ///
    /// # Errors
    /// [`Malformed`], as [`Vector::new`].
    pub const fn decode(bytes: &[u8; Vector::LEN]) -> Result<Vector, Malformed> {
        let [a, b, mask @ .., seed] = *bytes;
        Vector::new(u16::from_be_bytes([a, b]), u64::from_be_bytes(mask), seed)
    }

    /// The vector as it stands on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; Vector::LEN] {
        let mut bytes = [0; Vector::LEN];
        bytes[..2].copy_from_slice(&self.first.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.mask.to_be_bytes());
        bytes[10] = self.seed;
        bytes
    }

    /// The id of the first symbol.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// Bit i stands for the symbol `first + i`.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        self.mask
    }

    /// The seed of the coefficients.
    #[must_use]
    pub const fn seed(&self) -> u8 {
        self.seed
    }

    /// How far after the first symbol each symbol of the repair is, rising.
    pub fn offsets(&self) -> impl Iterator<Item = u16> + use<> {
        let mut rest = self.mask;
        std::iter::from_fn(move || {
            let offset = rest.trailing_zeros();
            rest &= rest.checked_sub(1)?;
            u16::try_from(offset).ok()
        })
    }

    /// How many symbols are in the repair.
    #[must_use]
    pub const fn weight(&self) -> u32 {
        self.mask.count_ones()
    }

    /// The coefficient of the symbol `id`; never 0.
    ///
    /// An element of a Cauchy matrix: 1 / (x + y) with x = id mod 64 and y = 64 + seed. Any k symbols of one window and any k seeds give an
    /// invertible matrix, so that k repairs of the same symbols always solve k unknowns (decision 0091).
    #[must_use]
    pub fn coefficient(&self, id: u16) -> u8 {
        let x = id.to_be_bytes()[1] % ROWS_FROM;
        field::inv(x ^ (ROWS_FROM + self.seed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: [u8; Vector::LEN]) {
            match Vector::decode(&bytes) {
                Ok(vector) => prop_assert_eq!(vector.encode(), bytes),
                Err(Malformed::First) => prop_assert!(bytes[9] & 1 == 0),
                Err(Malformed::Seed) => prop_assert!(bytes[10] >= SEEDS),
            }
        }

        #[test]
        fn offsets_are_the_bits(mask: u64) {
            let vector = Vector::new(7, mask | 1, 3).unwrap();
            let again = vector.offsets().fold(0u64, |all, offset| all | 1 << offset);
            prop_assert_eq!(again, mask | 1);
            prop_assert_eq!(vector.offsets().count(), vector.weight() as usize);
        }

        #[test]
        fn any_two_repairs_solve_any_two_symbols(first: u16, i in 0u16..64, j in 0u16..64, s in 0..SEEDS, t in 0..SEEDS) {
            prop_assume!(i != j && s != t);
            let (a, b) = (Vector::new(first, !0, s).unwrap(), Vector::new(first, !0, t).unwrap());
            let at = |vector: Vector, offset| vector.coefficient(first.wrapping_add(offset));
            let determinant = field::mul(at(a, i), at(b, j)) ^ field::mul(at(a, j), at(b, i));
            prop_assert_ne!(determinant, 0);
        }
    }

    /// Whether a square system over the field has no solution.
    fn is_singular(mut matrix: Vec<Vec<u8>>) -> bool {
        for column in 0..matrix.len() {
            let Some(pivot) = (column..matrix.len()).find(|row| matrix[*row][column] != 0) else { return true };
            matrix.swap(column, pivot);
            let unit = matrix[column].clone();
            for row in &mut matrix[column + 1..] {
                let factor = field::mul(row[column], field::inv(unit[column]));
                field::add_scaled(row, &unit, factor);
            }
        }
        false
    }

    #[test]
    fn no_system_of_ours_fails_and_some_of_vandermonde_do() {
        let powers: Vec<u8> = std::iter::successors(Some(1), |power| Some(field::mul(*power, 2))).take(255).collect();
        let mut state = 1u64;
        let mut dice = |most: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            u16::try_from((state >> 33) % most).unwrap()
        };
        let (mut ours, mut vandermonde) = (0, 0);
        for _ in 0..5_000 {
            let (first, repair) = (dice(65_536), dice(60_000));
            let mut lost: Vec<u16> = (0..64).map(|offset| first.wrapping_add(offset)).collect();
            while lost.len() > 4 {
                lost.swap_remove(usize::from(dice(64)) % lost.len());
            }
            let matrix = |element: &dyn Fn(u16, u16) -> u8| -> Vec<Vec<u8>> {
                [0, 1, 3, 6].map(|after| lost.iter().map(|id| element(*id, repair + after)).collect()).to_vec()
            };
            ours += u32::from(is_singular(matrix(&|id, repair| {
                Vector::new(0, 1, (repair % u16::from(SEEDS)).to_be_bytes()[1]).unwrap().coefficient(id)
            })));
            vandermonde +=
                u32::from(is_singular(matrix(&|id, repair| powers[(usize::from(id) * usize::from(repair)) % 255])));
        }
        assert_eq!(ours, 0);
        assert!((5..60).contains(&vandermonde), "{vandermonde} of 5,000");
    }

    #[test]
    fn no_coefficient_is_zero() {
        for seed in 0..SEEDS {
            let vector = Vector::new(0, !0, seed).unwrap();
            assert!((0..=255).all(|id| vector.coefficient(id) != 0), "seed {seed}");
        }
    }
}

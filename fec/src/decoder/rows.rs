//! Equations between unknown symbols, kept in reduced echelon form.

use super::{MOST_ROWS, SPAN};
use crate::{Symbol, field, planes};

/// One equation: the sum of coefficient × unknown is `symbol`.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The lowest unknown; its coefficient is 1, and no other row has it.
    pivot: u64,
    /// By id modulo [`SPAN`].
    coefficients: [u8; SPAN],
    symbol: Symbol,
}

/// What became of an equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It tells something new.
    Kept,
    /// It follows from the others.
    Redundant,
    /// It contradicts the others.
    Inconsistent,
}

impl Row {
    /// An equation without unknowns yet.
    pub(super) const fn new(symbol: &Symbol) -> Row {
        Row { pivot: 0, coefficients: [0; SPAN], symbol: *symbol }
    }

    fn subtract(&mut self, known: &Symbol, coefficient: u8) {
        planes::add_scaled(&mut self.symbol, known, coefficient);
    }

    /// Puts in an unknown.
    pub(super) fn set(&mut self, id: u64, coefficient: u8) {
        self.coefficients[column(id)] = coefficient;
    }

    fn add(&mut self, other: &Row, coefficient: u8) {
        field::add_scaled(&mut self.coefficients, &other.coefficients, coefficient);
        planes::add_scaled(&mut self.symbol, &other.symbol, coefficient);
    }

    fn at(&self, id: u64) -> u8 {
        self.coefficients[column(id)]
    }

    fn is_solved(&self) -> bool {
        self.coefficients.iter().filter(|c| **c != 0).take(2).count() == 1
    }
}

/// The equations. A row's pivot is its lowest unknown and stands in no other row. So every unknown that is given up, lowest ids first, is
/// the pivot of a row that goes with it, or is in rows whose own pivots went before.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
    /// Multiply-adds of symbols so far.
    work: u64,
}

impl Rows {
    /// Takes a known symbol out of an equation that is being made.
    pub(super) fn subtract(&mut self, row: &mut Row, known: &Symbol, coefficient: u8) {
        row.subtract(known, coefficient);
        self.work += 1;
    }

    /// Adds an equation between ids of the span that begins at `base`.
    pub(super) fn insert(&mut self, mut row: Row, base: u64) -> Outcome {
        for other in &self.rows {
            let coefficient = row.at(other.pivot);
            if coefficient != 0 {
                row.add(other, coefficient);
                self.work += 1;
            }
        }
        let Some(pivot) = (base..base + SPAN as u64).find(|id| row.at(*id) != 0) else {
            let zero = row.symbol.iter().all(|byte| *byte == 0);
            return if zero { Outcome::Redundant } else { Outcome::Inconsistent };
        };
        row.pivot = pivot;
        let scale = field::inv(row.at(pivot));
        field::scale(&mut row.coefficients, scale);
        planes::scale(&mut row.symbol, scale);
        self.work += 1;
        for other in &mut self.rows {
            let coefficient = other.at(pivot);
            if coefficient != 0 {
                other.add(&row, coefficient);
                self.work += 1;
            }
        }
        if self.rows.len() == MOST_ROWS {
            self.forget_oldest();
        }
        self.rows.push(row);
        Outcome::Kept
    }

    /// A symbol arrived after all: it is no unknown any more.
    pub(super) fn substitute(&mut self, id: u64, symbol: &Symbol) {
        let mut freed = None;
        for (index, row) in self.rows.iter_mut().enumerate() {
            let coefficient = row.at(id);
            if coefficient != 0 {
                row.subtract(symbol, coefficient);
                self.work += 1;
                row.set(id, 0);
                if row.pivot == id {
                    freed = Some(index);
                }
            }
        }
        if let Some(index) = freed {
            // Its rest is still an equation, with another pivot. It cannot contradict: the others do not follow from it.
            let row = self.rows.swap_remove(index);
            self.insert(row, id);
        }
    }

    /// Takes out an equation with a single unknown, which is the answer.
    pub(super) fn take_solved(&mut self) -> Option<(u64, Symbol)> {
        let index = self.rows.iter().position(Row::is_solved)?;
        let row = self.rows.swap_remove(index);
        Some((row.pivot, row.symbol))
    }

    /// Unknowns below `base` are given up, and the equations that need them.
    pub(super) fn forget_before(&mut self, base: u64) {
        self.rows.retain(|row| row.pivot >= base);
        if self.rows.is_empty() {
            self.rows = Vec::new();
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
    }

    /// Multiply-adds of symbols so far.
    pub(super) const fn work(&self) -> u64 {
        self.work
    }

    fn forget_oldest(&mut self) {
        let oldest = self.rows.iter().enumerate().min_by_key(|(_, row)| row.pivot).map(|(index, _)| index);
        if let Some(index) = oldest {
            self.rows.swap_remove(index);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a remainder below SPAN")]
const fn column(id: u64) -> usize {
    (id % SPAN as u64) as usize
}

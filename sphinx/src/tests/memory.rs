//! What a circuit weighs at a relay. Safe Rust cannot count allocations, so this adds up what is allocated, piece by piece.

use std::mem::size_of;

use crate::{HopCircuit, chain::Chain, wide_block::WideBlock, window::WINDOW};

/// A relay keeps a circuit itself, and a chain behind a pointer for each backward lane that carried a cell.
fn resting(lanes: usize) -> usize {
    size_of::<HopCircuit>() + lanes * size_of::<Chain>()
}

/// While cells flow, a chain has its window's bits and an expanded key; for 30 s after a change of phase a second one.
fn flowing(chains: usize) -> usize {
    chains * (size_of::<WideBlock>() + usize::try_from(WINDOW / 8 + 8).unwrap())
}

#[test]
fn a_circuit_is_small() {
    // Before the first cell, and after a rest with cells on one lane and on all.
    assert!(resting(0) <= 512, "{}", resting(0));
    assert!(resting(1) <= 768, "{}", resting(1));
    assert!(resting(4) <= 1536, "{}", resting(4));
    // One lane each way in full flow.
    let busy = resting(1) + flowing(2);
    assert!(busy <= 5 * 1024, "{busy}");
}
